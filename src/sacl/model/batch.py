"""A batch of conversations, laid flat, with the tables by which an LSTM reads it.

The utterances of all conversations lie one after another in one matrix, `(utterances, features)`. A sequence, be it
a conversation or the turns of one speaker, is a list of rows of that matrix; `Sequences` holds all of them in the
order of a `torch.nn.utils.rnn.PackedSequence`. So nothing is padded, and one call reads every sequence at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

UNLABELLED = -100
"""Label of an utterance that is context only."""

Padding = Literal["packed", "released"]


@dataclass(frozen=True, slots=True)
class Sequences:
    """Sequences of rows, packed: all first steps, then all second steps, the longest sequence first.

    Args:
        rows: shape (steps of all sequences,), the flat row read at each packed position; the number of utterances
            (one past the last row) stands for a row of zeros.
        batch_sizes: shape (longest sequence,), on the CPU: how many sequences are still running at each time.
        reverse: shape as `rows`: the packed position that a sequence read backwards has in this one's place.
        real: the packed positions whose output is kept, or None for all of them. Only padding is dropped.
    """

    rows: Tensor
    batch_sizes: Tensor
    reverse: Tensor
    real: Tensor | None = None

    def __len__(self) -> int:
        """How many sequences there are."""
        return int(self.batch_sizes[0]) if len(self.batch_sizes) else 0

    def gather(self, flat: Tensor) -> Tensor:
        """Rows in packed order. `flat`: shape (utterances, width); returns (packed positions, width)."""
        if self.real is not None:
            flat = torch.cat([flat, flat.new_zeros(1, flat.shape[1])])
        return flat.index_select(0, self.rows)

    def scatter(self, packed: Tensor, utterances: int) -> Tensor:
        """The inverse of `gather`: shape (utterances, width), zeros where no sequence holds the utterance."""
        rows = self.rows
        if self.real is not None:
            rows, packed = rows[self.real], packed[self.real]
        return packed.new_zeros(utterances, packed.shape[1]).index_copy(0, rows, packed)

    def to(self, device: torch.device | str) -> Sequences:
        """The same on another device; `batch_sizes` stays on the CPU, where PyTorch wants it."""
        real = None if self.real is None else self.real.to(device)
        return replace(self, rows=self.rows.to(device), reverse=self.reverse.to(device), real=real)


@dataclass(frozen=True, slots=True)
class ConversationItem:
    """One conversation, ready to be batched.

    Args:
        id: the conversation's id.
        features: shape (utterances, features).
        speakers: shape (utterances,), one number a speaker, meaningful within the conversation only.
        labels: shape (utterances,), index of the emotion or `UNLABELLED`, which is -100.

    >>> import numpy as np
    >>> import torch
    >>> from sacl import ConversationItem
    >>> two_turns = ConversationItem("c1", torch.randn(2, 384), np.array([0, 1]), np.array([4, -100]))
    """

    id: str
    features: Tensor
    speakers: np.ndarray
    labels: np.ndarray

    def emptied(self) -> ConversationItem:
        """The same without utterances."""
        return replace(self, features=self.features[:0], speakers=self.speakers[:0], labels=self.labels[:0])


class Whole(NamedTuple):
    """What a batch is a share of, where several processes each read some of its conversations; else the batch itself.

    Args:
        ids: the conversations, in order.
        utterances: how many there are.
        before: how many of them come before the share.
    """

    ids: tuple[str, ...]
    utterances: int
    before: int


@dataclass(frozen=True, slots=True)
class ConversationBatch:
    """Conversations laid flat, one after another.

    Args:
        ids: the conversations, in order.
        lengths: utterances of each conversation.
        features: shape (utterances, features).
        labels: shape (utterances,), int64; `UNLABELLED` where an utterance is context only.
        context: what the context LSTM reads: every conversation.
        speaker: what the speaker LSTM reads: the turns of every speaker who has enough of them.
        speakers: shape (utterances,), int64, a number for who speaks, from 0; a speaker of one conversation is never
            one of another.
        whole: what this is a share of.

    >>> import numpy as np
    >>> import torch
    >>> from sacl import ConversationBatch, ConversationItem, collate
    >>> chat = ConversationItem("c1", torch.randn(3, 8), np.array([0, 1, 0]), np.array([2, -100, 0]))
    >>> batch: ConversationBatch = collate([chat, chat])
    >>> len(batch), batch.mask.tolist()
    (6, [True, False, True, True, False, True])
    """

    ids: tuple[str, ...]
    lengths: tuple[int, ...]
    features: Tensor
    labels: Tensor
    context: Sequences
    speaker: Sequences
    speakers: Tensor
    whole: Whole

    def __len__(self) -> int:
        """How many utterances there are."""
        return len(self.labels)

    @property
    def mask(self) -> Tensor:
        """Shape (utterances,), true where there is a label."""
        return self.labels != UNLABELLED

    @property
    def width(self) -> int:
        """How many numbers describe an utterance."""
        return int(self.features.shape[1])

    def with_features(self, features: Tensor) -> ConversationBatch:
        """The same conversations with other features, shape (utterances, any width)."""
        return replace(self, features=features)

    def to(self, device: torch.device | str) -> ConversationBatch:
        """The same batch on another device."""
        return replace(
            self,
            features=self.features.to(device),
            labels=self.labels.to(device),
            context=self.context.to(device),
            speaker=self.speaker.to(device),
            speakers=self.speakers.to(device),
        )


def collate(
    items: Sequence[ConversationItem],
    *,
    padding: Padding = "packed",
    min_speaker_utterances: int = 2,
    share: slice = slice(None),
) -> ConversationBatch:
    """Conversations -> batch.

    Args:
        items: at least one conversation.
        padding: `packed` reads every sequence by itself. `released` appends zero rows to each, up to the longest
            conversation of the batch, as the authors' code does: the backward direction then starts in the padding,
            and an utterance's scores depend on which conversations share its batch.
        min_speaker_utterances: a speaker with fewer turns than this in a conversation is not read by the speaker
            LSTM (2 in the released code).
        share: which of the items are read here, where other processes read the others. One that is empty makes a batch
            without utterances.

    >>> import numpy as np
    >>> import torch
    >>> from sacl import ConversationItem, collate
    >>> chat = ConversationItem("c1", torch.randn(3, 8), np.array([0, 1, 0]), np.array([2, 1, 0]))
    >>> collate([chat, chat]).lengths
    (3, 3)
    """
    of_all = [len(item.labels) for item in items]
    whole = Whole(tuple(item.id for item in items), sum(of_all), sum(of_all[: share.indices(len(items))[0]]))
    longest = max(of_all) if padding == "released" else None
    items = items[share] or [items[0].emptied()]
    lengths = np.array([len(item.labels) for item in items])
    conversation = np.repeat(np.arange(len(items)), lengths)
    speaker = np.concatenate([item.speakers for item in items])
    # A speaker's number counts within one conversation only, so the pair names a sequence.
    _, party = np.unique(np.stack([conversation, speaker]), axis=1, return_inverse=True)
    return ConversationBatch(
        ids=tuple(item.id for item in items),
        lengths=tuple(int(n) for n in lengths),
        features=torch.cat([item.features for item in items]),
        labels=torch.from_numpy(np.concatenate([item.labels for item in items]).astype(np.int64)),
        context=_sequences(conversation, 1, longest),
        speaker=_sequences(party.reshape(-1), min_speaker_utterances, longest),
        speakers=torch.from_numpy(party.reshape(-1)),
        whole=whole,
    )


def _sequences(sequence: np.ndarray, shortest: int, pad_to: int | None) -> Sequences:
    """Packs rows by the sequence each belongs to; sequences of fewer than `shortest` rows are left out."""
    utterances = len(sequence)
    counts = np.bincount(sequence)
    rows = np.flatnonzero(counts[sequence] >= shortest)
    sequence = sequence[rows]
    time = _position_within(sequence)
    if pad_to is not None:
        present = np.flatnonzero(counts >= shortest)
        missing = pad_to - counts[present]
        sequence = np.concatenate([sequence, np.repeat(present, missing)])
        rows = np.concatenate([rows, np.full(missing.sum(), utterances)])
        time = np.concatenate(
            [time, _position_within(np.repeat(present, missing)) + np.repeat(counts[present], missing)]
        )
    length = np.bincount(sequence, minlength=len(counts))
    # Within a time step the longest sequence comes first; equal lengths keep the order of the batch.
    order = np.lexsort((sequence, -length[sequence], time))
    rows, sequence, time = rows[order], sequence[order], time[order]
    sizes = np.bincount(time)
    starts = np.cumsum(sizes) - sizes
    # A sequence has the same place within every time step.
    reverse = starts[length[sequence] - 1 - time] + np.arange(len(rows)) - starts[time]
    real = None if pad_to is None else torch.from_numpy(np.flatnonzero(rows < utterances))
    return Sequences(torch.from_numpy(rows), torch.from_numpy(sizes), torch.from_numpy(reverse), real)


def _position_within(sequence: np.ndarray) -> np.ndarray:
    """How many earlier entries belong to the same sequence: [0, 1, 0, 0] -> [0, 0, 1, 2]."""
    if not len(sequence):
        return np.zeros(0, dtype=np.int64)
    order = np.argsort(sequence, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(sequence))[:-1]])
    position = np.empty(len(sequence), dtype=np.int64)
    position[order] = np.arange(len(sequence)) - starts[sequence[order]]
    return position
