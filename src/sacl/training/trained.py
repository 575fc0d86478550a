"""A trained model with all it needs to read new conversations: labels, features' statistics, encoder's identity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from sacl.conversation import Conversation, LabelSet
from sacl.errors import DataError, FeatureError, ModelError, RecipeError, place
from sacl.model.batch import UNLABELLED, ConversationItem, collate
from sacl.model.build import build_model
from sacl.settings import FeatureSettings, ModelSettings
from sacl.training.calibration import tempered
from sacl.training.checkpoint import load, packed, save

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


class _Encoder(BaseModel):
    """The identity of an encoder, as `Encoder.identity` gives it; whatever else a file says of it is kept."""

    model_config = ConfigDict(extra="allow", strict=True)
    name: str
    sha256: str
    pooling: Literal["mean", "first"]
    layer: int
    max_tokens: Annotated[int, Field(ge=1)]
    revision: str | None


class _Content(BaseModel):
    """What stands beside the tensors. Whoever writes a file can write its hash too: nothing in it is believed."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)
    labels: Annotated[list[str], Field(min_length=1)]
    input_size: Annotated[int, Field(ge=1, le=2**20)]
    model: ModelSettings
    features: FeatureSettings
    encoder: _Encoder | None
    about: dict[str, Any]
    temperature: Annotated[float, Field(gt=0)] = 1.0  # older files have none


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
        save(path, "model", *self._parts())

    def to_bytes(self) -> bytes:
        """What `save` writes."""
        return packed("model", *self._parts())

    def _parts(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
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
        return tensors, content

    @classmethod
    def from_bytes(cls, content: bytes, *, trust_code: bool = False) -> TrainedModel:
        """Of what `to_bytes` gave; see `load`."""
        with TemporaryFile() as file:  # safetensors reads its metadata from files alone; this one has no name
            file.write(content)
            file.flush()
            return cls.load(Path(f"/dev/fd/{file.fileno()}"), trust_code=trust_code)

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
        try:
            said = _Content.model_validate(content)
            labels = LabelSet(tuple(said.labels))
        except (ValidationError, DataError) as error:
            raise _unfit(path, error) from None
        settings = said.model
        if settings.is_own and not trust_code:
            raise ModelError(
                f"it would run code from outside this package, {settings.kind}",
                where=str(path),
                remedy="If you know that code, trust it: trust_code=True, or --trust-code at the shell",
            )
        state = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
        try:
            if not settings.is_own:
                with torch.device("meta"):  # no memory for what the file only claims
                    build_model(settings, said.input_size, len(labels)).load_state_dict(state, assign=True)
            model = build_model(settings, said.input_size, len(labels))
            # Before its weights are filled in: they would be rounded to the precision that the model has.
            model.to(_precision(state))
            model.load_state_dict(state)
        except RecipeError as error:
            raise ModelError(error.found, where=f"{path}, {error.where}", remedy=error.remedy) from error
        except RuntimeError as error:
            raise ModelError(
                f"its tensors do not fit its settings ({str(error).splitlines()[-1].strip()[:200]})",
                where=str(path),
                remedy="Train again",
            ) from error
        statistics = [tensors[name] for name in ("features.mean", "features.deviation") if name in tensors]
        if statistics and [(t.dtype, t.shape) for t in statistics] != [(torch.float32, (said.input_size,))] * 2:
            raise ModelError("its statistics do not fit its features", where=str(path), remedy="Train again")
        return cls(
            model.eval(),
            settings,
            labels,
            said.input_size,
            said.features,
            content["encoder"],
            Standardisation(*statistics) if statistics else None,
            said.about,
            said.temperature,
        )


def _unfit(path: Path, error: ValidationError | DataError) -> ModelError:
    """Of a file whose bytes are whole, and whose content is no model's."""
    if isinstance(error, DataError):
        found = error.found
    else:
        first = error.errors()[0]
        found = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return ModelError(f"it is no model ({found[:200]})", where=str(path), remedy="Train again, or get it again")


def _precision(state: Mapping[str, Tensor]) -> torch.dtype:
    """Of a model's weights.

    Raises:
        RuntimeError: they are no plain numbers.
    """
    found = {t.dtype for t in state.values() if t.is_floating_point()}
    if len(found) > 1 or not found <= {torch.float32, torch.float64}:
        raise RuntimeError(f"its weights are of the types {', '.join(sorted(map(str, found)))}")
    return found.pop() if found else torch.float32


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
