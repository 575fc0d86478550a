"""What must not change an utterance's scores or its loss, with packed sequences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from sacl.losses import focal_loss
from sacl.model.batch import UNLABELLED, ConversationItem, collate
from sacl.model.dual_lstm import DualLSTM

EXACT: dict[str, Any] = {"rtol": 0.0, "atol": 1e-12}
WIDTH, CLASSES = 6, 4
CONVERSATIONS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=2, max_size=5)
few = settings(max_examples=25)


def items_of(speakers: list[list[int]], seed: int) -> list[ConversationItem]:
    rng = np.random.default_rng(seed)
    return [
        ConversationItem(
            str(i), torch.from_numpy(rng.normal(size=(len(t), WIDTH))), np.array(t), rng.integers(0, CLASSES, len(t))
        )
        for i, t in enumerate(speakers)
    ]


def read(items: list[ConversationItem], layers: int = 1) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """By conversation: log-probabilities, and the classification loss of every labelled utterance."""
    torch.manual_seed(0)
    model = DualLSTM(WIDTH, CLASSES, hidden_size=4, layers=layers).double().eval()
    batch = collate(items)
    log_probabilities = model(batch).log_probabilities
    losses = torch.zeros(len(batch), dtype=torch.float64)
    for i in batch.mask.nonzero()[:, 0]:
        losses[i] = focal_loss(log_probabilities[i : i + 1], batch.labels[i : i + 1], gamma=1.0)
    parts = [dict(zip(batch.ids, t.split(batch.lengths), strict=True)) for t in (log_probabilities, losses)]
    return parts[0], parts[1]


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    for name in ours.keys() & theirs.keys():
        torch.testing.assert_close(ours[name], theirs[name], **EXACT)


@few
@given(speakers=CONVERSATIONS, seed=st.integers(0, 1000), layers=st.sampled_from([1, 2]))
def test_the_order_of_conversations_in_a_batch_does_not_matter(
    speakers: list[list[int]], seed: int, layers: int
) -> None:
    items = items_of(speakers, seed)
    shuffled = [items[i] for i in np.random.default_rng(seed).permutation(len(items))]
    for ours, theirs in zip(read(items, layers), read(shuffled, layers), strict=True):
        assert ours.keys() == theirs.keys()
        assert_same(ours, theirs)


@few
@given(speakers=CONVERSATIONS, seed=st.integers(0, 1000))
def test_other_conversations_in_the_batch_do_not_matter(speakers: list[list[int]], seed: int) -> None:
    items = items_of(speakers, seed)
    for item in items:
        for ours, theirs in zip(read([item]), read(items), strict=True):
            assert_same(ours, theirs)


@few
@given(speakers=CONVERSATIONS, seed=st.integers(0, 1000), names=st.permutations([-3, 0, 7, 10**9]))
def test_the_numbers_of_speakers_do_not_matter(speakers: list[list[int]], seed: int, names: list[int]) -> None:
    items = items_of(speakers, seed)
    renamed = [replace(item, speakers=np.array(names)[item.speakers]) for item in items]
    for ours, theirs in zip(read(items), read(renamed), strict=True):
        assert_same(ours, theirs)


@few
@given(speakers=CONVERSATIONS, seed=st.integers(0, 1000))
def test_a_missing_label_changes_no_score_and_no_other_utterances_loss(speakers: list[list[int]], seed: int) -> None:
    items = items_of(speakers, seed)
    hidden = [np.random.default_rng(seed).random(len(item.labels)) < 0.5 for item in items]
    masked = [replace(item, labels=np.where(h, UNLABELLED, item.labels)) for item, h in zip(items, hidden, strict=True)]
    (scores, losses), (masked_scores, masked_losses) = read(items), read(masked)
    assert_same(scores, masked_scores)
    for item, h in zip(items, hidden, strict=True):
        assert not masked_losses[item.id][h].any()
        torch.testing.assert_close(masked_losses[item.id][~h], losses[item.id][~h], **EXACT)


def test_who_speaks_does_matter() -> None:
    (item,) = items_of([[0, 1, 0, 1, 0]], 0)
    (scores, _), (other, _) = read([item]), read([replace(item, speakers=np.array([0, 0, 1, 1, 0]))])
    assert (scores["0"] - other["0"]).abs().max() > 1e-3


@pytest.mark.parametrize("layers", [1, 2])
def test_with_released_padding_other_conversations_do_matter(layers: int) -> None:
    items = items_of([[0, 1, 0], [0] * 9], 0)
    torch.manual_seed(0)
    model = DualLSTM(WIDTH, CLASSES, hidden_size=4, layers=layers).double().eval()
    alone = model(collate(items[:1], padding="released")).log_probabilities
    together = model(collate(items, padding="released")).log_probabilities[:3]
    assert (alone - together).abs().max() > 1e-4
