"""CMU-MOSEI: the class rule at every boundary, and the folder it is read from."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacl.conversation import Conversation, Corpus, Utterance
from sacl.datasets import load_corpus, mosei
from sacl.datasets.imported import write_imported
from sacl.errors import DataError

BELOW = {s: math.nextafter(s, -math.inf) for s in range(-3, 4)}
ABOVE = {s: math.nextafter(s, math.inf) for s in range(-3, 4)}


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("strongly negative", -3.0, BELOW[-2]),
        ("negative", -2.0, BELOW[-1]),
        ("weakly negative", -1.0, -5e-324),
        ("neutral", -0.0, 0.0),
        ("weakly positive", 5e-324, 1.0),
        ("positive", ABOVE[1], 2.0),
        ("strongly positive", ABOVE[2], 3.0),
    ],
)
def test_each_class_holds_its_interval_ends_included(name: str, first: float, last: float) -> None:
    for sentiment in (first, (first + last) / 2, last):
        assert mosei.sentiment_class(sentiment) == name


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_classes_stand_in_the_order_of_sentiments_and_are_mirrored(one: float, other: float) -> None:
    index = [mosei.LABELS.index(mosei.sentiment_class(s)) for s in sorted((one, other))]
    assert index == sorted(index)
    assert mosei.LABELS.index(mosei.sentiment_class(one)) + mosei.LABELS.index(mosei.sentiment_class(-one)) == 6


@pytest.mark.parametrize("sentiment", [BELOW[-3], ABOVE[3], math.inf, math.nan, np.float32(3.5)])
def test_what_is_no_sentiment_is_refused_with_its_place(sentiment: float) -> None:
    with pytest.raises(DataError, match=r"here: its sentiment is .*Expected a number from -3 to 3"):
        mosei.sentiment_class(sentiment, "here")


def test_it_is_read_from_what_an_import_wrote_and_its_counts_are_not_compared(tmp_path: Path) -> None:
    chat = [Conversation("v1", [Utterance("speaker 0", "Good film", "weakly positive")])]
    corpus = Corpus("mosei", mosei.LABELS, dict.fromkeys(("train", "valid", "test"), chat))
    write_imported(tmp_path, corpus, "emotion", {})
    for found in (mosei.read(tmp_path), load_corpus("mosei", tmp_path)):
        assert found.name == "mosei"
        assert found.labels == mosei.LABELS
        assert found.fingerprint() == corpus.fingerprint()
    with pytest.raises(DataError, match="mosei, split test: found 1 conversations"):
        mosei.read(tmp_path, expected={"test": (676, 4662)})


def test_where_it_is_not_there_it_tells_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"CMU-MOSEI is not there.*`sacl data import PICKLE --as mosei"):
        load_corpus("mosei", tmp_path)
