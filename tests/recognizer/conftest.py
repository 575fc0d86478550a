"""Small models with random weights, and conversations of vectors for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from sacl.conversation import Conversation, LabelSet, Utterance
from sacl.model.build import build_model
from sacl.settings import FeatureSettings, ModelSettings
from sacl.training.trained import Standardisation, TrainedModel

WIDTH = 5
LABELS = ("calm", "glad", "cross")

Make = Callable[..., TrainedModel]
Talk = Callable[..., Conversation]


@pytest.fixture(scope="session")
def make() -> Make:
    """A model of random weights; its biases are large enough for every part of it to matter."""

    def made(
        *,
        labels: Sequence[str] = LABELS,
        double: bool = False,
        standardised: bool = True,
        encoder: dict[str, Any] | None = None,
        width: int = WIDTH,
        temperature: float = 1.0,
        causal: bool = False,
        seed: int = 0,
        **settings: Any,
    ) -> TrainedModel:
        if causal:
            settings |= {"bidirectional": False, "min_speaker_utterances": 1}
        chosen = ModelSettings(**{"hidden_size": 6} | settings)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = build_model(chosen, width, len(labels)).eval()
            mean, deviation = torch.randn(width), torch.rand(width) + 0.5
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(3)
        return TrainedModel(
            network.to(torch.float64 if double else torch.float32),
            chosen,
            LabelSet(tuple(labels)),
            width,
            FeatureSettings(),
            encoder,
            Standardisation(mean, deviation) if standardised else None,
            {"recipe": "random", "corpus": "nothing", "seed": seed},
            temperature,
        )

    return made


@pytest.fixture(scope="session")
def talk() -> Talk:
    """A conversation of random vectors."""

    def made(speakers: Sequence[str], seed: int = 0, id: str = "talk", width: int = WIDTH) -> Conversation:
        draw = np.random.default_rng(seed)
        turns = [Utterance(speaker, vector=draw.normal(size=width).astype(np.float32)) for speaker in speakers]
        return Conversation(id, turns)

    return made
