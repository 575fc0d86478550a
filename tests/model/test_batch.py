"""How conversations are laid flat, against lists of lists."""

from __future__ import annotations

from typing import Literal

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from sacl.model.batch import UNLABELLED, ConversationBatch, ConversationItem, Sequences, collate

WIDTH = 3
CONVERSATIONS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=7), min_size=1, max_size=5)
Padding = Literal["packed", "released"]
PADDINGS: list[Padding] = ["packed", "released"]


def items_of(speakers: list[list[int]]) -> list[ConversationItem]:
    """Conversations by who speaks; each feature is a number of its own, none of them zero."""
    items = []
    start = 1.0
    for i, turns in enumerate(speakers):
        features = torch.arange(start, start + WIDTH * len(turns), dtype=torch.float64).reshape(-1, WIDTH)
        items.append(ConversationItem(f"c{i}", features, np.array(turns), np.arange(len(turns)) % 2))
        start += WIDTH * len(turns)
    return items


def rows_of_conversations(speakers: list[list[int]]) -> list[list[int]]:
    ends = np.cumsum([len(turns) for turns in speakers]).tolist()
    return [list(range(end - len(turns), end)) for turns, end in zip(speakers, ends, strict=True)]


def rows_of_speakers(speakers: list[list[int]], shortest: int) -> list[list[int]]:
    found = []
    for rows, turns in zip(rows_of_conversations(speakers), speakers, strict=True):
        for who in sorted(set(turns)):
            own = [row for row, speaker in zip(rows, turns, strict=True) if speaker == who]
            if len(own) >= shortest:
                found.append(own)
    return found


def packed_by_hand(sequences: list[list[int]]) -> tuple[list[int], list[int]]:
    """All first steps, then all second steps; the longest sequence first, equal ones in the order of the batch."""
    longest_first = sorted(sequences, key=len, reverse=True)
    steps = max(map(len, sequences), default=0)
    times = [[rows[t] for rows in longest_first if len(rows) > t] for t in range(steps)]
    return [row for time in times for row in time], [len(time) for time in times]


@given(speakers=CONVERSATIONS, shortest=st.sampled_from([1, 2, 3]))
def test_packed_sequences_equal_lists_of_turns(speakers: list[list[int]], shortest: int) -> None:
    batch = collate(items_of(speakers), min_speaker_utterances=shortest)
    for sequences, lists in [
        (batch.context, rows_of_conversations(speakers)),
        (batch.speaker, rows_of_speakers(speakers, shortest)),
    ]:
        rows, sizes = packed_by_hand(lists)
        assert sequences.rows.tolist() == rows
        assert sequences.batch_sizes.tolist() == sizes
        assert sequences.real is None
        assert len(sequences) == len(lists)


@given(speakers=CONVERSATIONS, shortest=st.sampled_from([1, 2, 3]))
def test_released_padding_makes_every_sequence_as_long_as_the_longest_conversation(
    speakers: list[list[int]], shortest: int
) -> None:
    batch = collate(items_of(speakers), padding="released", min_speaker_utterances=shortest)
    longest = max(map(len, speakers))
    zero = len(batch)
    for sequences, lists in [
        (batch.context, rows_of_conversations(speakers)),
        (batch.speaker, rows_of_speakers(speakers, shortest)),
    ]:
        rows, sizes = packed_by_hand([own + [zero] * (longest - len(own)) for own in lists])
        assert sequences.rows.tolist() == rows
        assert sequences.batch_sizes.tolist() == sizes
        assert sequences.real is not None
        assert sequences.real.tolist() == [i for i, row in enumerate(rows) if row != zero]
        gathered = sequences.gather(batch.features)
        padded = [i for i, row in enumerate(rows) if row == zero]
        assert not gathered[padded].any()


@given(speakers=CONVERSATIONS, shortest=st.sampled_from([1, 2]))
@pytest.mark.parametrize("padding", PADDINGS)
def test_scatter_is_the_inverse_of_gather(padding: Padding, speakers: list[list[int]], shortest: int) -> None:
    batch = collate(items_of(speakers), padding=padding, min_speaker_utterances=shortest)
    back = batch.context.scatter(batch.context.gather(batch.features), len(batch))
    assert torch.equal(back, batch.features)
    read = sorted(row for own in rows_of_speakers(speakers, shortest) for row in own)
    back = batch.speaker.scatter(batch.speaker.gather(batch.features), len(batch))
    assert torch.equal(back[read], batch.features[read])
    assert not back[[row for row in range(len(batch)) if row not in read]].any()


