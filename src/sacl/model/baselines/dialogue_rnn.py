"""DialogueRNN: a state for the conversation, one for each party, one for the emotion (Majumder et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from sacl.model.baselines.layout import time_steps
from sacl.model.batch import ConversationBatch
from sacl.model.dual_lstm import ModelOutput, dropout_mask


class DialogueRNN(nn.Module):
    """Three GRUs read an utterance u_t of party s; any number of parties.

        global state    g_t = GRU_G(g_{t-1}, [u_t; q_{s,t-1}])
        context         c_t = sum_i alpha_i g_i  over i < t,   alpha = softmax(u_t^T W_alpha [g_1 .. g_{t-1}])
        party state     q_{s,t} = GRU_P(q_{s,t-1}, [u_t; c_t]);  the other parties keep theirs
        emotion state   e_t = GRU_E(e_{t-1}, q_{s,t})
        scores          Linear(dropout(ReLU(W_l e_t + b_l)))

    With both directions this is the paper's BiDialogueRNN: a second set of GRUs reads every conversation from its end,
    and e_t is [forward; backward]. Its variants with a listener GRU and with attention over emotion states are left
    out. All states begin at zero, and c_1 is zero.

    Majumder, Poria, Hazarika, Mihalcea, Gelbukh, Cambria 2019, DialogueRNN: An Attentive RNN for Emotion Detection in
    Conversations, AAAI, section "Our Model".

    Args:
        input_size: numbers an utterance.
        classes: emotions.
        hidden_size: of every state, each direction, and of the layer under the classifier.
        dropout: of the emotion states and before the classifier.
        bidirectional: False makes a causal model, which sees no later turn.
        layers: has no meaning here.
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
        self.forwards = Reader(input_size, hidden_size)
        self.backwards = Reader(input_size, hidden_size) if bidirectional else None
        self.emotion = nn.Linear(hidden_size * (2 if bidirectional else 1), hidden_size)
        self.classifier = nn.Linear(hidden_size, classes)
        self.dropout = dropout

    def forward(self, batch: ConversationBatch, generator: torch.Generator | None = None) -> ModelOutput:
        """See `DualLSTM.forward`. The hidden state is W_l e_t + b_l."""
        features, device = self.inputs(batch.features), batch.features.device
        emotions = self.forwards(features, batch.speakers, time_steps(batch.lengths, device))
        if self.backwards is not None:
            steps = time_steps(batch.lengths, device, backwards=True)
            emotions = torch.cat([emotions, self.backwards(features, batch.speakers, steps)], dim=1)
        hidden = self.emotion(self._dropped(emotions, generator))
        return ModelOutput(self.classifier(self._dropped(hidden.relu(), generator)).log_softmax(dim=1), hidden)

    def targets(self) -> dict[str, Mapping[str, nn.Parameter] | nn.Module]:
        """What an adversary may perturb.

        `context` and `speaker`: input weights and biases of the global and of the party GRU. `input`: features.
        """
        readers = {name: reader for name, reader in self.named_children() if isinstance(reader, Reader)}
        return {
            "context": {f"{name}.{k}": p for name, r in readers.items() for k, p in _inputs(r, "global_gru")},
            "speaker": {f"{name}.{k}": p for name, r in readers.items() for k, p in _inputs(r, "party_gru")},
            "input": self.inputs,
        }

    def _dropped(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        return x * dropout_mask(x.shape, self.dropout, x, generator) if self.training and self.dropout else x


class Reader(nn.Module):
    """The three GRUs in one direction; all conversations of a batch take a step together."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.global_gru = nn.GRUCell(input_size + hidden_size, hidden_size)
        self.party_gru = nn.GRUCell(input_size + hidden_size, hidden_size)
        self.emotion_gru = nn.GRU(hidden_size, hidden_size)
        self.attention = nn.Linear(input_size, hidden_size, bias=False)

    def forward(self, features: Tensor, speakers: Tensor, steps: list[Tensor]) -> Tensor:
        """Emotion states, shape (utterances, hidden).

        Args:
            features: shape (utterances, features).
            speakers: shape (utterances,), see `ConversationBatch.speakers`.
            steps: see `time_steps`.
        """
        size = self.global_gru.hidden_size
        if not steps:  # the share of a process that has none of the batch's conversations
            return features.new_zeros(0, size) + 0.0 * sum(p.sum() for p in self.parameters())
        queries = self.attention(features)
        parties = features.new_zeros(int(speakers.max()) + 1, size)
        # (running conversations, time, hidden): all of one length, so attention needs no mask.
        past = features.new_zeros(len(steps[0]), 0, size)
        states = []
        for rows in steps:
            past = past[: len(rows)]
            utterances, who = features[rows], speakers[rows]
            party = parties[who]
            before = past[:, -1] if past.shape[1] else party.new_zeros(len(rows), size)
            alpha = (past @ queries[rows].unsqueeze(2)).softmax(dim=1)
            context = (alpha * past).sum(dim=1)
            now = self.global_gru(torch.cat([utterances, party], dim=1), before)
            party = self.party_gru(torch.cat([utterances, context], dim=1), party)
            # Parties are distinct across conversations, and one speaks at a time: no row is written twice.
            parties = parties.index_copy(0, who, party)
            past = torch.cat([past, now.unsqueeze(1)], dim=1)
            states.append(party)
        packed = PackedSequence(torch.cat(states), torch.tensor([len(rows) for rows in steps]))
        emotions: Tensor = self.emotion_gru(packed)[0].data
        return emotions.new_zeros(len(features), size).index_copy(0, torch.cat(steps), emotions)


def _inputs(reader: Reader, gru: str) -> list[tuple[str, nn.Parameter]]:
    return [(f"{gru}.{k}", p) for k, p in getattr(reader, gru).named_parameters() if k.endswith("_ih")]
