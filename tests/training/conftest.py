"""A small network and batches to train it on, in double precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from sacl.training.objective import Forward


class Net(nn.Module):
    """Two layers; `encoder` and `head` are what the tests perturb."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.encoder(x)
        return self.head(hidden.tanh()).log_softmax(dim=1), hidden


@dataclass
class Problem:
    """A network, micro-batches for it, and what every forward pass saw."""

    net: nn.Module
    batches: list[tuple[Tensor, Tensor]]
    mask: Tensor | None = None
    passes: list[Forward] = field(default_factory=list)
    seen: list[dict[str, Tensor]] = field(default_factory=list)

    def closure(self, batch: int = 0) -> Callable[[], Forward]:
        x, labels = self.batches[batch]

        def run() -> Forward:
            self.seen.append({name: p.detach().clone() for name, p in self.net.named_parameters()})
            log_probabilities, hidden = self.net(x)
            self.passes.append(Forward(log_probabilities, hidden, labels, self.mask))
            return self.passes[-1]

        return run

    def forward_with(self, parameters: dict[str, Tensor], batch: int = 0) -> Forward:
        """The forward pass with other parameters, which stay as they are."""
        x, labels = self.batches[batch]
        log_probabilities, hidden = functional_call(self.net, parameters, (x,))
        return Forward(log_probabilities, hidden, labels, self.mask)

    def parameters(self) -> dict[str, Tensor]:
        """Copies that gradients can be asked of."""
        return {name: p.detach().clone().requires_grad_() for name, p in self.net.named_parameters()}

    def gradients(self) -> dict[str, Tensor]:
        return {name: p.grad.clone() for name, p in self.net.named_parameters() if p.grad is not None}

    def moved(self, seen: int = -1) -> dict[str, Tensor]:
        """How far every parameter lay from where it is now, in one of the passes."""
        now = dict(self.net.named_parameters())
        return {name: value - now[name].detach() for name, value in self.seen[seen].items()}


@pytest.fixture
def problem() -> Problem:
    torch.manual_seed(0)
    net = Net().double()
    batches = [(torch.randn(7, 4, dtype=torch.float64), torch.arange(7) % 3) for _ in range(3)]
    return Problem(net, batches)
