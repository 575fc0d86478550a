from __future__ import annotations

import numpy as np
import pytest
import torch

from sacl.evaluation.clustering import agreement, representations, separation, tsne
from sacl.evaluation.robustness import batching
from sacl.model.batch import ConversationItem
from sacl.model.dual_lstm import DualLSTM
from sacl.settings import ModelSettings


def blobs(each=20, apart=30.0):
    draw = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], each)
    return labels, draw.normal(size=(len(labels), 3)) + apart * np.eye(3)[labels]


def test_predictions_that_are_right_or_renamed_agree_and_constant_ones_do_not():
    labels = np.array([0, 0, 1, 1, 2, 2, -100])
    perfect = dict.fromkeys(("ari", "nmi", "ami", "fmi"), pytest.approx(1))
    assert agreement(labels, np.array([0, 0, 1, 1, 2, 2, 0])) == perfect
    assert agreement(labels, np.array([2, 2, 0, 0, 1, 1, 1])) == perfect
    assert agreement(labels, np.zeros(7, int))["ari"] == 0


def test_rand_index_equals_the_count_of_pairs():
    labels, predictions = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 2, 2])
    # Pairs together in both 2 of 15; in the labels 6, in the predictions 3. Hubert and Arabie 1985; Fowlkes, Mallows.
    found = agreement(labels, predictions)
    assert found["ari"] == pytest.approx((2 - 6 * 3 / 15) / ((6 + 3) / 2 - 6 * 3 / 15))
    assert found["fmi"] == pytest.approx(2 / np.sqrt(6 * 3))


def test_points_that_lie_apart_are_better_separated():
    far, near = (separation(blobs(apart=apart)[1]) for apart in (30.0, 3.0))
    assert far["silhouette"] > 0.9 > near["silhouette"]
    assert far["calinski_harabasz"] > near["calinski_harabasz"]
    assert far["davies_bouldin"] < near["davies_bouldin"]
    assert far == separation(blobs()[1])


def test_separation_is_not_defined_where_there_are_too_few_different_points():
    assert separation(np.zeros((5, 3))) is None
    assert separation(np.eye(3)) is None
    assert separation(np.repeat(np.eye(2), 3, axis=0)) == pytest.approx(
        {"silhouette": 1, "calinski_harabasz": 1, "davies_bouldin": 0}
    )


def test_representations_are_the_hidden_states_in_order_whatever_the_batches():
    torch.manual_seed(0)
    model = DualLSTM(4, 3, hidden_size=2, dropout=0.5).train()
    items = [ConversationItem(str(n), torch.randn(n, 4), np.zeros(n, int), np.zeros(n, int)) for n in (3, 1, 2)]
    whole, apart = (representations(model, batching(model, ModelSettings(), size)(items)) for size in (3, 1))
    assert whole.shape == (6, 8)
    assert whole == pytest.approx(apart, abs=1e-6)


def test_tsne_keeps_blobs_together_and_is_the_same_for_a_seed():
    labels, points = blobs()
    found = tsne(points)
    centres = np.stack([found[labels == k].mean(axis=0) for k in range(3)])
    nearest = np.linalg.norm(found[:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == labels).all()
    assert (tsne(points) == found).all()


def test_tsne_of_few_points():
    assert tsne(np.eye(4)).shape == (4, 2)
    with pytest.raises(ValueError, match="1 different"):
        tsne(np.ones((9, 3)))
