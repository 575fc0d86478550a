"""What the page shows, without a browser: nothing that was typed becomes markup, and no turn is lost between pages."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("fastapi", reason="fastapi is not installed (extra serve)")

from sacl.conversation import Conversation, Utterance
from sacl.errors import DataError, SaclError
from sacl.recognizer import Influence, Recognition
from sacl.serve.errors import SessionGone
from sacl.serve.limits import Limits
from sacl.serve.page.parts import hue, safe, symbol
from sacl.serve.page.plot import MOST_BARS
from sacl.serve.page.results import fault, note, results
from sacl.serve.page.view import PAGE, Talk, View, added, as_csv, sentence
from sacl.serve.page.view import given as read

NASTY = st.text(st.sampled_from("${}`\\<>&\"'=# \n\u202eab:é") | st.characters(exclude_categories=["Cs"]), max_size=30)


class Read(HTMLParser):
    """Tags, attributes' names, and text."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.marks, self.text = set[str](), ""
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.marks |= {tag, *(name for name, _ in attrs)}

    def handle_data(self, data: str) -> None:
        self.text += data


def turns_of(*said: tuple[str, str], names: Sequence[str] = ("joy", "anger")) -> Talk:
    scores = dict(zip(names, (0.7, 0.3), strict=True))
    turns = [Recognition(str(i), who, text, names[0], 0.7, scores) for i, (who, text) in enumerate(said)]
    return Talk(Conversation("chat", [Utterance(who, text) for who, text in said]), turns)


def long(turns: int, session: str | None = None) -> View:
    return View([turns_of(*(("Ann" if i % 2 else "Bo", f"turn {i}") for i in range(turns)))], session=session)


@given(NASTY)
def test_safe_text_has_no_sign_of_markup_or_template_and_reads_the_same(text: str) -> None:
    shown = safe(text)
    assert not set(shown) & set("<>\"'${}`\\")
    assert html.unescape(shown) == html.unescape(html.escape(text))


@settings(max_examples=50)
@given(NASTY, NASTY, NASTY, NASTY.filter(lambda name: name.strip()))
def test_whatever_is_typed_adds_no_element_and_no_attribute(speaker: str, text: str, id: str, emotion: str) -> None:
    def shown(speaker: str, text: str, id: str, emotion: str) -> str:
        talk = turns_of((speaker, text), ("Bo", "Hello"), names=(emotion, "another emotion"))
        named = Talk(Conversation(id, talk.conversation.utterances), talk.turns)
        view = View([named, named]).opened(1, [Influence("0", 0, speaker, text, 0.2)])
        return results(view, 0.9) + note(text) + fault(text)

    markup = shown(speaker, text, id or "0", emotion)
    assert Read(markup).marks <= Read(shown("s", "t", "i", "joy")).marks | {"rect", "x", "y", "text", "i"}
    assert not set(markup) & set("${}`\\")


@given(st.integers(1, 4 * PAGE), st.booleans())
def test_every_turn_stands_on_one_page(turns: int, is_live: bool) -> None:
    view = long(turns, "session" if is_live else None)
    pages = [view.to_page(page) for page in range(view.pages)]
    shown = [position for page in pages for position in page.positions()]
    assert shown == (list(range(turns))[::-1] if is_live else list(range(turns)))
    assert all(page.page_of(position) == page.page for page in pages for position in page.positions())
    assert (view.to_page(-1).page, view.to_page(10**9).page) == (0, view.pages - 1)


def test_a_live_chat_shows_the_newest_turn_first() -> None:
    text = Read(results(long(3, "session"), 0.5)).text
    assert text.index("turn 2") < text.index("turn 0")


def test_a_turn_below_the_threshold_is_marked_in_words_too() -> None:
    assert "uncertain, perhaps joy" in Read(results(long(1), 0.75)).text
    assert "uncertain" not in Read(results(long(1), 0.7)).text


