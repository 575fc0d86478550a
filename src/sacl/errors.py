"""Every error that a user can meet: what was found, where, and what to do about it."""

from __future__ import annotations

from typing import Any

LONGEST_PART = 600
"""Characters of each part of an error; the middle of a longer one is left out."""


class SaclError(Exception):
    """An error whose cause lies in what the user gave, told in one line.

    Args:
        found: what was found, as a sentence without its full stop.
        where: the place, most general first: `train.jsonl, line 3, conversation 12, utterance 4`.
        remedy: what to do, as an imperative sentence without its full stop.

    >>> from sacl import SaclError
    >>> str(SaclError("a row has 1 cell", where="chat.csv, line 2", remedy="Give it 3"))
    'chat.csv, line 2: a row has 1 cell. Give it 3'
    """

    def __init__(self, found: str, *, where: str = "", remedy: str = "") -> None:
        self.found, self.where, self.remedy = found, where, remedy
        told = (f"{_fit(where)}: " * bool(where), _fit(found), f". {_fit(remedy)}" * bool(remedy))
        super().__init__("".join(told))

    def __reduce__(self) -> Any:
        """As exceptions are told to other processes; those of subclasses take other arguments."""
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[SaclError], arguments: tuple[Any, ...], content: dict[str, Any]) -> SaclError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(content)
    return error


def _fit(part: str) -> str:
    """Fit for a line that a person reads: what a file says may be a megabyte long, or move a terminal's cursor."""
    if len(part) > LONGEST_PART:
        part = f"{part[: LONGEST_PART // 2]} ... {part[-LONGEST_PART // 2 :]}"
    return part if part.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in part)


class DataError(SaclError):
    """Conversations, labels or a data set that cannot be read or do not fit together.

    >>> import sacl
    >>> sacl.Conversation("c1", [])
    Traceback (most recent call last):
        ...
    sacl.errors.DataError: conversation c1: it has no utterances. Give it at least one, or leave it out
    """


class FeatureError(SaclError):
    """Vectors that are missing, damaged, not finite, or of another width than the model's.

    >>> import sacl
    >>> sacl.Encoder.load(pooling="median")
    Traceback (most recent call last):
        ...
    sacl.errors.FeatureError: unknown pooling 'median'. Use mean or first
    """


class RecipeError(SaclError):
    """A setting that is unknown, out of range, or contradicts another.

    >>> import sacl
    >>> sacl.load_recipe("sample", ["training.epoch=3"])
    Traceback (most recent call last):
        ...
    sacl.errors.RecipeError: recipe sample: there is no setting 'training.epoch'; did you mean 'epochs'?
    """


class ModelError(SaclError):
    """A saved model or checkpoint that is missing, damaged, or made for something else.

    >>> import sacl
    >>> sacl.EmotionRecognizer.from_pretrained("nowhere")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    sacl.errors.ModelError: nowhere: there is no such file or folder. Name a run's folder, a model.safetensors, or a...
    """


class RunError(SaclError):
    """A run directory that is missing, in use, or holds a different run."""


class NumericalError(SaclError):
    """A loss or gradient that stopped being a finite number."""


def place(**parts: object) -> str:
    """The `where` of an error from its parts; a part that is None is left out.

    >>> place(file="a.csv", line=3, utterance=None)
    'a.csv, line 3'
    """
    return ", ".join(
        str(value) if name == "file" else f"{name} {value}" for name, value in parts.items() if value is not None
    )
