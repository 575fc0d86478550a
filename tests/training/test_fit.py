"""A training run: reproducible to the bit, also across a kill; selected on validation alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sacl.conversation import LabelSet
from sacl.errors import DataError, ModelError, NumericalError
from sacl.model.batch import UNLABELLED, ConversationItem
from sacl.model.dual_lstm import DualLSTM
from sacl.settings import ModelSettings, ObjectiveSettings, TrainingSettings
from sacl.training.fit import Fit, Fitted, class_weights

WIDTH = 4
LABELS = LabelSet(("calm", "sad", "glad"))


def items_of(count: int, seed: int) -> list[ConversationItem]:
    rng = np.random.default_rng(seed)
    items = []
    for i in range(count):
        n = int(rng.integers(2, 6))
        labels = rng.integers(0, 3, n)
        features = rng.normal(size=(n, WIDTH)) + 0.5 * labels[:, None]
        items.append(ConversationItem(f"c{i}", torch.from_numpy(features).float(), rng.integers(0, 2, n), labels))
    return items


TRAIN, VALID, TEST = items_of(7, 0), items_of(3, 1), items_of(2, 2)


def fit_of(
    checkpoint: Path | None = None,
    monitor: Callable[[nn.Module], dict[str, float]] | None = None,
    seed: int = 0,
    objective: ObjectiveSettings | None = None,
    hidden_size: int = 3,
    **training: Any,
) -> Fit:
    settings = {"batch_size": 2, "epochs": 5, "learning_rate": 1e-2} | training
    return Fit(
        lambda: DualLSTM(WIDTH, 3, hidden_size=hidden_size, layers=2, dropout=0.3),
        TRAIN,
        VALID,
        LABELS,
        ModelSettings(hidden_size=hidden_size, layers=2, dropout=0.3),
        objective or ObjectiveSettings(),
        TrainingSettings.model_validate(settings),
        seed,
        checkpoint,
        monitor,
    )


def assert_same(ours: Fitted, theirs: Fitted) -> None:
    assert ours.epoch == theirs.epoch
    assert ours.history == theirs.history
    assert_same_bits(ours.model, theirs.model)


def assert_same_bits(ours: nn.Module, theirs: nn.Module) -> None:
    state: dict[str, Tensor] = theirs.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in ours.state_dict().items())


@pytest.mark.parametrize("double", [False, True])
def test_the_same_seed_gives_the_same_bits_whatever_was_drawn_before(double: bool) -> None:
    torch.manual_seed(1)
    first = fit_of(double=double).run()
    torch.manual_seed(2)
    np.random.seed(2)
    assert_same(fit_of(double=double).run(), first)
    assert fit_of(seed=1, double=double).run().history != first.history


def test_a_run_leaves_pytorchs_own_generator_where_it_was() -> None:
    before = torch.random.get_rng_state()
    fit_of().run()
    assert torch.equal(torch.random.get_rng_state(), before)


class Killed(BaseException):
    """What no handler of errors catches."""


@pytest.mark.parametrize(
    ("epoch", "moment", "double"),
    [
        (1, "before the checkpoint", False),
        (1, "after the checkpoint", True),
        (3, "before the checkpoint", True),
        (3, "after the checkpoint", False),
        (5, "after the checkpoint", False),
    ],
)
def test_a_killed_run_continues_to_the_same_bits(tmp_path: Path, epoch: int, moment: str, double: bool) -> None:
    undisturbed = fit_of(double=double).run()
    path = tmp_path / "checkpoint"

    def on_epoch(figures: dict[str, Any]) -> None:
        if figures["epoch"] == epoch and moment.startswith("after"):
            raise Killed

    def monitor(model: nn.Module) -> dict[str, float]:
        if len(fit.history) == epoch - 1 and moment.startswith("before"):
            raise Killed
        return {}

    fit = fit_of(path, monitor, double=double)
    with pytest.raises(Killed):
        fit.run(on_epoch)
    resumed = fit_of(path, double=double)
    assert len(resumed.history) == (epoch if moment.startswith("after") else epoch - 1)
    seen: list[int] = []
    assert_same(resumed.run(lambda figures: seen.append(figures["epoch"])), undisturbed)
    assert seen == [1, 2, 3, 4, 5]
    assert_same(fit_of(path, double=double).run(), undisturbed)


def test_a_run_killed_after_every_epoch_ends_in_the_same_bits(tmp_path: Path) -> None:
    def kill_after(epoch: int) -> Callable[[dict[str, Any]], None]:
        def kill(figures: dict[str, Any]) -> None:
            if figures["epoch"] == epoch:
                raise Killed

        return kill

    for epoch in range(1, 6):
        with pytest.raises(Killed):
            fit_of(tmp_path / "checkpoint").run(kill_after(epoch))
    assert_same(fit_of(tmp_path / "checkpoint").run(), fit_of().run())


def test_a_monitor_adds_its_figures_and_changes_nothing_else() -> None:
    def monitor(model: nn.Module) -> dict[str, float]:
        torch.rand(5)
        torch.manual_seed(99)
        model.eval()
        return {"test_weighted_f1": fit.evaluate(TEST).scores.weighted_f1, "test_loss": fit.evaluate(TEST).loss}

    fit = fit_of(monitor=monitor)
    watched, plain = fit.run(), fit_of().run()
    assert_same_bits(watched.model, plain.model)
    assert watched.epoch == plain.epoch
    extra = {"test_weighted_f1", "test_loss"}
    assert [{k: v for k, v in epoch.items() if k not in extra} for epoch in watched.history] == plain.history
    assert all(extra <= epoch.keys() for epoch in watched.history)


@pytest.mark.parametrize("select", ["loss", "weighted_f1"])
def test_the_outcome_is_the_network_of_the_selected_epoch(select: str) -> None:
    fit = fit_of(select=select, learning_rate=0.5, epochs=6)
    fitted = fit.run()
    assert fitted.epoch < 6, "the last epoch won: nothing shows that an earlier one would be kept"
    figures = [
        round(e["valid_loss"], 4) if select == "loss" else -round(e["valid_weighted_f1"], 2) for e in fitted.history
    ]
    assert fitted.epoch == figures.index(min(figures)) + 1
    assert [e["selected"] for e in fitted.history] == [f < min([*figures[:i], np.inf]) for i, f in enumerate(figures)]
    again = fit.evaluate(VALID)
    assert again.loss == fitted.history[fitted.epoch - 1]["valid_loss"]
    assert again.scores.weighted_f1 == fitted.history[fitted.epoch - 1]["valid_weighted_f1"]
    assert not fitted.model.training


def test_without_improvement_it_stops_after_patience_epochs() -> None:
    fitted = fit_of(learning_rate=1e-12, patience=3, epochs=50).run()
    assert (fitted.epoch, len(fitted.history)) == (1, 4)


def test_numbers_that_break_leave_the_last_epochs_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"

    def sabotage(figures: dict[str, Any]) -> None:
        if figures["epoch"] == 2:
            fit.optimizer.param_groups[0]["lr"] = 1e38

    fit = fit_of(path)
    with pytest.raises(NumericalError):
        fit.run(sabotage)
    resumed = fit_of(path)
    assert len(resumed.history) == 2
    assert_same(resumed.run(), fit_of().run())


@pytest.mark.parametrize("other", [{"hidden_size": 4}, {"seed": 1}, {"patience": 3}])
def test_a_damaged_checkpoint_or_one_of_other_settings_is_refused(tmp_path: Path, other: dict[str, Any]) -> None:
    path = tmp_path / "checkpoint"
    fit_of(path).run()
    with pytest.raises(ModelError, match="of another seed or other settings"):
        fit_of(path, **other)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match="damaged"):
        fit_of(path)


def test_a_released_epoch_of_a_single_batch_never_updates(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    fitted = fit_of(path, batch_size=16, epochs=2).run()
    assert fitted.history[0]["valid_loss"] == fitted.history[1]["valid_loss"]
    assert_same(fit_of(path, batch_size=16, epochs=2).run(), fitted)
    exact = fit_of(batch_size=16, epochs=2, window="exact").run()
    assert exact.history[0]["valid_loss"] != exact.history[1]["valid_loss"]


def relabelled(items: list[ConversationItem], old: int, new: int) -> list[ConversationItem]:
    return [ConversationItem(i.id, i.features, i.speakers, np.where(i.labels == old, new, i.labels)) for i in items]


def test_weights_of_the_training_split_are_one_over_each_classs_share() -> None:
    train = relabelled(TRAIN, 2, UNLABELLED)[:3] + TRAIN[3:]
    known = np.concatenate([item.labels for item in train])
    known = known[known >= 0]
    weights = class_weights(ObjectiveSettings(class_weights="train"), LABELS, train, torch.float64)
    assert weights is not None
    assert weights.tolist() == pytest.approx([len(known) / (known == c).sum() for c in range(3)], rel=1e-12)


def test_weights_are_the_numbers_given_or_none() -> None:
    weights = class_weights(ObjectiveSettings(class_weights=[1.0, 2.5, 4.0]), LABELS, TRAIN, torch.float32)
    assert weights is not None
    assert weights.tolist() == [1.0, 2.5, 4.0]
    assert class_weights(ObjectiveSettings(), LABELS, TRAIN, torch.float32) is None


def test_weights_that_cannot_be_had_are_refused_with_the_reason() -> None:
    with pytest.raises(DataError, match="no training utterance is labelled 'glad'"):
        class_weights(ObjectiveSettings(class_weights="train"), LABELS, relabelled(TRAIN, 2, 0), torch.float32)
    with pytest.raises(DataError, match="2 numbers for 3 emotions"):
        class_weights(ObjectiveSettings(class_weights=[1.0, 2.0]), LABELS, TRAIN, torch.float32)


def test_class_weights_reach_both_losses() -> None:
    plain, weighted = (
        fit_of(epochs=1, objective=o).run() for o in (None, ObjectiveSettings(class_weights=[9.0, 9.0, 9.0]))
    )
    assert weighted.history[0]["train_loss"] > 5 * plain.history[0]["train_loss"]
    assert weighted.history[0]["valid_loss"] > 5 * plain.history[0]["valid_loss"]


@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_split_without_labels_is_refused(split: str) -> None:
    bare = [ConversationItem(i.id, i.features, i.speakers, np.full_like(i.labels, UNLABELLED)) for i in TRAIN]
    train, valid = (bare, VALID) if split == "train" else (TRAIN, bare)
    with pytest.raises(DataError, match=f"'{split}' has no labelled utterance"):
        Fit(
            lambda: DualLSTM(WIDTH, 3),
            train,
            valid,
            LABELS,
            ModelSettings(),
            ObjectiveSettings(),
            TrainingSettings(),
            0,
        )
