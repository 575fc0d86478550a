"""Slack's exports: names for ids, threads as conversations of their own, and every message once."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from sacl.conversation import Conversation
from sacl.errors import DataError
from sacl.formats import read_conversations


def message(user: str, text: str, ts: float, **more: Any) -> dict[str, Any]:
    return {"type": "message", "user": user, "text": text, "ts": f"{ts:.6f}", **more}


def read(document: Any, gap: float | None = None) -> list[Conversation]:
    text = document if isinstance(document, str) else json.dumps(document, indent=4)
    return list(read_conversations(io.StringIO(text, newline=""), "slack", gap=gap))


def said(chats: list[Conversation]) -> dict[str, list[tuple[str, str | None]]]:
    return {c.id: [(u.speaker, u.text) for u in c.utterances] for c in chats}


PEOPLE = [
    {"id": "U1", "name": "ann", "profile": {"display_name": "Ann", "real_name": "Ann Berg"}},
    {"id": "U2", "name": "bo", "profile": {"display_name": "", "real_name": "Bo"}},
    {"id": "U3", "name": "bo2", "profile": {"display_name": "Bo"}},
    {"id": "U4", "name": "eve"},
]


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A workspace with two channels."""
    days = {
        "general/2024-01-05.json": [
            message("U1", "Good morning", 100),
            message("U2", "Is it?", 200, thread_ts="200.000000", reply_count=2),
            message("U3", "joined", 210, subtype="channel_join"),
            message("U3", "It is", 300, thread_ts="200.000000"),
            message("U4", "Lunch?", 400),
        ],
        "general/2024-01-06.json": [message("U1", "Why not", 90000, thread_ts="200.000000")],
        "help/2024-01-05.json": [message("U4", "My key is gone", 500)],
    }
    for name, content in days.items():
        (tmp_path / "export" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "export" / name).write_text(json.dumps(content))
    (tmp_path / "export" / "users.json").write_text(json.dumps(PEOPLE))
    (tmp_path / "export" / "channels.json").write_text("[]")
    return tmp_path / "export"


GENERAL = {
    "general": [("Ann", "Good morning"), ("eve", "Lunch?")],
    "general/200.000000": [("Bo", "Is it?"), ("Bo (U3)", "It is"), ("Ann", "Why not")],
}


def test_a_whole_export_is_its_channels_and_their_threads(export: Path) -> None:
    assert said(list(read_conversations(export))) == {**GENERAL, "help": [("eve", "My key is gone")]}


def test_a_channels_folder_finds_the_names_above_it(export: Path) -> None:
    assert said(list(read_conversations(export / "general"))) == GENERAL


def test_a_day_file_finds_the_names_beside_its_channel(export: Path) -> None:
    assert said(list(read_conversations(export / "general" / "2024-01-05.json"))) == {
        "0": GENERAL["general"],
        "200.000000": GENERAL["general/200.000000"][:2],
    }


def test_utterances_have_the_time_stamp_as_id_and_time(export: Path) -> None:
    [chat] = read_conversations(export / "help")
    assert (chat.utterances[0].id, chat.utterances[0].time) == ("500.000000", 500.0)


def test_a_gap_parts_a_channel_and_no_thread(export: Path) -> None:
    assert [c.id for c in read_conversations(export / "general", gap=60)] == [
        "general-0",
        "general-1",
        "general/200.000000",
    ]


def test_messages_of_the_api_come_newest_first_and_are_turned() -> None:
    answer = {"ok": True, "messages": [message("U2", "Hi", 20), message("U1", "Hello", 10)]}
    assert said(read(answer)) == {"0": [("U1", "Hello"), ("U2", "Hi")]}


def test_mentions_and_links_are_read_as_people_see_them() -> None:
    text = (
        "<@U2> &amp; <@U9|zoe>, see <#C1|general>, <!here>, <!subteam^S1|@ops>: "
        "<https://a.org|this> <https://b.org> &lt;3"
    )
    chats = read([message("U2", "Hi", 1, user_profile={"display_name": "Bo"}), message("U1", text, 2)])
    assert chats[0].utterances[1].text == "@Bo & @zoe, see #general, @here, @ops: this https://b.org <3"


