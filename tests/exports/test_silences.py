"""Silences part a chat, and lose none of it."""

from __future__ import annotations

from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import given

from sacl import interchange
from sacl.conversation import Utterance
from sacl.errors import DataError
from sacl.exports import divided


def at(*times: float | None) -> list[Utterance]:
    return [Utterance("Ann", f"turn {i}", time=time) for i, time in enumerate(times)]


def test_a_silence_longer_than_the_gap_parts_and_one_as_long_does_not() -> None:
    chats = list(divided(at(0, 10, 20.5, 30.5), 10, "chat.txt"))
    assert [(c.id, [u.time for u in c.utterances]) for c in chats] == [("0", [0, 10]), ("1", [20.5, 30.5])]


def test_time_that_goes_back_does_not_part() -> None:
    assert len(list(divided(at(100, 0, 5), 10, "chat.txt"))) == 1


def test_parts_are_numbered_behind_a_name() -> None:
    assert [c.id for c in divided(at(0, 100), 10, "chat.txt", "general")] == ["general-0", "general-1"]
    assert [c.id for c in divided(at(0, 100), None, "chat.txt", "general")] == ["general"]


@given(st.lists(st.floats(0, 1e6), max_size=20), st.floats(1, 1e5))
def test_parts_put_together_are_the_whole(times: list[float], gap: float) -> None:
    turns = at(*times)
    parts = [list(c.utterances) for c in divided(turns, gap, "chat.txt")]
    assert [u.text for part in parts for u in part] == [u.text for u in turns]
    for part in parts:
        assert all((b.time or 0) - (a.time or 0) <= gap for a, b in pairwise(part))
    for before, after in pairwise(parts):
        assert (after[0].time or 0) - (before[-1].time or 0) > gap


def test_without_times_a_gap_is_refused_with_the_remedy() -> None:
    with pytest.raises(DataError, match=r"chat\.txt: the times of its turns are not known\. Do this"):
        list(divided(at(1, None), 10, "chat.txt", remedy="Do this"))
    assert len(list(divided(at(1, None), None, "chat.txt"))) == 1


def test_a_chat_too_long_for_one_conversation_is_refused_unless_it_is_parted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interchange, "MOST_TURNS", 3)
    turns = at(0, 1, 100, 101)
    with pytest.raises(DataError, match=r"more than 3 turns.*--gap"):
        list(divided(turns, None, "chat.txt"))
    assert [len(c) for c in divided(turns, 10, "chat.txt")] == [2, 2]
