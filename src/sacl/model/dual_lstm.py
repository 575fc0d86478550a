"""Dual-LSTM: one LSTM over the whole conversation, one over each speaker's own turns (Hu et al. 2023, section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sacl.errors import ModelError
from sacl.model.batch import ConversationBatch, Sequences, Whole
from sacl.model.recurrence import LSTMLayer

RELEASED_NAMES = {"rnn.": "context_lstm.", "rnn_parties.": "speaker_lstm.", "cognition_net.smax_fc.": "classifier."}
"""Prefixes of the authors' checkpoints -> ours."""


class ModelOutput(NamedTuple):
    """What a model says of a batch.

    Args:
        log_probabilities: shape (utterances, emotions), log-softmax.
        hidden: shape (utterances, width), the representation under the classifier.
    """

    log_probabilities: Tensor
    hidden: Tensor


class PackedLSTM(nn.LSTM):
    """`torch.nn.LSTM` that reads flat rows through `Sequences`, with dropout masks keyed by utterance.

    Parameters, their names and their initialisation are those of `torch.nn.LSTM`. Layers are run one at a time, so
    that the masks between them are drawn in utterance order: the same for packed and for padded sequences.
    """

    def forward(  # type: ignore[override]
        self, flat: Tensor, sequences: Sequences, generator: torch.Generator | None = None
    ) -> Tensor:
        """Shape (utterances, features) -> (utterances, directions x hidden); zeros for rows of no sequence."""
        width = self.hidden_size * (2 if self.bidirectional else 1)
        if not len(sequences):
            for _ in range(1, self.num_layers):
                # Not used, but those that follow are then the same, whatever else is in the batch.
                self._masks((len(flat), width), flat, generator)
            # The released code calls the LSTM all the same: its gradients are zero, not absent, and Adam acts on them.
            return flat.new_zeros(len(flat), width) + 0.0 * sum(p.sum() for p in self.parameters())
        packed = sequences.gather(flat)
        for layer in range(self.num_layers):
            if layer:
                packed = packed * self._packed_masks(len(flat), width, sequences, packed, generator)
            if packed.is_cpu:
                packed = LSTMLayer.apply(  # type: ignore[no-untyped-call]
                    packed, sequences.reverse, sequences.batch_sizes.tolist(), *self._layer(layer)
                )
            else:
                packed = self._by_pytorch(packed, sequences, layer)
        return sequences.scatter(packed, len(flat))

    def _by_pytorch(self, packed: Tensor, sequences: Sequences, layer: int) -> Tensor:
        """The same by PyTorch's own layer, whose steps cost less where each would be a kernel's start."""
        zeros = packed.new_zeros(2 if self.bidirectional else 1, len(sequences), self.hidden_size)
        biases, layers, dropout = True, 1, 0.0
        output, _, _ = torch.lstm(
            packed,
            sequences.batch_sizes,
            (zeros, zeros),
            self._layer(layer),
            biases,
            layers,
            dropout,
            self.training,
            self.bidirectional,
        )
        return output

    def last_layer_inputs(self) -> dict[str, nn.Parameter]:
        """Input weights and biases of the last layer, both directions: what contextual adversarial training moves."""
        last = f"_l{self.num_layers - 1}"
        return {name: p for name, p in self.named_parameters() if "_ih" + last in name}

    def _layer(self, layer: int) -> list[Tensor]:
        directions = [f"_l{layer}"] + [f"_l{layer}_reverse"] * self.bidirectional
        parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return [getattr(self, part + direction) for direction in directions for part in parts]

    def _masks(self, shape: tuple[int, int], like: Tensor, generator: torch.Generator | None) -> Tensor | float:
        return dropout_mask(shape, self.dropout, like, generator) if self.training and self.dropout else 1.0

    def _packed_masks(
        self, utterances: int, width: int, sequences: Sequences, like: Tensor, generator: torch.Generator | None
    ) -> Tensor | float:
        masks = self._masks((utterances, width), like, generator)
        if isinstance(masks, float):
            return masks
        if sequences.real is None:
            return masks.index_select(0, sequences.rows)
        # Padding is masked too, as released; its masks come from a copy of the generator, so that they move none of
        # the draws that utterances get.
        copy = None
        if generator is not None:
            copy = torch.Generator(like.device)
            copy.set_state(generator.get_state())
        packed = dropout_mask((len(sequences.rows), width), self.dropout, like, copy)
        packed[sequences.real] = masks.index_select(0, sequences.rows[sequences.real])
        return packed


