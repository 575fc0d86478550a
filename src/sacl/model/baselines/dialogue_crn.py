"""DialogueCRN: perceive the conversation, then reason over it in several turns (Hu et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sacl.model.baselines.layout import Grid
from sacl.model.batch import ConversationBatch
from sacl.model.dual_lstm import ModelOutput, PackedLSTM, dropout_mask


class DialogueCRN(nn.Module):
    """Two LSTMs perceive; over what each perceived, every utterance asks and retrieves, turn by turn.

        perception   c^s = LSTM over the conversation, c^v = LSTM over each speaker's own turns
        query        q(0) = W_q c_i + b_q
        retrieving   q~(t) = LSTMCell(q(t-1))                        ("intuitive")
        reasoning    alpha_j = softmax_j(c_j . q~(t)),  r(t) = sum_j alpha_j c_j,  q(t) = [q~(t); r(t)]   ("conscious")
        scores       Linear(dropout(ReLU([q^v; q^s])))

    Both levels have weights of their own and reason over the whole conversation. As in the authors' code, the memory
    that is reasoned over is what was perceived. A speaker with too few turns (see `collate`) perceives zeros.

    Hu, Wei, Huai 2021, DialogueCRN: Contextual Reasoning Networks for Emotion Recognition in Conversations, ACL,
    section 3.

    Args:
        input_size: numbers an utterance.
        classes: emotions.
        hidden_size: of each LSTM and direction of the perception; the reasoning is as wide as its output.
        layers: of each LSTM of the perception.
        dropout: before the classifier and between layers.
        bidirectional: False makes a causal model, which neither reads nor reasons over later turns.
        context_steps, speaker_steps: turns of reasoning on each level, at least 1.

    Raises:
        ValueError: no step of reasoning.
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
        context_steps: int = 2,
        speaker_steps: int = 2,
    ) -> None:
        super().__init__()
        width = hidden_size * (2 if bidirectional else 1)
        self.inputs = nn.Identity()
        self.context_lstm = PackedLSTM(input_size, hidden_size, layers, bidirectional=bidirectional)
        self.speaker_lstm = PackedLSTM(input_size, hidden_size, layers, bidirectional=bidirectional)
        # Set after construction: torch.nn.LSTM warns about dropout on a single layer, where ours simply has none.
        self.context_lstm.dropout = self.speaker_lstm.dropout = dropout
        self.context_reasoning = Reasoning(width, context_steps, causal=not bidirectional)
        self.speaker_reasoning = Reasoning(width, speaker_steps, causal=not bidirectional)
        self.classifier = nn.Linear(4 * width, classes)
        self.dropout = dropout

    def forward(self, batch: ConversationBatch, generator: torch.Generator | None = None) -> ModelOutput:
        """See `DualLSTM.forward`. The hidden state is [q^v; q^s]."""
        features = self.inputs(batch.features)
        grid = Grid(batch.lengths, features.device)
        perceived = self.context_lstm(features, batch.context, generator)
        own = self.speaker_lstm(features, batch.speaker, generator)
        hidden = torch.cat([self.speaker_reasoning(own, grid), self.context_reasoning(perceived, grid)], dim=1)
        active = hidden.relu()
        if self.training and self.dropout:
            active = active * dropout_mask(active.shape, self.dropout, active, generator)
        return ModelOutput(self.classifier(active).log_softmax(dim=1), hidden)

    def targets(self) -> dict[str, Mapping[str, nn.Parameter] | nn.Module]:
        """What an adversary may perturb.

        `context` and `speaker`: input weights and biases, last layer of the LSTMs that perceive. `input`: features.
        """
        return {
            "context": {f"context_lstm.{k}": p for k, p in self.context_lstm.last_layer_inputs().items()},
            "speaker": {f"speaker_lstm.{k}": p for k, p in self.speaker_lstm.last_layer_inputs().items()},
            "input": self.inputs,
        }


class Reasoning(nn.Module):
    """Turns of retrieving and reasoning, for all utterances of all conversations at once."""

    def __init__(self, width: int, steps: int, *, causal: bool) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"{steps} steps of reasoning: use at least 1")
        self.query = nn.Linear(width, 2 * width)
        self.retrieve = nn.LSTMCell(2 * width, width)
        self.steps, self.causal = steps, causal

    def forward(self, memory: Tensor, grid: Grid) -> Tensor:
        """Shape (utterances, width) -> (utterances, 2 x width)."""
        cells = grid.spread(memory)
        query: Tensor = self.query(memory)
        state: tuple[Tensor, Tensor] | None = None
        for _ in range(self.steps):
            state = self.retrieve(query, state)
            asked = grid.spread(state[0])
            alpha = grid.softmax(asked @ cells.transpose(1, 2), causal=self.causal)
            query = torch.cat([state[0], grid.collect(alpha @ cells)], dim=1)
        return query