def test_an_emotion_is_never_told_by_its_colour_alone() -> None:
    names = [
        "joy",
        "excited",
        "sadness",
        "anger",
        "frustrated",
        "fear",
        "disgust",
        "surprise",
        "neutral",
        "proud",
        "love",
    ]
    assert len({symbol(name) for name in names}) == len(names)
    markup = results(long(1), 0.5)
    assert re.findall(r'<span class="chip [^"]*">.*?<span>(.*?)</span></span>', markup).count("joy") >= 2
    assert hue("no such emotion") == "grey"
    assert ">N<" in symbol("no such emotion")


def test_the_plot_of_a_long_conversation_stays_small() -> None:
    few, many = (results(long(turns), 0.5) for turns in (MOST_BARS, 10 * MOST_BARS + 1))
    assert "a bar is a turn" in few
    assert "a bar is the mean of 11 turns" in many
    assert many.count("M") < 2 * few.count("M")
    assert len(many) < 100_000


def test_what_is_given_is_read_within_limits() -> None:
    chat = "Ann: Hello\nBo: Hello"
    assert [len(c) for c in read(f"{chat}\n\n{chat}", None, Limits())] == [2, 2]
    assert len(read("speaker,text\nAnn,Hello\n", "a.csv", Limits())[0]) == 1
    with pytest.raises(SaclError, match="nothing to read"):
        read(" \n", None, Limits())
    with pytest.raises(SaclError, match="more than 3 turns"):
        read(f"{chat}\n\n{chat}", None, Limits(turns=3))
    with pytest.raises(SaclError, match="1 conversations"):
        read(f"{chat}\n\n{chat}", None, Limits(conversations=1))
    with pytest.raises(SaclError, match=r"chat\.csv"):
        read("Ann", "chat.csv", Limits())


def test_an_error_on_the_page_names_no_option_of_the_command() -> None:
    error = DataError("it is odd", where="chat.txt", remedy="Write `Ann: Hello`; other formats: --from jsonl")
    assert sentence(error) == "chat.txt: it is odd. Write `Ann: Hello`."
    assert sentence(DataError("it is odd")) == "It is odd."


class Forgetful:
    """A service whose sessions end after three turns."""

    def __init__(self) -> None:
        self.sessions: dict[str, list[str]] = {}

    def check(self, conversation: Conversation) -> None:
        pass

    async def open_session(self) -> str:
        self.sessions[str(len(self.sessions))] = []
        return str(len(self.sessions) - 1)

    async def add_turn(self, session: str, speaker: str, text: str) -> Recognition:
        heard = self.sessions[session]
        if len(self.sessions) == 1 and len(heard) == 3:
            raise SessionGone
        heard.append(text)
        return Recognition(str(len(heard) - 1), speaker, text, "joy", 0.5, {"joy": 0.5, "anger": 0.5})


def test_a_live_chat_goes_on_after_its_session_has_ended() -> None:
    service: Any = Forgetful()
    view = None
    for text in ("a", "b", "c", "d", "e"):
        view = asyncio.run(added(service, view, " Ann ", text))
    assert view is not None
    assert [turn.text for turn in view.talk.turns] == ["a", "b", "c", "d", "e"]
    assert [turn.id for turn in view.talk.turns] == ["0", "1", "2", "3", "4"]
    assert service.sessions["1"] == ["a", "b", "c", "d", "e"]
    for speaker, text in (("", "f"), ("Ann", " "), ("Ann", "\ud800")):
        with pytest.raises(DataError):
            asyncio.run(added(service, view, speaker, text))
    assert len(service.sessions["1"]) == 5


def test_a_table_quotes_what_would_break_it() -> None:
    talk = turns_of(("Ann", 'so, "well"\nyes'))
    assert as_csv([talk], None).splitlines()[1:] == ['chat,0,Ann,"so, ""well""', 'yes",,joy,0.700000,0.700000,0.300000']
    assert ",uncertain,0.700000" in as_csv([talk], 0.8)
