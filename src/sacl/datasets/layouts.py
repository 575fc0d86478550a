"""What a pickle in circulation is made of: its layout, its data set and its splits, told by what it holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from sacl.errors import DataError, place

LAYERS = ("layer 1", "layer 2", "layer 3", "layer 4")
MODALITIES = ("text", "audio", "visual")
DRAWN_SHARE, DRAWN_SEED = 0.1, 0
"""Of the training conversations that become the validation split where a file has none."""

_IDS = ("train", "test", "valid")
_LAYOUTS = (
    ("texts", ("speakers", "emotion", "sentences", *_IDS)),
    ("texts", ("speakers", "emotion", "sentiment", "sentences", *_IDS)),
    ("features", ("speakers", "emotion", *LAYERS, "sentences", *_IDS)),
    ("features", ("speakers", "emotion", "sentiment", *LAYERS, "sentences", *_IDS)),
    ("multimodal", ("ids", "speakers", "emotion", *MODALITIES, "sentences", *_IDS[:2])),
    ("multimodal", ("ids", "speakers", "emotion", *MODALITIES, "sentences", *_IDS)),
)


def recognised(content: Any, where: str) -> tuple[str, dict[str, Any]]:
    """The layout's name, and the file's parts by their own."""
    if type(content) in (list, tuple):
        for layout, names in _LAYOUTS:
            if len(names) == len(content) and all(map(_fits, names, content)):
                return layout, dict(zip(names, content, strict=True))
    found = f"a {type(content).__name__}"
    if type(content) in (list, tuple):
        found += f" of {len(content)}: " + ", ".join(type(part).__name__ for part in content[:12])
    raise DataError(
        f"it holds {found}, which is none of the known layouts",
        where=where,
        remedy="Expected dicts keyed by conversation (speakers, labels, vectors, sentences), then lists of ids; where "
        "train, test or valid is missing, add it",
    )


def _fits(name: str, part: Any) -> bool:
    """Whether a part can be what its place says, judged by its first conversation."""
    if name in _IDS:
        return type(part) in (list, tuple, set)
    if type(part) is not dict or not part:
        return False
    turns = next(iter(part.values()))
    if type(turns) is np.ndarray:
        vectors = turns.ndim == 2
    elif type(turns) in (list, tuple) and turns:
        vectors = type(turns[0]) in (list, tuple, np.ndarray)
    else:
        return False
    return {"speakers": True, "ids": not vectors, "sentences": not vectors}.get(
        name, vectors == (name in LAYERS or name in MODALITIES) or name == "emotion"
    )


def told(layout: str, fields: Mapping[str, Any], where: str) -> str:
    """The data set, where the file's content tells it."""
    if "sentiment" in fields:
        return "meld"
    speakers = _some_values(fields["speakers"])
    emotions = [value for value in _some_values(fields["emotion"]) if type(value) in (int, float)]
    if any(value % 1 for value in emotions):  # true of a fraction, and of what is not finite
        return "mosei"
    if all(type(speaker) is str for speaker in speakers):
        if set(speakers) <= {"M", "F"}:
            return "iemocap-4" if layout == "multimodal" and max(emotions, default=0) <= 3 else "iemocap"
        if set(speakers) <= {"0", "1"}:
            return "dailydialog"
    elif all(type(id) is str and re.fullmatch(r"\d+_\d+_\d+", id) for id in fields["speakers"]):
        return "emorynlp"
    raise DataError(
        "which data set it is cannot be told",
        where=where,
        remedy="Name it with --as",
    )


def _some_values(part: Mapping[Any, Any]) -> list[Any]:
    """A few thousand values of a dict of conversations; numbers of an array as Python's own."""
    values: list[Any] = []
    for turns in part.values():
        if type(turns) is np.ndarray:
            values.extend(turns.ravel().tolist())
        elif type(turns) in (list, tuple):
            values.extend(turns)
        if len(values) > 5000:
            break
    return values


def split_ids(fields: Mapping[str, Any], sort: bool, where: str) -> tuple[dict[str, list[Any]], str]:
    """Ids by split, and how the validation split came about."""
    # A set has no order of its own: by name.
    splits = {
        s: sorted(fields[s], key=str) if sort or type(fields[s]) is set else list(fields[s])
        for s in _IDS
        if s in fields
    }
    validation = "the file's own"
    for split, ids in splits.items():
        if not ids:
            raise DataError("it has no conversation", where=place(file=where, split=split), remedy="Get the file again")
        wrong = [id for id in ids if type(id) not in (str, int) or id not in fields["sentences"]]
        if wrong:
            shown = ascii(wrong[0])[:60] if type(wrong[0]) in (str, int) else f"of type {type(wrong[0]).__name__}"
            raise DataError(
                f"it lists a conversation {shown} that the file does not hold",
                where=place(file=where, split=split),
                remedy="Get the file again",
            )
    if "valid" not in splits:
        ids = sorted(splits["train"], key=str)
        np.random.RandomState(DRAWN_SEED).shuffle(ids)
        held = set(ids[: max(1, round(DRAWN_SHARE * len(ids)))])
        splits = {
            "train": [id for id in splits["train"] if id not in held],
            "test": splits["test"],
            "valid": [id for id in splits["train"] if id in held],
        }
        validation = f"drawn from train: {len(held)} conversations, {DRAWN_SHARE:.0%}, seed {DRAWN_SEED}"
        if not splits["train"]:
            raise DataError("train has a single conversation, and valid is missing", where=where, remedy="Give both")
    for one, other in (("train", "valid"), ("train", "test"), ("valid", "test")):
        both = set(splits[one]) & set(splits[other])
        if both:
            shown = ascii(next(iter(both)))[:60]
            raise DataError(
                f"{one} and {other} both list conversation {shown}", where=where, remedy="Keep it in one of them"
            )
    return {split: splits[split] for split in ("train", "valid", "test")}, validation
