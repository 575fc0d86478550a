"""Predictions on disk: one JSON line an utterance, or what `sacl predict` writes, a conversation a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError, field_validator

from sacl.errors import DataError, place
from sacl.textfile import numbered_lines, require_file

Key = tuple[str, str]
"""Conversation and utterance."""


class Prediction(BaseModel):
    """What a model says of one utterance; other keys are left alone.

    Args:
        conversation, utterance: their ids, as the data set has them; a number is read as its digits.
        predicted: the emotion.
        emotion: its label, where the writer knew it.
        probabilities: emotion -> probability; they add up to 1.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, coerce_numbers_to_str=True)

    conversation: str
    utterance: str
    predicted: str
    emotion: str | None = None
    probabilities: dict[str, float] | None = Field(default=None)

    @field_validator("probabilities")
    @classmethod
    def _is_distribution(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        if value is not None and (min(value.values(), default=-1.0) < 0 or abs(sum(value.values()) - 1) > 1e-3):
            raise ValueError("they are no probabilities: let them be positive and add up to 1")
        return value

    @property
    def key(self) -> Key:
        """What it speaks of."""
        return self.conversation, self.utterance


@dataclass(frozen=True, slots=True)
class Placed:
    """A prediction and where it stands."""

    line: int
    prediction: Prediction


def read_predictions(path: Path) -> dict[Key, Placed]:
    """The predictions of a JSONL file (.gz too), by utterance, in the file's order.

    Raises:
        DataError: no such file, a line that is no prediction, or an utterance that stands twice.
    """
    require_file(path)
    found: dict[Key, Placed] = {}
    for placed in _lines(path):
        key = placed.prediction.key
        if key in found:
            raise DataError(
                f"this utterance stands on line {found[key].line} too",
                where=position(path, placed),
                remedy="Give one prediction an utterance",
            )
        found[key] = placed
    if not found:
        raise DataError("it holds no prediction", where=str(path), remedy="Write one JSON line an utterance")
    return found


def position(path: Path, placed: Placed) -> str:
    """The `where` of an error about a prediction."""
    p = placed.prediction
    return place(file=path, line=placed.line, conversation=p.conversation, utterance=p.utterance)


def _lines(path: Path) -> Iterator[Placed]:
    for number, line in numbered_lines(path, str(path)):
        if line.strip():
            try:
                for prediction in _predictions(line):
                    yield Placed(number, prediction)
            except ValidationError as error:
                first = error.errors()[0]
                name = ".".join(str(part) for part in first["loc"][1:])  # the first says which kind of line it is
                raise DataError(
                    f"it is no prediction ({f'{name}: ' * bool(name)}{first['msg'].removeprefix('Value error, ')})",
                    where=place(file=path, line=number),
                    remedy='Write {"conversation": "...", "utterance": "...", "predicted": "..."} on one line, or take '
                    "what `sacl predict --format jsonl` writes",
                ) from None


class _Turn(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)
    id: str
    emotion: str
    probabilities: dict[str, float] | None = None


class _Conversation(BaseModel):
    """A line of `sacl predict`: there `emotion` is what was recognised."""

    model_config = ConfigDict(coerce_numbers_to_str=True)
    id: str
    utterances: list[_Turn]


_Line = TypeAdapter(Annotated[
    Annotated[_Conversation, Tag("conversation")] | Annotated[Prediction, Tag("utterance")],
    Discriminator(lambda line: "conversation" if isinstance(line, dict) and "utterances" in line else "utterance"),
])  # fmt: skip


def _predictions(line: str) -> Iterator[Prediction]:
    read = _Line.validate_json(line)
    if isinstance(read, Prediction):
        yield read
        return
    for turn in read.utterances:
        yield Prediction(
            conversation=read.id, utterance=turn.id, predicted=turn.emotion, probabilities=turn.probabilities
        )
