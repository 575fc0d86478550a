"""Recognised conversations as JSON and CSV: one form for the shell, the server and the page."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO

from sacl.conversation import Conversation
from sacl.recognizer.recognition import Recognition

Recognised = tuple[Conversation, Sequence[Recognition]]


def turn_object(recognition: Recognition, time: float | None = None) -> dict[str, Any]:
    """A turn in interchange form, the emotion and all probabilities beside it, to six decimals."""
    said = {"text": recognition.text, "time": time}
    return {
        "id": recognition.id,
        "speaker": recognition.speaker,
        **{key: value for key, value in said.items() if value is not None},
        "emotion": recognition.emotion,
        "probability": round(recognition.probability, 6),
        "probabilities": {name: round(p, 6) for name, p in recognition.probabilities.items()},
    }


def conversation_object(conversation: Conversation, turns: Sequence[Recognition]) -> dict[str, Any]:
    """A conversation in interchange form; see `turn_object`."""
    both = zip(turns, conversation.utterances, strict=True)
    return {"id": conversation.id, "utterances": [turn_object(turn, u.time) for turn, u in both]}


def write_csv(recognised: Iterable[Recognised], labels: Sequence[str], stream: TextIO) -> None:
    """A row an utterance; the header comes with the first, so that an input at fault leaves none behind."""
    out = csv.writer(stream)  # with CRLF ends, so that a lone CR in a text is quoted too
    for i, one in enumerate(recognised):
        if not i:
            out.writerow(csv_header(labels))
        out.writerows(csv_rows(*one))


def csv_header(labels: Sequence[str]) -> list[str]:
    """The columns of `csv_rows`."""
    return ["conversation", "utterance", "speaker", "text", "time", "emotion", "probability", *labels]


def csv_rows(conversation: Conversation, turns: Sequence[Recognition]) -> Iterator[list[str]]:
    """A conversation's rows, the probabilities to six decimals."""
    for u, t in zip(conversation.utterances, turns, strict=True):
        time = "" if u.time is None else repr(u.time)
        numbers = [f"{p:.6f}" for p in (t.probability, *t.probabilities.values())]
        yield [conversation.id, t.id, t.speaker, t.text or "", time, t.emotion, *numbers]
