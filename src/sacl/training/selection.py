"""Which epoch wins and when to stop, from validation figures alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(slots=True)
class Selection:
    """Follows the validation figures, epoch by epoch.

    As released: the loss counts to 4 decimals and the W-F1, in percent, to 2; only a strict improvement counts; the
    first of equal epochs wins.

    Args:
        select: the figure that picks the epoch, least `loss` or best `weighted_f1`.
        patience: epochs without improvement of either figure after which training stops.
    """

    select: Literal["loss", "weighted_f1"]
    patience: int
    best_loss: float = math.inf
    best_weighted_f1: float = -math.inf
    best_epoch: int = -1
    waited: int = 0

    def update(self, epoch: int, loss: float, weighted_f1: float) -> bool:
        """Takes one epoch's figures; true if this epoch is now the selected one."""
        loss, weighted_f1 = round(loss, 4), round(weighted_f1, 2)
        lower, higher = loss < self.best_loss, weighted_f1 > self.best_weighted_f1
        self.best_loss = loss if lower else self.best_loss
        self.best_weighted_f1 = weighted_f1 if higher else self.best_weighted_f1
        self.waited = 0 if lower or higher else self.waited + 1
        chosen = lower if self.select == "loss" else higher
        if chosen:
            self.best_epoch = epoch
        return chosen

    @property
    def should_stop(self) -> bool:
        """True once neither figure has improved for `patience` epochs."""
        return self.waited >= self.patience
