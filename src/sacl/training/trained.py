"""A trained model with all it needs to read new conversations: labels, features' statistics, encoder's identity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sacl.conversation import Conversation, LabelSet
from sacl.errors import FeatureError, ModelError, RecipeError, place
from sacl.model.batch import UNLABELLED, ConversationItem, collate
from sacl.model.build import build_model, is_own
from sacl.settings import FeatureSettings, ModelSettings
from sacl.training.calibration import tempered
from sacl.training.checkpoint import load, save

MODEL_FILE = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Standardisation:
    """Mean and deviation of the training split's features, number by number; each of shape (features,)."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, features: Sequence[np.ndarray]) -> Standardisation:
        """From vectors, one (utterances, features) array a conversation. A number that never varies is only centred."""
        stacked = torch.from_numpy(np.concatenate(features)).double()
        deviation = stacked.std(dim=0, correction=0)
        return cls(stacked.mean(dim=0).float(), torch.where(deviation > 0, deviation, 1.0).float())

    def __call__(self, features: Tensor) -> Tensor:
        """(x - mean) / deviation."""
        return (features - self.mean) / self.deviation


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """What a run leaves behind.

    Args:
        model: the network.
        settings: how it is built and batched.
        labels: the emotions, in the order of its outputs.
        input_size: numbers an utterance.
        features: how an utterance becomes numbers.
        encoder: identity of the encoder (`Encoder.identity`), or None where vectors were given.
        standardisation: applied to features before the model reads them, or None.
        about: where it comes from: recipe, seed, corpus, epoch, validation figures.
        temperature: what `calibrated` divides by, fitted on validation (`fit_temperature`); 1 changes nothing.
    """

    model: nn.Module
    settings: ModelSettings
    labels: LabelSet
    input_size: int
    features: FeatureSettings
    encoder: Mapping[str, Any] | None
    standardisation: Standardisation | None
    about: Mapping[str, Any]
    temperature: float = 1.0

    def items(self, conversations: Sequence[Conversation], vectors: Sequence[np.ndarray]) -> list[ConversationItem]:
        """Conversations with their vectors, one (utterances, features) array each -> what the model reads.

        Raises:
            FeatureError: vectors of another width than the model's.
            DataError: an emotion that the model does not know.
        """
        return make_items(conversations, vectors, self.labels, self.input_size, self.standardisation)

    @torch.inference_mode()
    def log_probabilities(self, items: Sequence[ConversationItem], utterances: int = 4096) -> list[np.ndarray]:
        """One (utterances, emotions) array a conversation, as the network gives them; see `calibrated`.

        Args:
            items: any number of conversations; with released padding all of them share one batch.
            utterances: about how many are read at once. It bounds memory; scores do not depend on it.
        """
        self.model.eval()
        dtype = next(self.model.parameters()).dtype
        results: list[np.ndarray] = [np.empty(0)] * len(items)
        whole = self.settings.padding == "released"
        for positions in [range(len(items))] if whole and items else _by_length(items, utterances):
            batch = collate(
                [items[i] for i in positions],
                padding=self.settings.padding,
                min_speaker_utterances=self.settings.min_speaker_utterances,
            )
            scores = self.model(batch.with_features(batch.features.to(dtype))).log_probabilities.float().numpy()
            ends = np.cumsum(batch.lengths)
            for i, start, end in zip(positions, ends - batch.lengths, ends, strict=True):
                results[i] = scores[start:end]
        return results

    def calibrated(self, log_probabilities: np.ndarray) -> np.ndarray:
        """Log-probabilities at the fitted temperature, in double precision; the most probable emotion stays.

        Args:
            log_probabilities: shape (..., emotions), as `log_probabilities` gives them for a conversation.
        """
        return tempered(log_probabilities, self.temperature)

    def save(self, path: Path) -> None:
        """Writes one safetensors file that holds everything.

        Raises:
            ModelError: it cannot be written.
        """
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        if self.standardisation is not None:
            tensors["features.mean"] = self.standardisation.mean
            tensors["features.deviation"] = self.standardisation.deviation
        content = {
            "labels": list(self.labels),
            "input_size": self.input_size,
            "model": self.settings.model_dump(),
            "features": self.features.model_dump(),
            "encoder": None if self.encoder is None else dict(self.encoder),
            "about": dict(self.about),
            "temperature": self.temperature,
        }
        save(path, "model", tensors, content)

    @classmethod
    def load(cls, path: Path, *, trust_code: bool = False) -> TrainedModel:
        """Reads what `save` wrote.

        Args:
            path: the file or its folder.
            trust_code: a model of your own kind (`package.module:Class`) is built by the code that its file names.
                Say so only for a file that you made or looked into.

        Raises:
            ModelError: missing, damaged, not a model, or one that runs code which is not trusted.
        """
        path = path / MODEL_FILE if path.is_dir() else path
        tensors, content = load(path, "model")
        settings = ModelSettings.model_validate(content["model"])
        labels = LabelSet(tuple(content["labels"]))
        if is_own(settings.kind) and not trust_code:
            raise ModelError(
                f"it would run code from outside this package, {settings.kind}",
                where=str(path),
                remedy="If you know that code, trust it: trust_code=True, or --trust-code at the shell",
            )
        try:
            model = build_model(settings, content["input_size"], len(labels))
        except RecipeError as error:
            raise ModelError(error.found, where=f"{path}, {error.where}", remedy=error.remedy) from error
        state = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
        # Before its weights are filled in: they would be rounded to the precision that the model has.
        model.to(next((t.dtype for t in state.values()), torch.float32))
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise ModelError(
                f"its tensors do not fit its settings ({str(error).splitlines()[-1].strip()})",
                where=str(path),
                remedy="Train again",
            ) from error
        standardisation = None
        if "features.mean" in tensors:
            standardisation = Standardisation(tensors["features.mean"], tensors["features.deviation"])
        return cls(
            model.eval(),
            settings,
            labels,
            content["input_size"],
            FeatureSettings.model_validate(content["features"]),
            content["encoder"],
            standardisation,
            content["about"],
            content.get("temperature", 1.0),  # older files have none
        )


