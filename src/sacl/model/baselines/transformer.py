"""A Transformer encoder over the conversation (Vaswani et al. 2017), told which turns are the same speaker's."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sacl.model.baselines.layout import Grid
from sacl.model.batch import ConversationBatch
from sacl.model.dual_lstm import ModelOutput, dropout_mask


class Transformer(nn.Module):
    """Utterances attend to each other within their conversation.

        x = W features + b + sinusoidal position
        x = x + dropout(attention(LayerNorm(x)));   x = x + dropout(MLP(LayerNorm(x)))     per layer, pre-norm
        attention_ij = softmax_j(q_i . k_j / sqrt(d) + s [i and j have one speaker])
        scores = Linear(dropout(LayerNorm(x)))

    s is learned, one number a head and layer: it knows speakers without their names, any number of them.

    Vaswani et al. 2017, Attention Is All You Need, NeurIPS, sections 3.2-3.5; pre-norm after Xiong et al. 2020, On
    Layer Normalization in the Transformer Architecture, ICML; the speaker term is a relative bias in the manner of
    Shaw et al. 2018, Self-Attention with Relative Position Representations, NAACL.

    Args:
        input_size: numbers an utterance.
        classes: emotions.
        hidden_size: width of the model, a multiple of 2 x heads; the MLP is four times as wide.
        layers: of attention and MLP.
        dropout: of the embedded utterances, of every residual branch, and before the classifier.
        bidirectional: False makes a causal model, which sees no later turn.
        heads: of attention.

    Raises:
        ValueError: a width that does not divide by 2 x heads.
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
        heads: int = 4,
    ) -> None:
        super().__init__()
        if hidden_size % (2 * heads):
            raise ValueError(f"hidden_size {hidden_size} is no multiple of {2 * heads}, twice the number of heads")
        self.inputs = nn.Identity()
        self.embed = nn.Linear(input_size, hidden_size)
        self.layers = nn.ModuleList(Layer(hidden_size, heads, dropout, causal=not bidirectional) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden_size)
        self.classifier = nn.Linear(hidden_size, classes)
        self.dropout = dropout

    def forward(self, batch: ConversationBatch, generator: torch.Generator | None = None) -> ModelOutput:
        """See `DualLSTM.forward`."""
        grid = Grid(batch.lengths, batch.features.device)
        x = self.embed(self.inputs(batch.features))
        x = x + sinusoids(grid.position, x)
        if self.training and self.dropout:
            x = x * dropout_mask(x.shape, self.dropout, x, generator)
        speakers = grid.spread(batch.speakers.unsqueeze(1))
        same_speaker = speakers == speakers.transpose(1, 2)
        for layer in self.layers:
            x = layer(x, grid, same_speaker, generator)
        hidden = kept = self.norm(x)
        if self.training and self.dropout:
            kept = kept * dropout_mask(kept.shape, self.dropout, kept, generator)
        return ModelOutput(self.classifier(kept).log_softmax(dim=1), hidden)

    def targets(self) -> dict[str, Mapping[str, nn.Parameter] | nn.Module]:
        """What an adversary may perturb.

        `context`: query, key and value weights and biases of the last layer. `input`: features.
        """
        last = f"layers.{len(self.layers) - 1}.attend."
        context = {name: p for name, p in self.named_parameters() if name.startswith(last)}
        return {"context": context, "input": self.inputs}


class Layer(nn.Module):
    """Attention and MLP, each normalised before and added after. All but the attention itself works on flat rows."""

    def __init__(self, width: int, heads: int, dropout: float, *, causal: bool) -> None:
        super().__init__()
        self.attend_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend = nn.Linear(width, 3 * width)
        self.same_speaker = nn.Parameter(torch.zeros(heads))
        self.gather = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.heads, self.dropout, self.causal = heads, dropout, causal

    def forward(self, x: Tensor, grid: Grid, same_speaker: Tensor, generator: torch.Generator | None) -> Tensor:
        """Shape (utterances, width) -> the same.

        `same_speaker`: shape (conversations, longest, longest), whether turns i and j are one speaker's.
        """
        x = x + self._dropped(self.gather(self._attention(self.attend_norm(x), grid, same_speaker)), generator)
        return x + self._dropped(self.mlp(self.mlp_norm(x)), generator)

    def _attention(self, x: Tensor, grid: Grid, same_speaker: Tensor) -> Tensor:
        # (conversations, longest, 3 x width) -> three of (conversations, heads, longest, width of a head)
        parts = grid.spread(self.attend(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts
        bias = self.same_speaker.view(-1, 1, 1) * same_speaker.unsqueeze(1)
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1]) + bias
        read = grid.softmax(scores, causal=self.causal) @ value
        return grid.collect(read.transpose(1, 2).flatten(2))

    def _dropped(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        return x * dropout_mask(x.shape, self.dropout, x, generator) if self.training and self.dropout else x


def sinusoids(position: Tensor, like: Tensor) -> Tensor:
    """PE(t, 2i) = sin(t / 10000^(2i/d)), PE(t, 2i+1) = cos of the same; shape (utterances, width of `like`)."""
    width = like.shape[1]
    rate = torch.exp(torch.arange(0, width, 2, dtype=like.dtype, device=like.device) * (-math.log(10000.0) / width))
    angle = position.to(like.dtype).unsqueeze(1) * rate
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)