class DualLSTM(nn.Module):
    """Context LSTM and speaker LSTM side by side, then a linear classifier.

    The hidden state of an utterance is [context; speaker], and the scores are Linear(dropout(ReLU(hidden))).
    A speaker with too few turns in the conversation (see `collate`) has zeros for the speaker half.

    Args:
        input_size: numbers an utterance.
        classes: emotions.
        hidden_size: of each LSTM and direction (128 in the paper).
        layers: of each LSTM (2 on IEMOCAP, else 1).
        dropout: before the classifier and between layers.
        bidirectional: False makes a causal model, which sees no later turn.

    >>> import numpy as np
    >>> import torch
    >>> from sacl import ConversationItem, DualLSTM, collate
    >>> chat = ConversationItem("c1", torch.randn(3, 8), np.array([0, 1, 0]), np.array([2, 1, 0]))
    >>> out = DualLSTM(8, classes=3)(collate([chat]))
    >>> out.log_probabilities.shape, out.hidden.shape
    (torch.Size([3, 3]), torch.Size([3, 512]))
    """

    def __init__(
        self,
        input_size: int,
        classes: int,
        *,
        hidden_size: int = 128,
        layers: int = 1,
        dropout: float = 0.2,
        bidirectional: bool = True,
    ) -> None:
        super().__init__()
        self.inputs = nn.Identity()
        """Passes the features on; a module of its own, so that an adversary can perturb them."""
        self.context_lstm = PackedLSTM(input_size, hidden_size, layers, bidirectional=bidirectional)
        self.speaker_lstm = PackedLSTM(input_size, hidden_size, layers, bidirectional=bidirectional)
        # Set after construction: torch.nn.LSTM warns about dropout on a single layer, where ours simply has none.
        self.context_lstm.dropout = self.speaker_lstm.dropout = dropout
        self.classifier = nn.Linear(2 * hidden_size * (2 if bidirectional else 1), classes)
        self.dropout = dropout

    def forward(self, batch: ConversationBatch, generator: torch.Generator | None = None) -> ModelOutput:
        """Log-probabilities and hidden states of every utterance of the batch.

        Args:
            batch: its features must be `input_size` wide.
            generator: where dropout masks come from; PyTorch's own by default.
        """
        features = self.inputs(batch.features)
        context = self.context_lstm(features, batch.context, generator)
        hidden = torch.cat([context, self.speaker_lstm(features, batch.speaker, generator)], dim=1)
        active = hidden.relu()
        if self.training and self.dropout:
            active = active * dropout_mask(active.shape, self.dropout, active, generator)
        return ModelOutput(self.classifier(active).log_softmax(dim=1), hidden)

    def targets(self) -> dict[str, Mapping[str, nn.Parameter] | nn.Module]:
        """What an adversary may perturb, by channel; see `AdversarySettings`. Of `input` it is the features."""
        return {
            "context": {f"context_lstm.{k}": p for k, p in self.context_lstm.last_layer_inputs().items()},
            "speaker": {f"speaker_lstm.{k}": p for k, p in self.speaker_lstm.last_layer_inputs().items()},
            "context_lstm": {f"context_lstm.{k}": p for k, p in self.context_lstm.named_parameters()},
            "speaker_lstm": {f"speaker_lstm.{k}": p for k, p in self.speaker_lstm.named_parameters()},
            "input": self.inputs,
        }


class MaskGenerator(torch.Generator):
    """Gives the utterances of a share of a batch (see `Whole`) the dropout masks that they get in the whole of it."""

    whole: Whole


def mask_generator(batch: ConversationBatch, seed: int) -> torch.Generator:
    """A generator of the masks of one batch, on its device."""
    if batch.whole.utterances == len(batch):
        return torch.Generator(batch.features.device).manual_seed(seed)
    generator = MaskGenerator(batch.features.device)
    generator.whole = batch.whole
    return generator.manual_seed(seed)


def dropout_mask(
    shape: tuple[int, ...] | torch.Size, p: float, like: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Inverted-dropout mask: 0 with probability p, else 1 / (1 - p); drawn row by row, an utterance a row.

    From a `MaskGenerator` the rows of the whole batch are drawn, and its share's returned.
    """
    if isinstance(generator, MaskGenerator):
        _, utterances, before = generator.whole
        drawn = torch.rand((utterances, *shape[1:]), generator=generator, device=like.device)
        keep = drawn[before : before + shape[0]] >= p
    else:
        keep = torch.rand(shape, generator=generator, device=like.device) >= p
    return keep.to(like.dtype) / (1 - p)


def from_released(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' state dict under our names.

    Raises:
        ModelError: a name that is not of their Dual-LSTM.
    """
    ours = {}
    for name, tensor in state.items():
        prefix = next((p for p in RELEASED_NAMES if name.startswith(p)), None)
        if prefix is None:
            raise ModelError(
                f"unknown parameter {name!r} in a released checkpoint",
                remedy=f"Expected names that begin with {', '.join(RELEASED_NAMES)}",
            )
        ours[RELEASED_NAMES[prefix] + name.removeprefix(prefix)] = tensor
    return ours
