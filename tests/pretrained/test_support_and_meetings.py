"""The support and meeting conversations: readable, labelled, and seen by no model in training."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import pytest

from sacl.conversation import Conversation, Corpus, Utterance
from sacl.datasets import meld, sample
from sacl.formats import read_conversations

FOLDER = Path(str(files("sacl"))) / "pretrained"
LONG = 25


@pytest.fixture(scope="module")
def conversations() -> list[Conversation]:
    return list(read_conversations(FOLDER / "support_and_meetings.jsonl"))


def plain(text: str) -> str:
    """A text as it is compared: letters and digits alone, so that copies differ in no comma, case or kind of quote."""
    return " ".join(re.findall(r"[a-z0-9]+", re.sub(r"['’]", "", text.lower())))


def long_texts(utterances: Iterable[Utterance]) -> list[str]:
    """Texts over 25 characters, and the sentences of that length within them."""
    texts = [u.text for u in utterances if u.text]
    parts = [{plain(part) for part in (text, *re.split(r"(?<=[.!?])\s+", text))} for text in texts]
    return [part for distinct in parts for part in distinct if len(part) > LONG]


def turns(conversations: list[Conversation]) -> list[Utterance]:
    return [u for c in conversations for u in c.utterances]


def test_there_are_at_least_sixty_and_no_other_kind(conversations: list[Conversation]) -> None:
    kinds = Counter(c.id.split("-")[0] for c in conversations)
    assert len(conversations) >= 60
    assert kinds.keys() == {"support", "meeting"}
    assert min(kinds.values()) >= 30
    assert len({c.id for c in conversations}) == len(conversations)


def test_every_turn_has_a_text_and_a_label_of_meld(conversations: list[Conversation]) -> None:
    Corpus("support_and_meetings", meld.LABELS, {"test": conversations})  # refuses a label of another set
    assert all(u.emotion and u.text and u.text == u.text.strip() for u in turns(conversations))


def test_every_conversation_is_one(conversations: list[Conversation]) -> None:
    assert {c.id: len(c) for c in conversations if not 7 <= len(c) <= 16} == {}
    speakers = {c.id: len({u.speaker for u in c.utterances}) for c in conversations}
    assert {id: n for id, n in speakers.items() if not 2 <= n <= 5} == {}


def test_no_emotion_is_too_rare_to_score(conversations: list[Conversation]) -> None:
    counts = Counter(u.emotion for u in turns(conversations))
    assert {name: counts[name] for name in meld.LABELS if counts[name] < 12} == {}


def test_the_page_about_it_states_its_counts(conversations: list[Conversation]) -> None:
    rows = {}
    for line in (FOLDER / "ANNOTATION.md").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\| (support|meeting|all) \|([\d |]+)\|$", line):
            rows[match[1]] = [int(cell) for cell in match[2].split("|")]
    for kind in ("support", "meeting", "all"):
        of_kind = [c for c in conversations if kind in ("all", c.id.split("-")[0])]
        counts = Counter(u.emotion for u in turns(of_kind))
        assert rows[kind] == [len(of_kind), counts.total(), *(counts[name] for name in meld.LABELS)]


def test_no_sentence_is_written_twice(conversations: list[Conversation]) -> None:
    assert [text for text, n in Counter(long_texts(turns(conversations))).items() if n > 1] == []


def test_nothing_stands_in_the_sample_corpus(conversations: list[Conversation]) -> None:
    known = set(long_texts(sample.read().utterances()))
    assert known
    assert known.intersection(long_texts(turns(conversations))) == set()


def test_nothing_stands_in_meld(conversations: list[Conversation], shared_data: Path) -> None:
    known = set(long_texts(meld.read(shared_data / "meld").utterances()))
    assert len(known) > 1000
    assert known.intersection(long_texts(turns(conversations))) == set()
