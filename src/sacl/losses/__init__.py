"""Losses as pure functions."""

from sacl.losses.classification import focal_loss, require_log_probabilities
from sacl.losses.contrastive import nt_xent, sup_con

__all__ = ["focal_loss", "nt_xent", "require_log_probabilities", "sup_con"]