@given(speakers=CONVERSATIONS)
def test_the_layout_is_that_of_pytorch_for_sorted_lengths(speakers: list[list[int]]) -> None:
    speakers = sorted(speakers, key=len, reverse=True)
    items = items_of(speakers)
    batch = collate(items)
    lengths = torch.tensor([len(turns) for turns in speakers])
    theirs = pack_padded_sequence(pad_sequence([item.features for item in items]), lengths)
    assert torch.equal(batch.context.gather(batch.features), theirs.data)
    assert torch.equal(batch.context.batch_sizes, theirs.batch_sizes)


@given(speakers=CONVERSATIONS)
def test_released_padding_is_pytorchs_padded_tensor_read_in_full(speakers: list[list[int]]) -> None:
    items = items_of(speakers)
    batch = collate(items, padding="released")
    padded = pad_sequence([item.features for item in items])
    sequences = torch.nn.utils.rnn.PackedSequence(batch.context.gather(batch.features), batch.context.batch_sizes)
    assert torch.equal(pad_packed_sequence(sequences)[0], padded)


def test_utterances_lie_in_the_order_of_the_conversations() -> None:
    first = ConversationItem("a", torch.ones(2, WIDTH), np.array([5, 9]), np.array([1, UNLABELLED]))
    second = ConversationItem("b", torch.zeros(1, WIDTH), np.array([5]), np.array([0]))
    batch = collate([first, second])
    assert batch.ids == ("a", "b")
    assert batch.lengths == (2, 1)
    assert batch.labels.tolist() == [1, UNLABELLED, 0]
    assert batch.labels.dtype == torch.int64
    assert batch.mask.tolist() == [True, False, True]
    assert torch.equal(batch.features, torch.cat([first.features, second.features]))
    assert len(batch) == 3
    assert batch.width == WIDTH


@pytest.mark.parametrize("padding", PADDINGS)
def test_a_batch_where_no_speaker_has_two_turns_has_no_speaker_sequence(padding: Padding) -> None:
    batch = collate(items_of([[0, 1, 2], [0], [1, 0]]), padding=padding)
    assert len(batch.speaker) == 0
    assert batch.speaker.rows.tolist() == []
    assert batch.speaker.batch_sizes.tolist() == []
    scattered = batch.speaker.scatter(batch.speaker.gather(batch.features), len(batch))
    assert scattered.shape == (6, WIDTH)
    assert not scattered.any()


def test_a_speaker_of_one_conversation_is_not_the_same_number_in_another() -> None:
    batch = collate(items_of([[0, 1], [0, 1], [1, 0]]))
    assert len(batch.speaker) == 0
    assert sorted(batch.speakers.tolist()) == list(range(6))


@given(speakers=CONVERSATIONS)
def test_the_numbers_of_speakers_tell_them_apart_from_zero_on(speakers: list[list[int]]) -> None:
    numbers = collate(items_of(speakers)).speakers.tolist()
    named = [(i, who) for i, turns in enumerate(speakers) for who in turns]
    assert sorted(set(numbers)) == list(range(len(set(named))))
    assert len(set(zip(numbers, named, strict=True))) == len(set(named))


def test_a_hundred_speakers_of_any_number_are_read() -> None:
    rng = np.random.default_rng(0)
    names = rng.choice(10**9, size=100, replace=False) - 5 * 10**8
    turns = rng.permutation(np.repeat(names, 3)).tolist()
    batch = collate(items_of([turns]))
    assert len(batch.speaker) == 100
    assert batch.speaker.batch_sizes.tolist() == [100, 100, 100]
    assert batch.speaker.rows.tolist() == packed_by_hand(rows_of_speakers([turns], 2))[0]


@pytest.mark.parametrize("padding", PADDINGS)
def test_other_features_and_another_place_keep_the_tables(padding: Padding) -> None:
    batch = collate(items_of([[0, 0, 1], [1, 1]]), padding=padding)
    wider = batch.with_features(torch.ones(5, 8)).to("cpu")
    assert wider.width == 8
    assert tables(wider) == tables(batch)


def tables(batch: ConversationBatch) -> list[list[int] | None]:
    def of(sequences: Sequences) -> list[Tensor | None]:
        return [sequences.rows, sequences.batch_sizes, sequences.real]

    tensors = [batch.labels, batch.speakers, *of(batch.context), *of(batch.speaker)]
    return [None if tensor is None else tensor.tolist() for tensor in tensors]
