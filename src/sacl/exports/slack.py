"""Slack's export: a channel's day file, a channel's folder, or the folder of the whole export.

A thread is a conversation of its own, its first message included; what a channel holds beside its threads is another.
So every message is in one conversation. Messages without text, and those that tell who joined or what was renamed, are
left out.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacl.conversation import Conversation, Utterance
from sacl.errors import DataError, place
from sacl.exports.silences import divided
from sacl.interchange import utterance
from sacl.textfile import Line, kind_of, numbered_lines

_SPOKEN = {None, "me_message", "bot_message", "thread_broadcast", "file_share"}
_DAY = re.compile(r"\d{4}-\d\d-\d\d\.json")
_LINK = re.compile(r"<([@#!]?)([^<>|]*)(?:\|([^<>]*))?>")
_PEOPLE = "users.json"
_WANTED = "Give a channel's day file; write conversations of your own as .jsonl, one a line"


@dataclass(frozen=True, slots=True)
class _Message:
    thread: str  # the time stamp of its first message; its own where it is in none
    turn: Utterance
    file: str


def is_export(folder: Path) -> bool:
    """Whether a folder holds a channel's days, or channels that do."""
    return bool(_channels(folder))


def read_slack(
    lines: Iterator[Line], name: str, gap: float | None = None, beside: Path | None = None
) -> Iterator[Conversation]:
    """The conversations of one file: a list of messages, or the answer of Slack's `conversations.history`.

    Utterances are named by their time stamps, which are their times too. Conversations: `0` (parts of it by number,
    given a gap), and threads by the time stamp of their first message.

    Args:
        lines: numbered lines of the file.
        name: what errors call it.
        gap: seconds of silence that part conversations; threads stay whole.
        beside: the file's folder; `users.json` there or above tells people's names.

    Raises:
        DataError: it is not JSON, or not a list of messages.
    """
    people = _People(_listed_people(beside))
    yield from _conversations(list(_messages(lines, name, people)), gap, name, "")


def read_slack_folder(folder: Path, gap: float | None = None) -> Iterator[Conversation]:
    """The conversations of a channel's folder or of a whole export, channel after channel, named after it.

    Raises:
        DataError: no days in it, or a file at fault.
    """
    channels = _channels(folder)
    if not channels:
        remedy = "Give the folder of a channel, or the one that holds the channels"
        raise DataError("there are no days of a channel in it (2024-01-31.json)", where=str(folder), remedy=remedy)
    listed = _listed_people(folder)
    for channel, days in channels.items():
        people = _People(listed)
        messages = [m for day in days for m in _messages(numbered_lines(day, str(day)), str(day), people)]
        # A name that is no UTF-8 could not be printed.
        channel_name = os.fsencode(channel.resolve().name).decode("utf-8", "replace")
        yield from _conversations(messages, gap, str(channel), channel_name)


def _channels(folder: Path) -> dict[Path, list[Path]]:
    """Folders of channels with their days, in order."""
    try:
        own = _days(folder.resolve())
        below = {} if own else {f: _days(f) for f in sorted(folder.iterdir()) if kind_of(f) == "folder"}
    except OSError as error:
        raise DataError(
            f"it cannot be read ({error.strerror or error})", where=str(folder), remedy="Check the folder"
        ) from None
    return {folder: own} if own else {channel: days for channel, days in below.items() if days}


def _days(folder: Path) -> list[Path]:
    days = sorted(file for file in folder.iterdir() if _DAY.fullmatch(file.name))
    _refuse_links([folder, *days])
    return days


def _refuse_links(paths: Sequence[Path]) -> None:
    """An export holds none; a stranger's could lead to any file of this machine."""
    for path in paths:
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise DataError("it is a link, or no file", where=str(path), remedy="Export it again, or leave it out")


def _conversations(messages: Sequence[_Message], gap: float | None, name: str, channel: str) -> Iterator[Conversation]:
    threads: dict[str, list[_Message]] = {}
    for message in sorted(messages, key=lambda m: m.turn.time or 0.0):
        threads.setdefault(message.thread, []).append(message)
    flow = [held[0].turn for held in threads.values() if len(held) == 1]
    yield from divided(flow, gap, name, channel)
    for stamp, held in threads.items():
        if len(held) > 1:
            yield from divided([m.turn for m in held], None, name, f"{channel}/{stamp}" if channel else stamp)


