"""One turn left out at a time: the short way equals as many readings of the whole conversation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sacl.model.batch import UNLABELLED, ConversationItem, collate
from sacl.model.dual_lstm import DualLSTM
from sacl.model.occlusion import without_each


@pytest.mark.parametrize("minimum", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@settings(max_examples=25)
@given(
    speakers=st.lists(st.integers(0, 3), min_size=1, max_size=30),
    seed=st.integers(0, 5),
    data=st.data(),
)
def test_it_equals_reading_every_version_of_the_conversation(
    minimum: int, bidirectional: bool, speakers: list[int], seed: int, data: st.DataObject
) -> None:
    torch.manual_seed(seed)
    model = DualLSTM(4, 3, hidden_size=5, bidirectional=bidirectional).double().eval()
    n = len(speakers)
    target = data.draw(st.integers(0, n - 1))
    positions = data.draw(st.lists(st.sampled_from([i for i in range(n) if i != target] or [None]), unique=True))
    positions = [i for i in positions if i is not None]
    features = torch.randn(n, 4, dtype=torch.float64)
    versions = [features]
    for position in positions:
        versions.append(features.clone())
        versions[-1][position] = 0
    items = [ConversationItem("c", v, np.array(speakers), np.full(n, UNLABELLED)) for v in versions]
    with torch.inference_mode():
        expected = torch.stack(
            [model(collate([item], min_speaker_utterances=minimum)).log_probabilities[target] for item in items]
        )
    found = without_each(model, features, np.array(speakers), target, positions, minimum)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)
