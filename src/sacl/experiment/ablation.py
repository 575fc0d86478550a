"""The paper's ablations: what each part of the objective is worth (Hu et al. 2023, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sacl.errors import RecipeError
from sacl.experiment.recipe import Recipe, parse_recipe, with_settings

Changes = dict[str, object]

_NO_CONTRAST: Changes = {"objective.contrastive_weight": 0.0, "objective.adversarial_contrastive_weight": 0.0}
_NO_ADVERSARY: Changes = {"objective.adversary.kind": "none"}
_ON_INPUTS: Changes = {"objective.adversary.on": ["input"], "objective.adversary.shares": {}}

ARMS: dict[str, Changes] = {
    "sacl": {},
    "cross_entropy": _NO_CONTRAST | _NO_ADVERSARY,
    "soft_scl": _NO_ADVERSARY,
    "adversarial_inputs": _NO_CONTRAST | _ON_INPUTS | {"objective.adversary.kind": "fgm"},
    "virtual_adversarial": _NO_CONTRAST | _ON_INPUTS | {"objective.adversary.kind": "virtual"},
    "random_context": _NO_CONTRAST | {"objective.adversary.kind": "random"},
    "cat": dict(_NO_CONTRAST),
    "without_context_channel": {"objective.adversary.on": ["speaker"], "objective.adversary.shares": {}},
    "without_speaker_channel": {"objective.adversary.on": ["context"], "objective.adversary.shares": {}},
    "context_lstm_alone": {
        "model.kind": "bc_lstm",
        "objective.adversary.on": ["context"],
        "objective.adversary.shares": {},
    },
    "paper": {
        "model.padding": "packed",
        "objective.focal_gamma": 0.0,
        "objective.class_weights": "none",
        "objective.contrastive": "sup_con",
        "objective.similarity": "dot",
        "objective.contrast_on": "hidden",
        "objective.contrastive_scale": "one",
        "objective.loss_divisor": 1.0,
        "objective.adversary.on": ["context_lstm", "speaker_lstm"],
        "objective.adversary.shares": {},
        "objective.adversary.norm": "all",
        "objective.adversary.follows": "batch",
        "objective.adversary.keeps": "all",
        "training.window": "exact",
    },
    "released_padding": {"model.padding": "released"},
}
"""Arm -> what it changes in the recipe. The classification loss stays the recipe's (focal where that says so), except
in `paper`. `cat` is contextual adversarial training without the contrastive loss, `soft_scl` the contrastive loss
without the adversary."""


def ablation_plans(recipe: Recipe, folder: Path, arms: Sequence[str] | None = None) -> list[tuple[Recipe, Path]]:
    """One recipe and run directory an arm, for `studies`.

    Args:
        recipe: what is ablated.
        folder: gets a run directory an arm, of its name.
        arms: names of `ARMS`; all by default.

    Raises:
        RecipeError: an unknown arm.
    """
    names = list(ARMS) if arms is None else list(dict.fromkeys(arms))
    unknown = [name for name in names if name not in ARMS]
    if unknown:
        raise RecipeError(f"there is no arm {unknown[0]!r}", where="ablation", remedy=f"Use some of: {', '.join(ARMS)}")
    plans = []
    for name in names:
        content = with_settings(recipe.model_dump(), ARMS[name] | {"name": f"{recipe.name}-{name.replace('_', '-')}"})
        if ARMS[name]:  # what the recipe says of itself, and what was published of it, is not this arm's
            content |= {"published": None, "description": f"{name.replace('_', ' ')}, an arm of {recipe.name}"}
        plans.append((parse_recipe(content, f"arm {name}"), folder / name))
    return plans
