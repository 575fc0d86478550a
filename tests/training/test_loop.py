"""One epoch of training and one of evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sacl.errors import NumericalError
from sacl.losses import focal_loss, nt_xent
from sacl.metrics import score
from sacl.model.batch import UNLABELLED, ConversationBatch, ConversationItem
from sacl.model.dual_lstm import DualLSTM
from sacl.settings import ModelSettings, ObjectiveSettings
from sacl.training.loop import ends_window, evaluate, make_batches, train_epoch
from sacl.training.objective import SACL

WIDTH, CLASSES = 4, 3
NO_ADVERSARY: Any = {"kind": "none"}


def items_of(count: int, seed: int = 0) -> list[ConversationItem]:
    rng = np.random.default_rng(seed)
    items = []
    for i in range(count):
        n = int(rng.integers(2, 6))
        labels = rng.integers(0, CLASSES, n)
        items.append(
            ConversationItem(f"c{i}", torch.from_numpy(rng.normal(size=(n, WIDTH))), rng.integers(0, 2, n), labels)
        )
    return items


def batches_of(items: list[ConversationItem], size: int = 2) -> list[ConversationBatch]:
    return list(make_batches(items, range(len(items)), size, ModelSettings()))


def model_of(dropout: float = 0.0) -> DualLSTM:
    torch.manual_seed(0)
    return DualLSTM(WIDTH, CLASSES, hidden_size=3, dropout=dropout).double()


class Stepping(torch.optim.SGD):
    """SGD that remembers the parameters after each step."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model.parameters(), lr=0.1)
        self.after = [copy_of(model)]
        self.register_step_post_hook(lambda *_: self.after.append(copy_of(model)))