def make_items(
    conversations: Sequence[Conversation],
    vectors: Sequence[np.ndarray],
    labels: LabelSet,
    input_size: int,
    standardisation: Standardisation | None = None,
) -> list[ConversationItem]:
    """See `TrainedModel.items`."""
    items = []
    for conversation, array in zip(conversations, vectors, strict=True):
        where = place(conversation=conversation.id)
        if array.shape != (len(conversation), input_size):
            raise FeatureError(
                f"its features are {array.shape[1]} wide, and the model reads {input_size}",
                where=where,
                remedy="Encode it with the encoder that the model was trained on",
            )
        features = torch.from_numpy(array)
        if standardisation is not None:
            features = standardisation(features)
        first = {u.speaker: i for i, u in reversed(list(enumerate(conversation.utterances)))}
        items.append(
            ConversationItem(
                conversation.id,
                features,
                np.array([first[u.speaker] for u in conversation.utterances]),
                np.array(
                    [
                        UNLABELLED if u.emotion is None else labels.index(u.emotion, f"{where}, utterance {u.id}")
                        for u in conversation.utterances
                    ]
                ),
            )
        )
    return items


def _by_length(items: Sequence[ConversationItem], utterances: int) -> Iterator[list[int]]:
    """Positions, conversations of like length together, about `utterances` at a time."""
    batch: list[int] = []
    held = 0
    for i in sorted(range(len(items)), key=lambda i: len(items[i].labels)):
        if batch and held + len(items[i].labels) > utterances:
            yield batch
            batch, held = [], 0
        batch.append(i)
        held += len(items[i].labels)
    if batch:
        yield batch
