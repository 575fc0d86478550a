"""What the library reads and writes: utterances, conversations, label sets and corpora."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sacl.errors import DataError, place


@dataclass(frozen=True, slots=True)
class Utterance:
    """One turn of a conversation.

    Args:
        speaker: who speaks; any string, meaningful within its conversation only.
        text: what was said, or None where only a vector is at hand.
        emotion: its label, or None. An unlabelled utterance is context: the model reads it, loss and metrics do not.
        id: its name within the conversation; its position where none is given.
        time: when it was said, in seconds from any fixed moment.
        vector: shape (features,), in place of an encoder's output.

    >>> from sacl import Utterance
    >>> Utterance("Ann", "You came!", emotion="joy").emotion
    'joy'
    """

    speaker: str
    text: str | None = None
    emotion: str | None = None
    id: str = ""
    time: float | None = None
    vector: np.ndarray | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Conversation:
    """Utterances in the order in which they were said.

    Raises:
        DataError: no utterances, two of the same id, or one that has neither text nor vector.

    >>> from sacl import Conversation, Utterance
    >>> chat = Conversation("c1", [Utterance("Ann", "You came!"), Utterance("Bo", "I said I would.")])
    >>> [u.id for u in chat.utterances]
    ['0', '1']
    """

    id: str
    utterances: Sequence[Utterance]

    def __post_init__(self) -> None:
        if not self.utterances:
            raise DataError(
                "it has no utterances",
                where=place(conversation=self.id),
                remedy="Give it at least one, or leave it out",
            )
        named = tuple(u if u.id else replace(u, id=str(i)) for i, u in enumerate(self.utterances))
        object.__setattr__(self, "utterances", named)
        seen: set[str] = set()
        for utterance in named:
            here = place(conversation=self.id, utterance=utterance.id)
            if utterance.text is None and utterance.vector is None:
                raise DataError("it has neither text nor vector", where=here, remedy="Give it one of them")
            if utterance.id in seen:
                raise DataError("its id stands twice in the conversation", where=here, remedy="Make the ids distinct")
            seen.add(utterance.id)

    def __len__(self) -> int:
        return len(self.utterances)

    def to_dict(self) -> dict[str, Any]:
        """The interchange form, one JSONL line: keys `id` and `utterances`; what is None is left out."""
        turns = []
        for i, u in enumerate(self.utterances):
            turn: dict[str, Any] = {} if u.id == str(i) else {"id": u.id}
            turn["speaker"] = u.speaker
            for key in ("text", "emotion", "time"):
                if getattr(u, key) is not None:
                    turn[key] = getattr(u, key)
            if u.vector is not None:
                turn["vector"] = [float(x) for x in u.vector]
            turns.append(turn)
        return {"id": self.id, "utterances": turns}


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The emotions of a data set, in the order of the model's outputs; none where nothing is labelled.

    >>> from sacl import LabelSet
    >>> LabelSet(("sad", "calm")).index("calm")
    1
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        twice = [name for name, n in Counter(self.names).items() if n > 1]
        if twice:
            raise DataError(f"the label {twice[0]!r} stands twice", remedy="Give every emotion once")

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def index(self, name: str, where: str = "") -> int:
        """Position of the label `name`. `where` goes into the DataError that an unknown one raises."""
        try:
            return self.names.index(name)
        except ValueError:
            raise DataError(
                f"unknown emotion {name!r}", where=where, remedy=f"Use one of: {', '.join(self.names)}"
            ) from None


@dataclass(frozen=True, slots=True)
class Corpus:
    """Conversations by split, with the labels they use.

    Args:
        name: the data set's name, `meld` say.
        labels: the emotions, in index order.
        splits: split name (`train`, `valid`, `test`) -> conversations, ids unique within a split.

    Raises:
        DataError: an utterance with a label that is not of the set, or two conversations of one id in a split.

    >>> from sacl import Conversation, Corpus, LabelSet, Utterance
    >>> chat = Conversation("c1", [Utterance("Ann", "You came!", emotion="glad")])
    >>> corpus = Corpus("mine", LabelSet(("glad", "sad")), {"train": [chat]})
    >>> [utterance.emotion for utterance in corpus.utterances("train")]
    ['glad']
    """

    name: str
    labels: LabelSet
    splits: Mapping[str, Sequence[Conversation]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "splits", {name: tuple(split) for name, split in self.splits.items()})
        for name, split in self.splits.items():
            seen: set[str] = set()
            for conversation in split:
                here = place(file=self.name, split=name, conversation=conversation.id)
                if conversation.id in seen:
                    raise DataError("its id stands twice in the split", where=here, remedy="Make the ids distinct")
                seen.add(conversation.id)
                for utterance in conversation.utterances:
                    if utterance.emotion is not None:
                        self.labels.index(utterance.emotion, where=f"{here}, utterance {utterance.id}")

    def __getitem__(self, split: str) -> Sequence[Conversation]:
        try:
            return self.splits[split]
        except KeyError:
            raise DataError(
                f"there is no split {split!r}", where=self.name, remedy=f"Use one of: {', '.join(self.splits)}"
            ) from None

    def utterances(self, split: str | None = None) -> Iterator[Utterance]:
        """Every utterance of one split, or of all of them, in order."""
        for name in self.splits if split is None else (split,):
            for conversation in self[name]:
                yield from conversation.utterances

    def fingerprint(self) -> str:
        """SHA-256 over labels and conversations, texts, speakers and order included."""
        digest = hashlib.sha256(json.dumps(self.labels.names).encode())
        for name, split in self.splits.items():
            digest.update(f"\n# {name}".encode())
            for conversation in split:
                digest.update(b"\n" + json.dumps(conversation.to_dict(), sort_keys=True).encode())
        return digest.hexdigest()
