"""A conversation read while it goes on, without seeing the future."""

from __future__ import annotations

import numpy as np
import torch

from sacl.conversation import Utterance
from sacl.errors import DataError, FeatureError, ModelError, place
from sacl.features.encoder import Encoder
from sacl.features.store import vector_of
from sacl.model.causal import CausalReader
from sacl.recognizer.recognition import Recognition, check_threshold, recognitions
from sacl.training.trained import TrainedModel


class Stream:
    """One live conversation; made by `EmotionRecognizer.stream`.

    What it says of a turn is what `predict` says of it once the conversation is over, to 1e-6 for vectors; a text that
    is encoded by itself may move a probability by 1e-5. Turn 1,000 costs what turn 2 costs. No turn is kept: memory is
    2 x layers x hidden numbers for the conversation and as many for each speaker (1 KiB a speaker for one layer of 128
    in single precision, beside the name), and grows with nothing else.

    Not to be used by two threads at once.

    Raises:
        ModelError: a model that is not causal. RecipeError: a threshold that is no probability.

    >>> from sacl import EmotionRecognizer, Stream
    >>> live: Stream = EmotionRecognizer.from_pretrained(causal=True).stream()
    >>> live.add("Ann", "I got the job!").emotion, live.turns
    ('joy', 1)
    """

    def __init__(self, trained: TrainedModel, encoder: Encoder | None, threshold: float | None = None) -> None:
        check_threshold(threshold, trained.labels)
        if trained.settings.kind != "dual_lstm":
            raise ModelError(
                f"a model of the kind {trained.settings.kind} cannot be read turn by turn",
                remedy="Train model.kind=dual_lstm with model.bidirectional=false",
            )
        if trained.settings.bidirectional:
            raise ModelError(
                "it reads the later turns too, so it cannot follow a conversation that goes on",
                remedy="Take from_pretrained(causal=True), or train with model.bidirectional=false and "
                "model.min_speaker_utterances=1",
            )
        self._trained, self._encoder, self._threshold = trained, encoder, threshold
        self._reader = CausalReader(trained.model.eval())  # type: ignore[arg-type]
        self.turns = 0
        """How many it has read."""

    @property
    def speakers(self) -> int:
        """How many have spoken; memory grows with them."""
        return self._reader.speakers

    def add(
        self, speaker: str, text: str | None = None, *, vector: np.ndarray | None = None, id: str | None = None
    ) -> Recognition:
        """Reads the next turn.

        Args:
            speaker: who speaks.
            text: what was said.
            vector: shape (features,), not standardised; taken in place of what the encoder makes of the text.
            id: its name; by default its position.

        Raises:
            DataError: neither text nor vector, or a speaker or a text that is not a string.
            FeatureError: a vector that does not fit the model, or a text and no encoder. The turn then was not read.
        """
        where = place(utterance=self.turns if id is None else id)
        for what, value in (("speaker", speaker), ("text", text)):
            if not isinstance(value, str) and (what == "speaker" or value is not None):
                raise DataError(f"its {what} is {value!r:.40}", where=where, remedy="Give a string")
        utterance = Utterance(speaker, text, id=str(self.turns) if id is None else id, vector=vector)
        features = torch.from_numpy(self._vector(utterance, where))
        if self._trained.standardisation is not None:
            features = self._trained.standardisation(features)
        dtype = next(self._trained.model.parameters()).dtype
        scores = self._reader.read(speaker, features.to(dtype)).float().numpy()
        self.turns += 1
        return recognitions(self._trained, [utterance], scores[None], self._threshold)[0]

    def _vector(self, utterance: Utterance, where: str) -> np.ndarray:
        """Shape (features,), float32."""
        if utterance.vector is not None:
            vector = vector_of(utterance, where)
        elif utterance.text is None:
            raise DataError("it has neither text nor vector", where=where, remedy="Give one of them")
        elif self._encoder is None:
            raise FeatureError("it has no vector", where=where, remedy="Give one: the model has no encoder")
        else:
            vector = self._encoder.encode([utterance.text])[0]
        if len(vector) != self._trained.input_size:
            raise FeatureError(
                f"its features are {len(vector)} wide, and the model reads {self._trained.input_size}",
                where=where,
                remedy="Encode it with the encoder that the model was trained on",
            )
        return vector
