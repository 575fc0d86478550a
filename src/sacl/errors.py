"""Every error that a user can meet: what was found, where, and what to do about it."""

from __future__ import annotations


class SaclError(Exception):
    """An error whose cause lies in what the user gave, told in one line.

    Args:
        found: what was found, as a sentence without its full stop.
        where: the place, most general first: `train.jsonl, line 3, conversation 12, utterance 4`.
        remedy: what to do, as an imperative sentence without its full stop.
    """

    def __init__(self, found: str, *, where: str = "", remedy: str = "") -> None:
        self.found, self.where, self.remedy = found, where, remedy
        super().__init__(f"{where}: " * bool(where) + found + f". {remedy}" * bool(remedy))


class DataError(SaclError):
    """Conversations, labels or a data set that cannot be read or do not fit together."""


class FeatureError(SaclError):
    """Vectors that are missing, damaged, not finite, or of another width than the model's."""


class RecipeError(SaclError):
    """A setting that is unknown, out of range, or contradicts another."""


class ModelError(SaclError):
    """A saved model or checkpoint that is missing, damaged, or made for something else."""


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
