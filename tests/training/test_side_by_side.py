"""Micro-batches at once, a thread each, give the bits of one after another."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sacl.errors import NumericalError
from sacl.experiment.recipe import load_recipe
from sacl.experiment.run import torch_threads
from sacl.model.batch import ConversationItem
from sacl.model.dual_lstm import DualLSTM
from sacl.settings import ModelSettings, ObjectiveSettings, TrainingSettings
from sacl.training.loop import make_batches, train_epoch
from sacl.training.objective import SACL, Forward
from sacl.training.side_by_side import SideBySide, micro_batches_at_once

WIDTH, CLASSES = 5, 3


def items_of(count: int) -> list[ConversationItem]:
    rng = np.random.default_rng(0)
    items = []
    for i in range(count):
        n = int(rng.integers(1, 9))
        features = torch.from_numpy(rng.normal(size=(n, WIDTH)))
        items.append(ConversationItem(f"c{i}", features, rng.integers(0, 3, n), rng.integers(0, CLASSES, n)))
    return items


def sacl_of(layers: int = 1, **settings: Any) -> SACL:
    torch.manual_seed(0)
    model = DualLSTM(WIDTH, CLASSES, hidden_size=4, layers=layers, dropout=0.4).double()
    return SACL(model, model.targets(), ObjectiveSettings(**settings), generator=torch.Generator().manual_seed(1))


def trained(threads: int, accumulation: int = 3, layers: int = 1, **settings: Any) -> tuple[list[Tensor], Any]:
    """The parameters after two epochs, and the last one's figures."""
    sacl = sacl_of(layers, **settings)
    optimizer = torch.optim.Adam(sacl.model.parameters(), lr=1e-2)
    masks = torch.Generator().manual_seed(2)
    items = items_of(13)
    for _ in range(2):
        figures = train_epoch(
            sacl.model,
            make_batches(items, range(len(items)), 2, ModelSettings()),
            7,
            sacl,
            optimizer,
            accumulation=accumulation,
            generator=masks,
            threads=threads,
        )
    return [p.detach().clone() for p in sacl.model.parameters()], figures


ADVERSARIES: dict[str, dict[str, Any]] = {
    "released": {"shares": {"context": 0.5}},
    "now and then": {"rate": 0.5, "shares": {"context": 0.3, "speaker": 0.3}},
    "own batch": {"follows": "batch"},
    "keeps all": {"keeps": "all", "shares": {}},
    "pgd": {"kind": "pgd"},
    "random": {"kind": "random"},
    "virtual": {"kind": "virtual"},
    "inputs": {"on": ["input"], "shares": {}},
    "inputs too": {"on": ["input", "context"], "shares": {"input": 0.5}},
    "whole LSTM": {"on": ["context_lstm", "speaker"], "shares": {}, "norm": "all"},
    "none": {"kind": "none"},
}


@pytest.mark.parametrize("adversary", ADVERSARIES)
@pytest.mark.parametrize(("threads", "accumulation"), [(2, 2), (3, 4), (2, 1)])
def test_two_epochs_have_the_same_bits(adversary: str, threads: int, accumulation: int) -> None:
    (one, figures), (more, theirs) = (trained(n, accumulation, adversary=ADVERSARIES[adversary]) for n in (1, threads))
    assert all(torch.equal(a, b) for a, b in zip(one, more, strict=True))
    assert figures.loss == theirs.loss
    assert np.array_equal(figures.log_probabilities, theirs.log_probabilities)


def test_masks_between_layers_too() -> None:
    assert all(torch.equal(a, b) for a, b in zip(trained(1, layers=2)[0], trained(2, layers=2)[0], strict=True))


# Noise comes from a micro-batch's own generator here, and from the objective's there.
@pytest.mark.parametrize("adversary", [name for name in ADVERSARIES if name not in ("random", "virtual")])
@pytest.mark.parametrize("threads", [1, 2])
def test_gradients_are_those_that_one_network_accumulates(adversary: str, threads: int) -> None:
    """The plain way: every micro-batch's backward passes add to the same `.grad`."""
    batches = list(make_batches(items_of(8), range(8), 2, ModelSettings()))
    draws = [0.1, 0.9, 0.4, 0.6]
    sacl = sacl_of(adversary=ADVERSARIES[adversary])
    sacl.model.eval()  # no masks
    with SideBySide(sacl, threads) as workers:
        steps = workers.finish(workers.start(batches, draws=iter(draws)))
    plain = sacl_of(adversary=ADVERSARIES[adversary])
    plain.model.eval()
    for batch, draw, step in zip(batches, draws, steps, strict=True):

        def closure(batch: Any = batch) -> Forward:
            return Forward(*plain.model(batch), batch.labels, batch.mask)

        expected = plain.backward(closure, draw)
        assert step.channel == expected.channel
        torch.testing.assert_close(step.clean.total, expected.clean.total, rtol=0, atol=1e-12)
        if expected.adversarial is not None:
            assert step.adversarial is not None
            torch.testing.assert_close(step.adversarial.total, expected.adversarial.total, rtol=0, atol=1e-11)
    for p, q in zip(sacl.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=0, atol=1e-11)


class Failing(DualLSTM):
    """Fails on the conversation c4, in whichever thread reads it."""

    def forward(self, batch: Any, generator: torch.Generator | None = None) -> Any:
        if "c4" in batch.ids:
            raise ValueError("c4 it is")
        return super().forward(batch, generator)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("adversary", ["released", "keeps all", "none"])
def test_an_error_in_a_thread_arrives_and_leaves_none_behind(threads: int, adversary: str) -> None:
    model = Failing(WIDTH, CLASSES, hidden_size=4).double()
    sacl = SACL(model, model.targets(), ObjectiveSettings(adversary=ADVERSARIES[adversary]))
    before = threading.active_count()
    batches = list(make_batches(items_of(12), range(12), 2, ModelSettings()))
    with pytest.raises(ValueError, match="c4 it is"), SideBySide(sacl, threads) as workers:
        workers.finish(workers.start(batches))
    assert threading.active_count() == before


def test_numbers_that_break_in_another_thread_are_told_with_step_and_conversations() -> None:
    items = items_of(8)
    items[6].features[:] = torch.nan
    sacl = sacl_of()
    optimizer = torch.optim.SGD(sacl.model.parameters(), lr=0.1)
    batches = make_batches(items, range(8), 2, ModelSettings())
    with pytest.raises(NumericalError, match="step 4, conversations c6 c7: the loss is nan"):
        train_epoch(sacl.model, batches, 4, sacl, optimizer, accumulation=2, threads=2)


def test_an_own_network_has_its_threads_within_an_operation() -> None:
    training = TrainingSettings(threads=4)
    assert micro_batches_at_once(ModelSettings(), training) == 4
    assert micro_batches_at_once(ModelSettings(kind="package.module:Class"), training) == 1
    assert micro_batches_at_once(ModelSettings(), training.model_copy(update={"device": "cuda"})) == 1
    recipe = load_recipe("meld").model_copy(update={"training": training})
    assert torch_threads(recipe) == 1
    own = recipe.model.model_copy(update={"kind": "package.module:Class"})
    assert torch_threads(recipe.model_copy(update={"model": own})) == 4
