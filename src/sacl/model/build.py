"""A model by its name: one that comes with the package, or `package.module:Class` of your own.

A model is called as `Class(input_size, classes, *, hidden_size, layers, dropout, bidirectional)`; its
`forward(batch, generator=None)` returns a `ModelOutput`, and its `targets()` names what an adversary may perturb
(see `DualLSTM`). Dropout masks are to come from the generator (`dropout_mask`), or a run is not reproducible.
"""

from __future__ import annotations

import difflib
import re
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from sacl.errors import RecipeError, place
from sacl.model.baselines.bc_lstm import BcLSTM
from sacl.model.baselines.dialogue_crn import DialogueCRN
from sacl.model.baselines.dialogue_rnn import DialogueRNN
from sacl.model.baselines.linear import UtteranceLinear
from sacl.model.baselines.transformer import Transformer
from sacl.model.dual_lstm import DualLSTM
from sacl.settings import ModelSettings

MODELS: dict[str, type[nn.Module]] = {
    "dual_lstm": DualLSTM,
    "linear": UtteranceLinear,
    "bc_lstm": BcLSTM,
    "dialogue_rnn": DialogueRNN,
    "dialogue_crn": DialogueCRN,
    "transformer": Transformer,
}
"""The models that come with the package."""


def build_model(settings: ModelSettings, input_size: int, classes: int) -> nn.Module:
    """The network that settings describe, with fresh weights from PyTorch's own generator.

    Args:
        settings: `kind` names it; if it is your own, its module is imported, from the current folder too.
        input_size: numbers an utterance.
        classes: emotions.

    Raises:
        RecipeError: no such model, one that cannot be imported or built, or settings that it cannot follow.
    """
    kind = settings.kind
    made_by: Any = model_class(kind)
    try:
        model = made_by(
            input_size,
            classes,
            hidden_size=settings.hidden_size,
            layers=settings.layers,
            dropout=settings.dropout,
            bidirectional=settings.bidirectional,
        )
    except (TypeError, ValueError) as error:
        raise RecipeError(f"the model cannot be built ({_first_line(error)})", where=f"model.kind {kind}") from error
    if not callable(getattr(model, "targets", None)):
        raise RecipeError(
            "the model has no method targets()",
            where=f"model.kind {kind}",
            remedy='Give it one that returns {"input": module, "context": parameters}, as DualLSTM does',
        )
    return model  # type: ignore[no-any-return]


def model_class(kind: str) -> type[nn.Module]:
    """The class that a kind names.

    Raises:
        RecipeError: an unknown name, a module that cannot be imported, or no `torch.nn.Module` of that name in it.
    """
    if kind in MODELS:
        return MODELS[kind]
    where = f"model.kind {kind}"
    module_name, colon, class_name = kind.partition(":")
    if not colon:
        close = difflib.get_close_matches(kind.lower().replace("-", "_"), MODELS, 1)
        known = close[0] if close else f"one of {', '.join(MODELS)}"
        raise RecipeError(
            "there is no such model", where=where, remedy=f"Use {known}, or your own as package.module:Class"
        )
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", kind):
        raise RecipeError("it names no class", where=where, remedy="Write package.module:Class")
    made_by = getattr(_imported(module_name, where), class_name, None)
    if not (isinstance(made_by, type) and issubclass(made_by, nn.Module)):
        found = "has no class" if made_by is None else "holds no torch.nn.Module named"
        raise RecipeError(f"{module_name} {found} {class_name}", where=where, remedy="Check the name after the colon")
    return made_by


def _imported(name: str, where: str) -> Any:
    """The module, looked for in the current folder first, as `python -m` does."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:
        if (
            isinstance(error, ModuleNotFoundError)
            and error.name is not None
            and f"{name}.".startswith(f"{error.name}.")
        ):
            raise RecipeError(
                f"there is no module {error.name}",
                where=where,
                remedy="Install it, or run from the folder that holds it",
            ) from None
        # Past this function and import_module lies the code that failed; a syntax error has no frame of its own.
        frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")][2:]
        at = place(file=frames[-1].filename, line=frames[-1].lineno) if frames else name
        raise RecipeError(
            f"importing it fails with {type(error).__name__}: {_first_line(error)}",
            where=f"{where}, {at}",
            remedy=f"Mend it until `python -c 'import {name}'` runs",
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0].rstrip(".")
