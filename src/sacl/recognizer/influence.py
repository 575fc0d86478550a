"""Why an utterance was recognised so: what each other turn had to do with it, by occlusion."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np

from sacl.conversation import Conversation
from sacl.errors import DataError, place
from sacl.model.batch import ConversationItem
from sacl.model.occlusion import without_each
from sacl.training.trained import TrainedModel

Progress = Callable[[str, int, int], None]

_UTTERANCES = 4096
"""About how many are read in one batch; between batches a caller can cancel."""


@dataclass(frozen=True, slots=True)
class Influence:
    """How one turn moved the probability of another's emotion.

    Args:
        id, speaker, text: the turn's own.
        position: of the turn in its conversation, from 0.
        moved: the probability with the turn as it is, less the probability with its vector set to zero; in [-1, 1].
            Above 0 the turn speaks for the emotion, below 0 against it.

    >>> from sacl import EmotionRecognizer, Influence
    >>> chat = [("Ann", "I got the job!"), ("Bo", "Oh my God, congratulations!")]
    >>> found: list[Influence] = EmotionRecognizer.from_pretrained().influence(chat, 1)
    >>> [(other.speaker, other.moved > 0.1) for other in found]
    [('Ann', True)]
    """

    id: str
    position: int
    speaker: str
    text: str | None
    moved: float


def influences(
    trained: TrainedModel,
    conversation: Conversation,
    item: ConversationItem,
    target: int,
    nearest: int,
    cancelled: Callable[[], bool] | None = None,
    progress: Progress | None = None,
) -> list[Influence]:
    """See `EmotionRecognizer.influence`.

    Args:
        item: what the model reads of the conversation, standardised.
        target: position of the utterance that is asked about.
    """
    positions = nearest_turns(len(conversation), target, nearest)
    whole, occluded = _versions(trained, item, target, positions, cancelled, progress)
    emotion = int(whole.argmax())
    results = []
    for position, scores in zip(positions, occluded, strict=True):
        turn = conversation.utterances[position]
        moved = float(whole[emotion] - scores[emotion])
        results.append(Influence(turn.id, position, turn.speaker, turn.text, moved))
    return results


def _versions(
    trained: TrainedModel,
    item: ConversationItem,
    target: int,
    positions: Sequence[int],
    cancelled: Callable[[], bool] | None,
    progress: Progress | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the target: (emotions,), and (positions, emotions) with each of the positions occluded."""
    if cancelled is not None and cancelled():
        raise CancelledError
    settings = trained.settings
    if (settings.kind, settings.layers, settings.padding) == ("dual_lstm", 1, "packed"):
        network: Any = trained.model.eval()
        features = item.features.to(next(network.parameters()).dtype)
        scores = without_each(
            network, features, item.speakers, target, positions, settings.min_speaker_utterances, cancelled
        )
        both = np.exp(trained.calibrated(scores.float().numpy()))
        if progress is not None:
            progress("influence", len(positions), len(positions))
        return both[0], both[1:]
    [whole] = _probabilities(trained, [item], target)
    results = [np.empty((0, len(whole)))]
    for part in _parts(positions, max(1, _UTTERANCES // len(item.labels))):
        if cancelled is not None and cancelled():
            raise CancelledError
        results.append(_probabilities(trained, [_without(item, position) for position in part], target))
        if progress is not None:
            progress("influence", sum(map(len, results)), len(positions))
    return whole, np.concatenate(results)


def position_of(conversation: Conversation, utterance: int | str) -> int:
    """The position that an utterance's id or its position means.

    Raises:
        DataError: the conversation has no such utterance.
    """
    if isinstance(utterance, Integral) and not isinstance(utterance, bool):
        known = range(len(conversation))
        if utterance in known:
            return int(utterance)
        remedy = f"Give a position from 0 to {len(known) - 1}, or an id"
    else:
        ids = [u.id for u in conversation.utterances]
        if utterance in ids:
            return ids.index(utterance)
        remedy = f"Give an id ({', '.join(ids[:3])}...), or a position as a number"
    raise DataError(
        f"there is no utterance {utterance!r:.40}", where=place(conversation=conversation.id), remedy=remedy
    )


def nearest_turns(turns: int, target: int, nearest: int) -> list[int]:
    """Positions of the other turns, the nearest ones, in order; of two equally near ones the earlier.

    >>> nearest_turns(9, 4, 3)
    [2, 3, 5]
    """
    others = sorted((i for i in range(turns) if i != target), key=lambda i: (abs(i - target), i))
    return sorted(others[:nearest])


def _without(item: ConversationItem, position: int) -> ConversationItem:
    """The conversation with one turn's vector set to zero: an average turn, where features are standardised."""
    features = item.features.clone()
    features[position] = 0
    return replace(item, features=features)


def _probabilities(trained: TrainedModel, items: Sequence[ConversationItem], target: int) -> np.ndarray:
    """Of one utterance in each of these versions of its conversation, shape (versions, emotions)."""
    scores = np.stack([version[target] for version in trained.log_probabilities(items, _UTTERANCES)])
    return np.asarray(np.exp(trained.calibrated(scores)))


def _parts(positions: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(positions), size):
        yield positions[start : start + size]
