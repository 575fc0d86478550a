"""What is recognised in an utterance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np

from sacl.conversation import LabelSet, Utterance
from sacl.errors import ModelError, RecipeError
from sacl.training.trained import TrainedModel

UNCERTAIN = "uncertain"
"""The emotion of an utterance whose probability is below the threshold."""


@dataclass(frozen=True, slots=True)
class Recognition:
    """What was recognised in one utterance.

    Args:
        speaker, text, id: the utterance's own.
        emotion: the most probable one, or `uncertain` where its probability is below the threshold asked for.
        probability: of the most probable emotion, in [0, 1], calibrated: of the utterances with 0.7 about 70 % are
            right, on data like those that the model was validated on.
        probabilities: of every emotion, in label order.

    >>> from sacl import EmotionRecognizer, Recognition
    >>> turn: Recognition
    >>> [turn] = EmotionRecognizer.from_pretrained().predict([("Ann", "Leave me alone! I hate you!")])
    >>> turn.emotion, list(turn.probabilities)[:3]
    ('anger', ['neutral', 'surprise', 'fear'])
    """

    id: str
    speaker: str
    text: str | None
    emotion: str
    probability: float
    probabilities: dict[str, float]

    @property
    def confidence(self) -> float:
        """Another name of `probability`."""
        return self.probability

    @property
    def likeliest(self) -> str:
        """The most probable emotion, whatever the threshold."""
        return max(self.probabilities, key=self.probabilities.__getitem__)


def check_threshold(threshold: float | None, labels: LabelSet) -> None:
    """Refuses a threshold that is no probability.

    Raises:
        RecipeError: it is not from 0 to 1. ModelError: the model has an emotion named `uncertain` of its own.
    """
    if threshold is None:
        return
    if isinstance(threshold, bool) or not isinstance(threshold, Real) or not 0 <= threshold <= 1:
        raise RecipeError(f"the threshold is {threshold!r}", remedy="Give a number from 0 to 1, 0.5 say")
    if UNCERTAIN in labels.names:
        raise ModelError(
            f"it has an emotion named {UNCERTAIN!r}, which could not be told from what the threshold leaves open",
            remedy="Read without a threshold",
        )


def recognitions(
    trained: TrainedModel, utterances: Sequence[Utterance], log_probabilities: np.ndarray, threshold: float | None
) -> list[Recognition]:
    """One an utterance, from the network's scores, shape (utterances, emotions)."""
    results = []
    for utterance, scores in zip(utterances, np.exp(trained.calibrated(log_probabilities)), strict=True):
        best = int(scores.argmax())
        sure = threshold is None or scores[best] >= threshold
        results.append(
            Recognition(
                utterance.id,
                utterance.speaker,
                utterance.text,
                trained.labels.names[best] if sure else UNCERTAIN,
                float(scores[best]),
                {name: float(p) for name, p in zip(trained.labels, scores, strict=True)},
            )
        )
    return results
