"""MELD's training split in shape, with random features: what an epoch costs does not depend on the texts."""

from __future__ import annotations

import random

import numpy as np
import torch

from sacl.conversation import Conversation, LabelSet, Utterance
from sacl.datasets import load_corpus
from sacl.errors import DataError
from sacl.model.batch import ConversationItem
from sacl.training.trained import make_items

FEATURES = 1024
"""As RoBERTa-large gives."""
CONVERSATIONS, UTTERANCES = 1038, 9989


def conversations() -> tuple[list[Conversation], LabelSet, str]:
    """The training conversations of MELD where SACL_DATA or the cache holds it, else as many made up; and which."""
    try:
        corpus = load_corpus("meld")
    except DataError:
        labels = LabelSet(tuple("abcdefg"))
        return _made_up(labels), labels, "made-up conversations of MELD's number and mean length"
    return list(corpus["train"]), corpus.labels, "MELD's training conversations"


def _made_up(labels: LabelSet) -> list[Conversation]:
    """Lengths from 1 to 24 around a mean of 9.6, two to five speakers."""
    draw = random.Random(0)
    lengths = [min(24, max(1, round(draw.gauss(9.6, 5.2)))) for _ in range(CONVERSATIONS)]
    while (excess := sum(lengths) - UTTERANCES) != 0:
        i = draw.randrange(CONVERSATIONS)
        lengths[i] = min(24, max(1, lengths[i] - (1 if excess > 0 else -1)))
    result = []
    for i, length in enumerate(lengths):
        speakers = [f"speaker {k}" for k in range(draw.randint(2, 5))]
        turns = [Utterance(draw.choice(speakers), "", draw.choice(labels.names)) for _ in range(length)]
        result.append(Conversation(str(i), turns))
    return result


def items() -> tuple[list[ConversationItem], LabelSet, str]:
    """What the loop reads: random features of unit deviation, speakers and labels as they are."""
    chosen, labels, source = conversations()
    generator = torch.Generator().manual_seed(0)
    vectors: list[np.ndarray] = [torch.randn(len(c), FEATURES, generator=generator).numpy() for c in chosen]
    return make_items(chosen, vectors, labels, FEATURES), labels, source