def test_bots_have_names_and_what_has_no_text_is_left_out() -> None:
    chats = read(
        [
            {"subtype": "bot_message", "username": "deploy", "text": "Done", "ts": "1.0"},
            {"bot_id": "B7", "text": "Hm", "ts": "2.0", "subtype": "bot_message"},
            {"text": "Whose?", "ts": "3.0"},
            message("U1", " ", 4),
            message("U1", "renamed", 5, subtype="channel_name"),
            message("U1", "waves", 6, subtype="me_message"),
        ]
    )
    assert said(chats) == {"0": [("deploy", "Done"), ("B7", "Hm"), ("unknown", "Whose?"), ("U1", "waves")]}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("[\n {\n", ", line 3: it is not JSON"),
        ("{}", ": it is not a list of Slack's messages. .*jsonl"),
        ("[3]", ", message 0: it is not a message of Slack"),
        ('[{"id": "c1", "utterances": []}]', ", message 0: it is not a message of Slack"),
        ('[{"user": "U1", "text": "Hi", "ts": "noon"}]', ", message 0: its time stamp is 'noon'"),
        ('[{"user": "U1", "text": "Hi", "ts": "inf"}]', ", message 0: its time stamp is 'inf'"),
        ('[{"user": "U1", "text": "Hi", "ts": "1", "thread_ts": "\\ud800"}]', ", message 0: its time stamp is"),
        ('[{"user": "\\ud800", "text": "Hi", "ts": "1"}]', ", message 0, utterance 1: its speaker holds a NUL or"),
        ('[{"text": "a", "ts": "1"}, {"text": "b", "ts": "1"}]', ", conversation 1, utterance 1: its id stands twice"),
        ("[]", ": it holds no conversation"),
        ("[" * 100_000, "(: its JSON is nested too deeply|, line 1: it is not JSON)"),
        ("[1" + "0" * 5000 + "]", ": its JSON is nested too deeply, or holds too long a number"),
    ],
)
def test_a_day_at_fault_is_placed(tmp_path: Path, content: str, found: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match=rf"a\.json{found}") as caught:
        list(read_conversations(tmp_path / "a.json", "slack"))
    assert "\n" not in str(caught.value)


def test_a_damaged_list_of_people_is_named(export: Path) -> None:
    (export / "users.json").write_text("{}")
    with pytest.raises(DataError, match=r"users\.json: it is not Slack's list of people"):
        list(read_conversations(export))


def test_a_folder_that_is_no_export_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(DataError, match="it is a folder"):
        read_conversations(tmp_path)
    with pytest.raises(DataError, match="there are no days of a channel in it"):
        list(read_conversations(tmp_path, "slack"))


numbers = st.floats(0, 1e6).map(lambda ts: f"{ts:.6f}")
threads = st.lists(
    st.tuples(numbers, st.none() | st.sampled_from(["10.000000", "20.000000"])), unique_by=lambda m: m[0], min_size=1
)


@given(threads, st.none() | st.floats(1, 1e5))
def test_every_message_is_in_one_conversation(messages: list[tuple[str, str | None]], gap: float | None) -> None:
    day = [{"user": "U1", "text": ts, "ts": ts, **({"thread_ts": t} if t else {})} for ts, t in messages]
    read_back = [u.text for c in read(day, gap) for u in c.utterances]
    assert sorted(map(str, read_back)) == sorted(ts for ts, _ in messages)


values = st.none() | st.booleans() | st.floats() | st.text(max_size=3) | st.sampled_from(["1.5", "U1", "<@U1|x>"])
keys = st.sampled_from(["ts", "text", "user", "thread_ts", "subtype", "user_profile", "username", "messages", "x"])
documents = st.recursive(
    values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=6), max_leaves=20
)


@given(documents | st.lists(st.dictionaries(keys, values), max_size=3))
def test_no_document_gives_anything_but_conversations_or_a_data_error(document: Any) -> None:
    with contextlib.suppress(DataError):
        assert all(c.utterances for c in read(document))


@given(st.text())
def test_no_text_gives_anything_but_conversations_or_a_data_error(text: str) -> None:
    with contextlib.suppress(DataError):
        assert all(c.utterances for c in read(text))