def copy_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def assert_same_bits(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


UPDATES = {
    ("released", 2): {1: [], 2: [1], 3: [2], 4: [2, 3], 5: [2, 4], 6: [2, 4, 5]},
    ("exact", 2): {1: [0], 2: [1], 3: [1, 2], 4: [1, 3], 5: [1, 3, 4], 6: [1, 3, 5]},
    ("released", 1): {1: [], 2: [1], 3: [1, 2], 4: [1, 2, 3]},
    ("exact", 1): {1: [0], 2: [0, 1], 3: [0, 1, 2], 4: [0, 1, 2, 3]},
    ("released", 16): {1: [], 2: [1], 16: [15], 17: [16], 18: [16, 17], 33: [16, 32], 54: [16, 32, 48, 53]},
    ("exact", 16): {1: [0], 2: [1], 16: [15], 17: [15, 16], 33: [15, 31, 32]},
}


@pytest.mark.parametrize(("window", "accumulation"), UPDATES)
def test_windows_end_where_the_table_says(window: Literal["released", "exact"], accumulation: int) -> None:
    for steps, updates in UPDATES[window, accumulation].items():
        assert [s for s in range(steps) if ends_window(s, steps, accumulation, window)] == updates, steps


@pytest.mark.parametrize("window", ["released", "exact"])
@pytest.mark.parametrize("steps", [1, 2, 3, 6])
def test_an_epoch_steps_on_the_gradients_of_each_window(window: Literal["released", "exact"], steps: int) -> None:
    batches = batches_of(items_of(2 * steps))
    model = model_of()
    optimizer = Stepping(model)
    settings = ObjectiveSettings(contrastive_weight=0, adversary=NO_ADVERSARY)
    train_epoch(model, batches, steps, SACL(model, {}, settings), optimizer, accumulation=2, window=window)
    by_hand, start = model_of(), 0
    for update in UPDATES[window, 2][steps]:
        losses = [
            focal_loss(by_hand(batch).log_probabilities, batch.labels, gamma=1.0)
            for batch in batches[start : update + 1]
        ]
        by_hand.zero_grad()
        sum(losses).backward()  # type: ignore[union-attr]
        with torch.no_grad():
            for p in by_hand.parameters():
                assert p.grad is not None
                p.sub_(0.1 * p.grad)
        start = update + 1
    assert len(optimizer.after) - 1 == len(UPDATES[window, 2][steps])
    for name, p in by_hand.named_parameters():
        torch.testing.assert_close(dict(model.named_parameters())[name], p, rtol=0, atol=1e-12)


def test_gradients_left_by_others_are_not_used() -> None:
    batches = batches_of(items_of(4))
    results = []
    for left in (False, True):
        model = model_of()
        for p in model.parameters():
            p.grad = torch.ones_like(p) if left else None
        train_epoch(
            model, batches, 2, SACL(model, model.targets()), Stepping(model), accumulation=2, draws=iter([0.5] * 2)
        )
        results.append(copy_of(model))
    assert_same_bits(*results)


def test_an_epochs_figures_are_those_of_the_clean_passes() -> None:
    model, batches = model_of(), batches_of(items_of(5))
    sacl = SACL(model, model.targets(), ObjectiveSettings())
    # One window for all: no update comes between the batches.
    trained = train_epoch(model, batches, 9, sacl, Stepping(model), accumulation=10, draws=iter([0.5] * 3))
    outputs = [model(batch).log_probabilities.detach() for batch in batches]
    totals = [
        focal_loss(p, batch.labels, gamma=1.0) + 0.1 * len(batch) * nt_xent(p, batch.labels)
        for p, batch in zip(outputs, batches, strict=True)
    ]
    assert trained.loss == pytest.approx(float(sum(totals)) / 3, rel=1e-12)
    scores, labels = torch.cat(outputs).numpy(), torch.cat([batch.labels for batch in batches]).numpy()
    assert (trained.log_probabilities == scores).all()
    assert (trained.labels == labels).all()
    assert trained.scores == score(labels, scores.argmax(axis=1), CLASSES)


def test_the_same_generators_give_the_same_bits_and_others_do_not() -> None:
    batches = batches_of(items_of(6))

    def run(dropout: int, adversary: int) -> dict[str, Tensor]:
        model = model_of(dropout=0.5)
        sacl = SACL(model, model.targets(), generator=torch.Generator().manual_seed(adversary))
        generator = torch.Generator().manual_seed(dropout)
        train_epoch(model, batches, 3, sacl, Stepping(model), accumulation=1, generator=generator)
        torch.rand(3)
        return copy_of(model)

    assert_same_bits(run(1, 0), run(1, 0))
    assert not torch.equal(run(1, 0)["classifier.weight"], run(2, 0)["classifier.weight"])


def with_bad_features(items: list[ConversationItem], at: int, bad: float) -> list[ConversationItem]:
    items = list(items)
    features = items[at].features.clone()
    features[0, 0] = bad
    items[at] = ConversationItem(items[at].id, features, items[at].speakers, items[at].labels)
    return items


def test_a_loss_that_is_not_finite_names_step_and_conversations_and_undoes_no_update() -> None:
    model = model_of()
    optimizer = Stepping(model)
    batches = batches_of(with_bad_features(items_of(8), at=7, bad=math.nan))
    sacl = SACL(model, model.targets())
    with pytest.raises(NumericalError, match="step 4, conversations c6 c7: the loss is nan"):
        train_epoch(model, batches, 4, sacl, optimizer, accumulation=2, draws=iter([0.5] * 4))
    assert len(optimizer.after) == 2
    assert_same_bits(copy_of(model), optimizer.after[-1])


def test_an_adversarial_loss_that_is_not_finite_is_told_apart() -> None:
    class Breaking(DualLSTM):
        calls = 0

        def forward(self, *args: Any) -> Any:
            self.calls += 1
            output = super().forward(*args)
            return output._replace(log_probabilities=output.log_probabilities * (math.inf if self.calls == 4 else 1))

    torch.manual_seed(0)
    model = Breaking(WIDTH, CLASSES, hidden_size=3).double()
    before = copy_of(model)
    sacl = SACL(model, model.targets(), ObjectiveSettings(contrastive_weight=0, adversarial_contrastive_weight=0))
    with pytest.raises(
        NumericalError, match=r"step 2, conversations c2 c3: the loss is [\d.]+; adversarial: (inf|nan)"
    ):
        train_epoch(model, batches_of(items_of(6)), 3, sacl, Stepping(model), accumulation=2, draws=iter([0.5] * 3))
    assert_same_bits(copy_of(model), before)


@pytest.mark.parametrize("gamma", [0.0, 1.0])
@pytest.mark.parametrize("divisor", [1.0, 16.0])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_validation_loss_is_the_mean_over_batches_of_the_classification_loss(
    gamma: float, divisor: float, reduction: Literal["sum", "mean"]
) -> None:
    model, batches = model_of(dropout=0.5), batches_of(items_of(5))
    weights = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    settings = ObjectiveSettings(focal_gamma=gamma, loss_divisor=divisor, reduction=reduction, contrastive_weight=5.0)
    evaluation = evaluate(model.train(), batches, settings, weights)
    losses = []
    for batch in batches:
        log_p = model.eval()(batch).log_probabilities.detach()[range(len(batch)), batch.labels]
        terms = -weights[batch.labels] * (1 - log_p.exp()) ** gamma * log_p
        losses.append(float(terms.sum() if reduction == "sum" else terms.mean()) / divisor)
    assert evaluation.loss == pytest.approx(sum(losses) / len(losses), rel=1e-12)


def unlabelled(item: ConversationItem, where: slice) -> ConversationItem:
    labels = item.labels.copy()
    labels[where] = UNLABELLED
    return ConversationItem(item.id, item.features, item.speakers, labels)


def test_unlabelled_utterances_are_read_and_left_out_of_loss_and_scores() -> None:
    model, items = model_of(), items_of(5)
    masked = [unlabelled(item, slice(0, 1)) for item in items]
    masked[0] = unlabelled(items[0], slice(None))
    whole, evaluation = (evaluate(model, batches_of(some, 1), ObjectiveSettings()) for some in (items, masked))
    assert (evaluation.log_probabilities == whole.log_probabilities).all()
    known = evaluation.labels != UNLABELLED
    assert known.sum() == sum((item.labels >= 0).sum() for item in masked) > 0
    predicted = whole.log_probabilities.argmax(axis=1)
    assert evaluation.scores == score(whole.labels[known], predicted[known], CLASSES)
    log_p = torch.from_numpy(whole.log_probabilities[known])
    loss = focal_loss(log_p, torch.from_numpy(whole.labels[known]), gamma=1.0)
    assert evaluation.loss == pytest.approx(float(loss) / 5, rel=1e-12)


def test_a_batch_without_labels_can_stand_in_an_epoch() -> None:
    model, items = model_of(), items_of(6)
    items[2], items[3] = unlabelled(items[2], slice(None)), unlabelled(items[3], slice(None))
    sacl = SACL(model, model.targets())
    trained = train_epoch(model, batches_of(items), 3, sacl, Stepping(model), accumulation=1, draws=iter([0.5] * 3))
    assert math.isfinite(trained.loss)
    assert all(p.isfinite().all() for p in model.parameters())


def test_evaluation_changes_nothing_and_is_the_same_twice() -> None:
    model, batches = model_of(dropout=0.5), batches_of(items_of(5))
    before = copy_of(model)
    first, second = (evaluate(model, batches, ObjectiveSettings()) for _ in range(2))
    assert (first.log_probabilities == second.log_probabilities).all()
    assert first.loss == second.loss
    assert_same_bits(copy_of(model), before)
    assert all(p.grad is None for p in model.parameters())


def test_scores_that_are_not_finite_name_the_batchs_conversations() -> None:
    batches = batches_of(with_bad_features(items_of(6), at=3, bad=math.nan))
    with pytest.raises(NumericalError, match="conversations c2 c3: the model's scores are not finite"):
        evaluate(model_of(), batches, ObjectiveSettings())


def test_batches_follow_the_order_given_and_the_last_is_what_is_left() -> None:
    made: Iterator[ConversationBatch] = make_batches(items_of(5), [4, 0, 2, 1, 3], 2, ModelSettings())
    assert [batch.ids for batch in made] == [("c4", "c0"), ("c2", "c1"), ("c3",)]


def test_batches_are_padded_and_short_speakers_left_out_as_the_model_says() -> None:
    settings = ModelSettings(padding="released", min_speaker_utterances=1)
    (batch,) = make_batches(items_of(3), range(3), 16, settings)
    assert batch.context.real is not None
    turns = len(set(zip(np.repeat(range(3), batch.lengths), batch.speakers.tolist(), strict=True)))
    assert len(batch.speaker) == turns
