"""Training to the early stop, from train and validation conversations. It is given no others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sacl.conversation import LabelSet
from sacl.errors import DataError, ModelError, NumericalError, RecipeError, RunError, place
from sacl.model.batch import ConversationBatch, ConversationItem
from sacl.settings import ModelSettings, ObjectiveSettings, TrainingSettings
from sacl.training.checkpoint import load, save
from sacl.training.loop import Evaluation, evaluate, make_batches, train_epoch
from sacl.training.memory import keep_freed_memory
from sacl.training.objective import SACL
from sacl.training.processes import Processes
from sacl.training.selection import Selection
from sacl.training.side_by_side import micro_batches_at_once

Monitor = Callable[[nn.Module], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Fitted:
    """The outcome: the network of the selected epoch, that epoch (from 1), and every epoch's figures."""

    model: nn.Module
    epoch: int
    history: list[dict[str, Any]]


def make_optimizer(model: nn.Module, training: TrainingSettings) -> torch.optim.Adam:
    """Adam with coupled L2, no clipping, no schedule, as released."""
    return torch.optim.Adam(
        model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
    )


def class_weights(
    settings: ObjectiveSettings, labels: LabelSet, train: Sequence[ConversationItem], dtype: torch.dtype
) -> Tensor | None:
    """Weights of the classification loss, shape (emotions,).

    Raises:
        DataError: weights in another number than emotions, or `train` where an emotion does not occur in training.
    """
    if settings.class_weights == "none":
        return None
    if settings.class_weights == "train":
        known = np.concatenate([item.labels[item.labels >= 0] for item in train])
        counts = np.bincount(known, minlength=len(labels))
        absent = [name for name, n in zip(labels, counts, strict=True) if not n]
        if absent:
            raise DataError(
                f"no training utterance is labelled {absent[0]!r}, so its class weight is not defined",
                remedy="Set objective.class_weights to none or to numbers",
            )
        return torch.as_tensor(counts.sum() / counts, dtype=dtype)
    if len(settings.class_weights) != len(labels):
        raise DataError(
            f"objective.class_weights holds {len(settings.class_weights)} numbers for {len(labels)} emotions",
            remedy=f"Give one a label: {', '.join(labels)}",
        )
    return torch.tensor(settings.class_weights, dtype=dtype)


