"""The models that ship are those whose figures their card tells."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from sacl import EmotionRecognizer
from sacl.conversation import Conversation
from sacl.datasets import load_corpus
from sacl.errors import ModelError
from sacl.formats import read_conversations
from sacl.metrics import expected_calibration_error, score

FOLDER = Path(str(files("sacl"))) / "pretrained"
NAMES = {"meld-minilm": False, "meld-minilm-causal": True}


class Row(NamedTuple):
    accuracy: float
    weighted_f1: float
    macro_f1: float
    ece: float


@pytest.fixture(scope="module")
def card() -> dict[tuple[str, str], Row]:
    """Figures by test set and model; the calibration error is the one after the temperature."""
    rows: dict[tuple[str, str], Row] = {}
    name = ""
    for line in (FOLDER / "CARD.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip(" `") for cell in line.strip("|").split("|")]
        if len(cells) == 6 and cells[1] in {"all neutral", *NAMES}:
            name = cells[0].partition(",")[0] or name
            if cells[1] in NAMES:
                rows[name, cells[1]] = Row(*map(float, cells[2:5]), float(cells[5].split("/")[1]))
    return rows


def measured(causal: bool, conversations: list[Conversation]) -> Row:
    recognizer = EmotionRecognizer.from_pretrained(causal=causal)
    names = list(recognizer.labels)
    turns = [turn for chat in recognizer.predict(conversations) for turn in chat]
    labels = np.array([names.index(str(u.emotion)) for c in conversations for u in c.utterances])
    probabilities = np.array([list(t.probabilities.values()) for t in turns])
    scores = score(labels, probabilities.argmax(axis=1), len(names))
    error = expected_calibration_error(labels, probabilities)
    return Row(scores.accuracy, scores.weighted_f1, scores.macro_f1, error)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "causal"), NAMES.items())
def test_the_card_tells_what_is_measured_on_support_and_meetings(name: str, causal: bool, card: dict) -> None:
    chats = list(read_conversations(FOLDER / "support_and_meetings.jsonl"))
    # Other processors round otherwise, and a turn may then change sides.
    assert measured(causal, chats) == pytest.approx(card["support and meetings", name], abs=0.3)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "causal"), NAMES.items())
def test_the_card_tells_what_is_measured_on_meld(name: str, causal: bool, card: dict, shared_data: Path) -> None:
    chats = list(load_corpus("meld", shared_data / "meld")["test"])
    assert measured(causal, chats) == pytest.approx(card["MELD test", name], abs=0.3)


def test_both_are_small_and_know_where_they_come_from() -> None:
    for name, causal in NAMES.items():
        assert (FOLDER / f"{name}.safetensors").stat().st_size < 5_000_000
        about = EmotionRecognizer.from_pretrained(causal=causal).trained.about
        assert about["corpus"] == "meld"
        assert about["recipe"].startswith("meld-minilm")


def test_the_card_leaves_nothing_open() -> None:
    assert not re.search(r"TODO|\?\?", (FOLDER / "CARD.md").read_text(encoding="utf-8"))


def test_the_causal_one_reads_live_and_the_other_says_which_does() -> None:
    talk = [("Ann", "You came!"), ("Bo", "I did say I would."), ("Ann", "I am so happy.")]
    recognizer = EmotionRecognizer.from_pretrained(causal=True)
    live = recognizer.stream()
    turns = [live.add(*turn) for turn in talk]
    for one, whole in zip(turns, recognizer.predict(talk), strict=True):
        assert one.probabilities == pytest.approx(whole.probabilities, abs=1e-6)
    with pytest.raises(ModelError, match="causal=True"):
        EmotionRecognizer.from_pretrained().stream()
