"""Recognised conversations as files: what is read back is what was written."""

from __future__ import annotations

import csv
import io

import pytest

from sacl.conversation import Conversation, Utterance
from sacl.recognizer.recognition import Recognition
from sacl.recognizer.writing import write_csv


@pytest.mark.parametrize("text", ["one\rtwo", "one\r\ntwo", "one\ntwo", 'say "so", then', " "])
def test_a_text_with_any_end_of_line_in_it_is_one_cell(text: str) -> None:
    turn = Recognition("0", "Ann", text, "calm", 1.0, {"calm": 1.0})
    stream = io.StringIO(newline="")
    write_csv([(Conversation("c", [Utterance("Ann", text)]), [turn])], ["calm"], stream)
    rows = list(csv.reader(io.StringIO(stream.getvalue(), newline=""), strict=True))
    assert [row[3] for row in rows] == ["text", text]
