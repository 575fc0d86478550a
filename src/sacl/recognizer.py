"""Emotions of conversations, from a trained model: what the command, the server and the page call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from sacl.conversation import Conversation, Corpus, LabelSet, Utterance
from sacl.errors import ModelError
from sacl.features.corpus import features_of
from sacl.features.encoder import Encoder
from sacl.training.trained import MODEL_FILE, TrainedModel

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Recognition:
    """What was recognised in one utterance.

    Args:
        speaker, text, id: the utterance's own.
        emotion: the most probable one.
        probability: of that emotion, in [0, 1].
        probabilities: of every emotion, in label order.
    """

    id: str
    speaker: str
    text: str | None
    emotion: str
    probability: float
    probabilities: dict[str, float]


class EmotionRecognizer:
    """Names the emotion of every utterance of a conversation.

    >>> from sacl import EmotionRecognizer
    >>> recognizer = EmotionRecognizer.from_pretrained("runs/sample")  # doctest: +SKIP
    >>> [r.emotion for r in recognizer.predict([("Ann", "You came!"), ("Bo", "I did say I would.")])]  # doctest: +SKIP
    ['surprise', 'joy']
    """

    def __init__(self, trained: TrainedModel) -> None:
        self.trained = trained
        self.encoder = Encoder.from_identity(trained.encoder) if trained.encoder is not None else None

    @classmethod
    def from_pretrained(cls, path: str | Path, *, trust_code: bool = False) -> EmotionRecognizer:
        """From a run's folder, one of its seeds' folders, or a model file.

        Of a run with several seeds, the one with the best validation W-F1 is taken. `trust_code` runs the Python code
        that a model of your own kind names (see `TrainedModel.load`).

        Raises:
            ModelError: there is no model, or it is damaged.
            FeatureError: its encoder is not to be found.
        """
        return cls(TrainedModel.load(find_model(Path(path)), trust_code=trust_code))

    @property
    def labels(self) -> LabelSet:
        """The emotions that it knows."""
        return self.trained.labels

    def predict(
        self, conversation: Conversation | Sequence[tuple[str, str]], progress: Progress | None = None
    ) -> list[Recognition]:
        """Emotions of one conversation: a `Conversation`, or (speaker, text) pairs.

        Raises:
            DataError: no utterances. FeatureError: vectors that do not fit the model, or texts it has no encoder for.
        """
        if not isinstance(conversation, Conversation):
            conversation = Conversation("0", [Utterance(speaker, text) for speaker, text in conversation])
        return next(self.predict_many([conversation], progress=progress))

    def predict_many(
        self, conversations: Iterable[Conversation], chunk: int = 256, progress: Progress | None = None
    ) -> Iterator[list[Recognition]]:
        """Emotions of many conversations, in order, `chunk` of them in memory at a time."""
        stream = iter(conversations)
        while held := list(islice(stream, chunk)):
            # Ids need not be distinct in a stream of files.
            distinct = len({c.id for c in held}) == len(held)
            numbered = [Conversation(c.id if distinct else f"{i} ({c.id})", c.utterances) for i, c in enumerate(held)]
            scores = self._scores(numbered, progress)
            for conversation, log_probabilities in zip(held, scores, strict=True):
                yield self._recognitions(conversation, log_probabilities)

    def _scores(self, conversations: list[Conversation], progress: Progress | None) -> list[np.ndarray]:
        unlabelled = [
            Conversation(c.id, [Utterance(u.speaker, u.text, id=u.id, vector=u.vector) for u in c.utterances])
            for c in conversations
        ]
        corpus = Corpus("input", self.labels, {"all": unlabelled})
        if self.encoder is not None and all(u.vector is None for u in corpus.utterances()):
            vectors = self._encode(corpus, progress)
        else:
            vectors = features_of(corpus).rows("all")
        return self.trained.log_probabilities(self.trained.items(unlabelled, vectors))

    def _encode(self, corpus: Corpus, progress: Progress | None) -> list[np.ndarray]:
        assert self.encoder is not None
        flat = self.encoder.encode([u.text or "" for u in corpus.utterances()], progress=progress)
        ends = np.cumsum([len(c) for c in corpus["all"]])
        return np.split(flat, ends[:-1])

    def _recognitions(self, conversation: Conversation, log_probabilities: np.ndarray) -> list[Recognition]:
        results = []
        for utterance, scores in zip(conversation.utterances, np.exp(log_probabilities), strict=True):
            best = int(scores.argmax())
            results.append(
                Recognition(
                    utterance.id,
                    utterance.speaker,
                    utterance.text,
                    self.labels.names[best],
                    float(scores[best]),
                    {name: float(p) for name, p in zip(self.labels, scores, strict=True)},
                )
            )
        return results


def find_model(path: Path) -> Path:
    """The model file that a path means.

    Raises:
        ModelError: there is none.
    """
    if path.is_file() or (path / MODEL_FILE).exists():
        return path / MODEL_FILE if path.is_dir() else path
    from sacl.experiment.run import RESULT_FILE, read_result

    complete = [folder.parent for folder in sorted(path.glob(f"seed-*/{RESULT_FILE}"))]
    if not complete:
        found = "it holds no completed model" if path.is_dir() else "there is no such file or folder"
        raise ModelError(found, where=str(path), remedy="Name a run's folder or a model.safetensors")
    return max(complete, key=lambda folder: read_result(folder)["valid"]["weighted_f1"]) / MODEL_FILE