def _messages(lines: Iterator[Line], name: str, people: _People) -> Iterator[_Message]:
    found = _document(lines, name)
    if isinstance(found, dict):
        found = found.get("messages")
    if not isinstance(found, list):
        raise DataError("it is not a list of Slack's messages", where=name, remedy=_WANTED)
    for i, message in enumerate(found):
        where = place(file=name, message=i)
        if not isinstance(message, dict) or not isinstance(message.get("ts"), str):
            raise DataError("it is not a message of Slack", where=where, remedy=_WANTED)
        text = message.get("text")
        subtype = message.get("subtype")
        if (
            not isinstance(subtype, str | None)
            or subtype not in _SPOKEN
            or not isinstance(text, str)
            or not text.strip()
        ):
            continue
        stamp, thread = message["ts"], message.get("thread_ts")
        if not isinstance(thread, str):
            thread = stamp
        _time(thread, where)  # it becomes an id
        turn = {
            "id": stamp,
            "speaker": people.speaker(message),
            "text": people.plain(text),
            "time": _time(stamp, where),
        }
        yield _Message(thread, utterance(turn, i, where), name)


def _document(lines: Iterator[Line], name: str) -> Any:
    try:
        return json.loads("".join(line for _, line in lines))
    except json.JSONDecodeError as error:
        where = place(file=name, line=error.lineno)
        raise DataError(f"it is not JSON ({error.msg})", where=where, remedy="Export it again") from None
    except (RecursionError, ValueError):
        found = "its JSON is nested too deeply, or holds too long a number"
        raise DataError(found, where=name, remedy="Export it again") from None


def _time(stamp: str, where: str) -> float:
    try:
        seconds = float(stamp)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise DataError(f"its time stamp is {stamp[:40]!r}", where=where, remedy="Export it again")
    return seconds


def _listed_people(folder: Path | None) -> Mapping[str, str]:
    """Id -> name, from the users.json in the folder or in the one above it; nothing where there is none."""
    places = [] if folder is None else [folder / _PEOPLE, folder.resolve().parent / _PEOPLE]
    path = next((path for path in places if kind_of(path) == "file"), None)
    if path is None:
        return {}
    _refuse_links([path])
    found = _document(numbered_lines(path, str(path)), str(path))
    if not isinstance(found, list) or not all(isinstance(user, dict) for user in found):
        raise DataError("it is not Slack's list of people", where=str(path), remedy="Put it elsewhere")
    return {user["id"]: _name(user) for user in found if isinstance(user.get("id"), str) and _name(user)}


def _name(user: Mapping[str, Any]) -> str:
    profile = user.get("profile")
    inner = profile if isinstance(profile, dict) else {}
    kinds = [inner.get("display_name"), inner.get("real_name"), user.get("display_name"), user.get("real_name")]
    return next((kind.strip() for kind in [*kinds, user.get("name")] if isinstance(kind, str) and kind.strip()), "")


class _People:
    """Names by id. Two people of one name stay two: the second one's id stands behind it."""

    def __init__(self, listed: Mapping[str, str]) -> None:
        self._listed = listed
        self._given: dict[str, str] = {}
        self._owner: dict[str, str] = {}

    def speaker(self, message: Mapping[str, Any]) -> str:
        """Who wrote a message; a bot goes by the name that it took."""
        keys = ("user", "username", "bot_id")
        id = next((message[k] for k in keys if isinstance(message.get(k), str) and message[k].strip()), "unknown")
        if id not in self._given:
            profile = message.get("user_profile")
            name = self._listed.get(id) or _name(profile if isinstance(profile, dict) else {}) or id
            self._given[id] = name if self._owner.setdefault(name, id) == id else f"{name} ({id})"
        return self._given[id]

    def plain(self, text: str) -> str:
        """The text as people read it: mentions by name, links by their label."""
        plain = _LINK.sub(self._shown, text)
        return plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")

    def _shown(self, link: re.Match[str]) -> str:
        kind, target, label = link[1], link[2], link[3]
        if kind == "@":
            return "@" + (self._given.get(target) or self._listed.get(target) or label or target)
        if kind == "!":
            return label or "@" + target
        return ("#" if kind else "") + (label or target)