class Fit:
    """One training run, epoch by epoch, its whole state in one checkpoint.

    Same settings, seed, data, thread count and machine give the same bits, also across a kill and a resume.

    Args:
        build: makes the network, weights from PyTorch's own generator, which is seeded for it.
        train, valid: conversations; nothing else is seen.
        labels: the emotions.
        seed: of weights, order, dropout and adversary, each with a generator of its own.
        checkpoint: where the state is kept after every epoch; continued from if it is there.
        monitor: figures of any kind that go into the history beside the epoch's own, and nowhere else.
        processes: those that train together, each on a share of every micro-batch, if this is not the only one. The
            first writes the checkpoint, which all of them read. The outcome is the same but for rounding.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        train: Sequence[ConversationItem],
        valid: Sequence[ConversationItem],
        labels: LabelSet,
        model_settings: ModelSettings,
        objective: ObjectiveSettings,
        training: TrainingSettings,
        seed: int,
        checkpoint: Path | None = None,
        monitor: Monitor | None = None,
        processes: Processes | None = None,
    ) -> None:
        if processes is not None:
            _require_shareable(model_settings)
        self.processes = processes
        self.of = {
            "seed": seed,
            "model": model_settings.model_dump(),
            "objective": objective.model_dump(),
            # More epochs may be asked for when a run goes on.
            "training": training.model_dump(exclude={"epochs"}),
        }
        self.train, self.valid = _labelled(train, "train", training), _labelled(valid, "valid", training)
        self.model_settings, self.training = model_settings, training
        self.checkpoint, self.monitor = checkpoint, monitor
        dtype = torch.float64 if training.double else torch.float32
        _require_device(training.device)
        weights, order, dropout, draws = (int(s) for s in np.random.SeedSequence(seed).generate_state(4))
        with torch.random.fork_rng():
            torch.manual_seed(weights)
            self.model = build().to(training.device, dtype)
        self.generators = {
            "order": torch.Generator().manual_seed(order),
            "dropout": torch.Generator().manual_seed(dropout),
            "adversary": torch.Generator().manual_seed(draws),
        }
        weighted = class_weights(objective, labels, self.train, dtype)
        targets = self.model.targets()  # type: ignore[operator]
        try:
            self.objective = SACL(
                self.model,
                targets,
                objective,
                class_weights=None if weighted is None else weighted.to(training.device),
                generator=self.generators["adversary"],
                processes=processes,
            )
        except ValueError as error:
            raise RecipeError(
                str(error),
                where=f"objective.adversary.on for model.kind {model_settings.kind}",
                remedy=_perturb_instead(objective, targets),
            ) from error
        self.optimizer = make_optimizer(self.model, training)
        self.selection = Selection(training.select, training.patience)
        self.best: dict[str, Tensor] = {}
        self.history: list[dict[str, Any]] = []
        if checkpoint is not None and checkpoint.exists():
            self._resume(checkpoint)
        if processes is not None and processes.told(len(self.history)) != len(self.history):
            raise RunError(
                f"process {processes.rank} does not see the checkpoint that the first one sees",
                where=str(checkpoint),
                remedy="Work in a folder that all machines share",
            )

    def run(self, on_epoch: Callable[[dict[str, Any]], None] | None = None) -> Fitted:
        """Trains to the early stop or the last epoch; `on_epoch` is given each epoch's figures, resumed ones first.

        Raises:
            NumericalError: a loss that is not finite, with seed, epoch, step and the batch's conversations; the last
                epoch's checkpoint stays.
        """
        keep_freed_memory()
        for figures in self.history:
            if on_epoch is not None:
                on_epoch(figures)
        while len(self.history) < self.training.epochs and not self.selection.should_stop:
            try:
                self.history.append(self._epoch())
            except NumericalError as error:
                raise self._placed_error(error) from error
            if self.checkpoint is not None and (self.processes is None or self.processes.first):
                self._save(self.checkpoint)
            if on_epoch is not None:
                on_epoch(self.history[-1])
        self.model.load_state_dict(self.best)
        return Fitted(self.model.eval(), self.selection.best_epoch, self.history)

    def evaluate(self, items: Sequence[ConversationItem]) -> Evaluation:
        """The network as it is now, on batches of training size."""
        return evaluate(
            self.model,
            self._batches(items, range(len(items))),
            self.objective.settings,
            self.objective.class_weights,
            self.processes,
        )

    def _epoch(self) -> dict[str, Any]:
        epoch = len(self.history) + 1
        order = torch.randperm(len(self.train), generator=self.generators["order"]).tolist()
        trained = train_epoch(
            self.model,
            self._batches(self.train, order),
            -(-len(order) // self.training.batch_size),
            self.objective,
            self.optimizer,
            accumulation=self.training.accumulation,
            window=self.training.window,
            generator=self.generators["dropout"],
            threads=micro_batches_at_once(self.model_settings, self.training, self.processes),
        )
        validated = self.evaluate(self.valid)
        judged_by = validated.loss, validated.scores.weighted_f1
        if self.processes is not None:
            # Machines of other kinds round otherwise, and one that stopped alone would leave the others waiting.
            judged_by = self.processes.told(judged_by)
        chosen = self.selection.update(epoch, *judged_by)
        if chosen or not self.best:
            self.best = {name: t.detach().clone() for name, t in self.model.state_dict().items()}
        figures = {
            "epoch": epoch,
            **{f"train_{k}": v for k, v in _figures(trained).items()},
            **{f"valid_{k}": v for k, v in _figures(validated).items()},
            "selected": chosen,
        }
        # In this order: a monitor must not stand in for what selects.
        return (self.monitor(self.model) if self.monitor else {}) | figures

    def _placed_error(self, error: NumericalError) -> NumericalError:
        """With the seed and the epoch, and what is left."""
        where = place(seed=self.of["seed"], epoch=len(self.history) + 1)
        kept = f"; the checkpoint keeps epoch {len(self.history)}" if self.history and self.checkpoint else ""
        return NumericalError(error.found, where=f"{where}, {error.where}", remedy=f"{error.remedy}{kept}")

    def _batches(self, items: Sequence[ConversationItem], order: Sequence[int]):  # type: ignore[no-untyped-def]
        batches = make_batches(items, order, self.training.batch_size, self.model_settings, self.processes)
        return (_placed(batch, self.training) for batch in batches)

    def _save(self, path: Path) -> None:
        tensors = {f"model.{k}": t for k, t in self.model.state_dict().items()}
        tensors |= {f"best.{k}": t for k, t in self.best.items()}
        tensors |= {f"generator.{k}": g.get_state() for k, g in self.generators.items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{k}": t for k, t in state.items()}
        # Pairs keep the order of the figures, which JSON with sorted keys does not.
        history = [list(figures.items()) for figures in self.history]
        save(path, "checkpoint", tensors, {"of": self.of, "history": history, "selection": asdict(self.selection)})

    def _resume(self, path: Path) -> None:
        tensors, content = load(path, "checkpoint")
        if content["of"] != self.of:
            raise ModelError(
                "the checkpoint is of another seed or other settings",
                where=str(path),
                remedy="Choose another folder, or delete it",
            )
        groups: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            group, _, key = name.partition(".")
            groups.setdefault(group, {})[key] = tensor
        try:
            self.model.load_state_dict(groups["model"])
        except (KeyError, RuntimeError) as error:
            raise ModelError(
                "the checkpoint is of another model", where=str(path), remedy="Choose another folder, or delete it"
            ) from error
        self.best = groups["best"]
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in groups.get("adam", {}).items():
            i, _, key = name.partition(".")
            state.setdefault(int(i), {})[key] = tensor
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})
        for name, generator in self.generators.items():
            generator.set_state(groups["generator"][name])
        self.history = [dict(figures) for figures in content["history"]]
        self.selection = Selection(**content["selection"])


def _perturb_instead(objective: ObjectiveSettings, offered: Collection[str]) -> str:
    """The settings under which an adversary acts on what a model offers."""
    wanted = objective.adversary.on
    if all(name in offered for name in wanted):
        return "Mend the model's targets(), or set objective.adversary.kind=none"
    channels = [str(name) for name in wanted if name in offered] or list(offered)
    sets = [f"objective.adversary.on=[{','.join(channels)}]"]
    if any(share and name not in channels for name, share in objective.adversary.shares.items()):
        sets.append("objective.adversary.shares={}")
    instead = " ".join(f"--set '{setting}'" for setting in sets)
    return f"Use {instead}, or no adversary: --set objective.adversary.kind=none"


def _require_shareable(model: ModelSettings) -> None:
    if model.padding == "released" and model.layers > 1 and model.dropout:
        raise RecipeError(
            "the dropout masks of padding are those of one process, and there are several",
            where="model.padding released with several layers",
            remedy="Train it in one process, or set model.padding=packed",
        )


def _require_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RecipeError(
            f"PyTorch has no device {device!r} here ({str(error).splitlines()[0].rstrip('.')})",
            where="training.device",
            remedy="Set training.device=cpu",
        ) from error


def _figures(evaluation: Evaluation) -> dict[str, float]:
    scores = evaluation.scores
    return {
        "loss": evaluation.loss,
        "accuracy": scores.accuracy,
        "weighted_f1": scores.weighted_f1,
        "macro_f1": scores.macro_f1,
    }


def _placed(batch: ConversationBatch, training: TrainingSettings) -> ConversationBatch:
    features = batch.features.to(torch.float64 if training.double else torch.float32)
    return batch.with_features(features).to(training.device)


def _labelled(items: Sequence[ConversationItem], split: str, training: TrainingSettings) -> Sequence[ConversationItem]:
    if not any((item.labels >= 0).any() for item in items):
        raise DataError(f"the split {split!r} has no labelled utterance", remedy="Label some of it")
    if split == "train" and len({int(label) for item in items for label in item.labels if label >= 0}) < 2:
        raise DataError("the split 'train' has a single emotion: there is nothing to learn", remedy="Label others too")
    return items
