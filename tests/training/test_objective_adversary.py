"""SACL's adversary on any PyTorch model: when it acts, on what, how far, and that nothing of it stays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from sacl.settings import ObjectiveSettings
from sacl.training.objective import SACL, Forward

KINDS = ["fgm", "pgd", "random", "virtual"]
EXACT: dict[str, Any] = {"rtol": 0.0, "atol": 1e-12}


def settings_of(**adversary: Any) -> ObjectiveSettings:
    return ObjectiveSettings.model_validate(
        {"adversary": {"on": ["context"], "shares": {}, "epsilon": 0.5} | adversary}
    )


def two_channels(problem: Any, **adversary: Any) -> SACL:
    targets = {"context": list(problem.net.encoder.parameters()), "speaker": list(problem.net.head.parameters())}
    return SACL(problem.net, targets, settings_of(on=["context", "speaker"], **adversary))


def on_encoder(problem: Any, **adversary: Any) -> SACL:
    generator = torch.Generator().manual_seed(0)
    targets = {"context": list(problem.net.encoder.parameters())}
    return SACL(problem.net, targets, settings_of(**adversary), generator=generator)


def length(tensor: Tensor) -> float:
    return math.sqrt(float(tensor.square().sum()))


def as_released(draw: float, rate: float, context: float, speaker: float) -> str | None:
    if draw > rate:
        return None
    if context and draw <= rate * context:
        return "context"
    if speaker and draw <= rate * (context + speaker):
        return "speaker"
    return "all"


@pytest.mark.parametrize("rate", [0.1, 0.5, 1.0])
@pytest.mark.parametrize(
    ("context", "speaker"), [(0.0, 0.0), (0.1, 0.0), (0.9, 0.1), (0.1, 0.2), (0.0, 0.1), (0.0, 1.0)]
)
def test_one_draw_decides_whether_and_where_as_released(
    problem: Any, rate: float, context: float, speaker: float
) -> None:
    sacl = two_channels(problem, rate=rate, shares={"context": context, "speaker": speaker})
    edges = [rate, rate * context, rate * (context + speaker)]
    draws = [i / 40 for i in range(40)] + [d + e for d in edges for e in (-1e-12, 0.0, 1e-12) if 0 <= d + e < 1]
    perturbed = {"context": {"encoder"}, "speaker": {"head"}, "all": {"encoder", "head"}, None: set[str]()}
    for draw in draws:
        step = sacl.backward(problem.closure(), draw)
        expected = as_released(draw, rate, context, speaker)
        assert step.channel == expected, draw
        moved = {name.partition(".")[0] for name, r in problem.moved().items() if r.any()}
        assert moved == perturbed[expected]


def test_a_single_channel_is_called_by_its_name(problem: Any) -> None:
    assert on_encoder(problem).backward(problem.closure()).channel == "context"


def test_without_a_draw_the_generator_decides_in_the_shares_asked_for(problem: Any) -> None:
    sacl = two_channels(problem, rate=0.5, shares={"context": 0.2})
    sacl.generator = torch.Generator().manual_seed(0)
    channels = [sacl.backward(problem.closure()).channel for _ in range(400)]
    for channel, share in [(None, 0.5), ("context", 0.1), ("all", 0.4)]:
        assert channels.count(channel) / 400 == pytest.approx(share, abs=0.08)
    sacl.generator = torch.Generator().manual_seed(0)
    assert [sacl.backward(problem.closure()).channel for _ in range(20)] == channels[:20]


@pytest.mark.parametrize("keeps", ["clean", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_the_very_same_afterwards(problem: Any, kind: str, keeps: str) -> None:
    before = [(p.data_ptr(), p.detach().clone()) for p in problem.net.parameters()]
    on_encoder(problem, kind=kind, keeps=keeps).backward(problem.closure())
    assert any(r.any() for r in problem.moved().values())
    for p, (pointer, value) in zip(problem.net.parameters(), before, strict=True):
        assert p.data_ptr() == pointer
        assert torch.equal(p, value)
        assert p.requires_grad


@pytest.mark.parametrize("call", [1, 2, 3, 4])
@pytest.mark.parametrize("target", ["parameters", "module"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_exception_in_any_forward_pass_leaves_the_network_as_it_was(
    problem: Any, kind: str, target: str, call: int
) -> None:
    before = [(p.data_ptr(), p.detach().clone()) for p in problem.net.parameters()]
    inner, calls = problem.closure(), []

    def closure() -> Forward:
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return inner()  # type: ignore[no-any-return]

    targets: Any = {"context": problem.net.encoder if target == "module" else list(problem.net.encoder.parameters())}
    sacl = SACL(problem.net, targets, settings_of(kind=kind))
    runs = {"fgm": 2, "random": 2, "virtual": 3, "pgd": 4}[kind]
    if call <= runs:
        with pytest.raises(KeyboardInterrupt):
            sacl.backward(closure)
    else:
        sacl.backward(closure)
        assert len(calls) == runs
    for p, (pointer, value) in zip(problem.net.parameters(), before, strict=True):
        assert p.data_ptr() == pointer
        assert torch.equal(p, value)
        assert p.requires_grad
    assert not problem.net.encoder._forward_hooks


@pytest.mark.parametrize("norm", ["tensor", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_moves_by_epsilon(problem: Any, kind: str, norm: str) -> None:
    step_size = 0.5 if kind == "pgd" else 0.1
    on_encoder(problem, kind=kind, norm=norm, step_size=step_size, epsilon=0.5).backward(problem.closure())
    moved = [length(problem.moved()[name]) for name in ("encoder.weight", "encoder.bias")]
    if norm == "all":
        assert math.hypot(*moved) == pytest.approx(0.5, rel=1e-9)
    else:
        assert moved == pytest.approx([0.5, 0.5], rel=1e-9)


@pytest.mark.parametrize("norm", ["tensor", "all"])
@pytest.mark.parametrize(("epsilon", "step_size"), [(0.3, 0.1), (0.3, 0.2), (0.1, 5.0)])
def test_pgd_takes_its_steps_and_stays_in_the_ball(problem: Any, norm: str, epsilon: float, step_size: float) -> None:
    sacl = on_encoder(problem, kind="pgd", norm=norm, epsilon=epsilon, step_size=step_size, steps=5)
    sacl.backward(problem.closure())
    assert len(problem.passes) == 6
    for k in range(1, 6):
        moved = problem.moved(k)
        lengths = [length(moved["encoder.weight"]), length(moved["encoder.bias"])]
        lengths = [math.hypot(*lengths)] if norm == "all" else lengths
        assert max(lengths) <= min(epsilon, k * step_size) * (1 + 1e-9)
        if k == 1:
            assert lengths == pytest.approx([min(epsilon, step_size)] * len(lengths), rel=1e-9)


def test_pgd_with_one_step_of_epsilon_is_fgm(problem: Any) -> None:
    results = []
    for settings in ({"kind": "fgm"}, {"kind": "pgd", "steps": 1, "step_size": 0.5}):
        problem.net.zero_grad()
        on_encoder(problem, **settings).backward(problem.closure())
        results.append(problem.gradients())
    for name, gradient in results[0].items():
        torch.testing.assert_close(results[1][name], gradient, **EXACT)


def divergence(passes: list[Forward]) -> float:
    clean, last = passes[0].log_probabilities.detach(), passes[-1].log_probabilities.detach()
    return float((clean.exp() * (clean - last)).sum())


def test_virtual_changes_predictions_more_than_random_does_on_average(problem: Any) -> None:
    reached: dict[str, float] = {"virtual": 0.0, "random": 0.0}
    for kind in reached:
        for seed in range(20):
            problem.passes.clear()
            sacl = on_encoder(problem, kind=kind, epsilon=0.3)
            sacl.generator = torch.Generator().manual_seed(seed)
            step = sacl.backward(problem.closure())
            reached[kind] += divergence(problem.passes)
            if kind == "virtual":
                assert step.adversarial is not None
                assert step.adversarial.total.item() == pytest.approx(divergence(problem.passes), rel=1e-9)
    assert reached["virtual"] > 2 * reached["random"] > 0


def test_virtual_needs_no_label_for_its_loss(problem: Any) -> None:
    problem.mask = torch.arange(7) < 3
    step = on_encoder(problem, kind="virtual").backward(problem.closure())
    assert step.adversarial is not None
    assert step.adversarial.total.item() == pytest.approx(divergence(problem.passes), rel=1e-9)


def test_fgm_raises_the_loss_more_than_random_does(problem: Any) -> None:
    reached: dict[str, float] = {}
    for kind in ("fgm", "random"):
        steps = []
        for seed in range(20):
            problem.net.zero_grad()
            sacl = on_encoder(problem, kind=kind, epsilon=0.05)
            sacl.generator = torch.Generator().manual_seed(seed)
            steps.append(sacl.backward(problem.closure()))
        reached[kind] = sum(float(s.adversarial.classification) for s in steps if s.adversarial is not None)
    assert reached["fgm"] > reached["random"]


@pytest.mark.parametrize("keeps", ["clean", "all"])
def test_a_modules_output_is_perturbed_along_its_own_gradient(problem: Any, keeps: str) -> None:
    x, labels = problem.batches[0]
    sacl = SACL(problem.net, {"input": problem.net.encoder}, settings_of(on=["input"], keeps=keeps, epsilon=0.7))
    sacl.settings = sacl.settings.model_copy(update={"contrastive_weight": 0.0, "adversarial_contrastive_weight": 0.0})
    sacl.backward(problem.closure())
    parameters = problem.parameters()
    hidden = torch.nn.functional.linear(x, parameters["encoder.weight"], parameters["encoder.bias"])

    def loss(hidden: Tensor) -> Tensor:
        scores = hidden.tanh() @ parameters["head.weight"].T + parameters["head.bias"]
        log_p: Tensor = scores.log_softmax(1)[range(7), labels]
        return -((1 - log_p.detach().exp()) * log_p).sum()

    (g,) = torch.autograd.grad(loss(hidden), hidden, retain_graph=True)
    r = 0.7 * g / g.norm()
    torch.testing.assert_close(problem.passes[1].embeddings, hidden.detach() + r, **EXACT)
    (loss(hidden) + loss(hidden + r)).backward()
    for name, gradient in problem.gradients().items():
        torch.testing.assert_close(gradient, parameters[name].grad, **EXACT)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.first(x).tanh()
        return self.second(hidden).log_softmax(dim=1), hidden


def test_a_tied_parameter_is_perturbed_once_within_a_channel_and_across_channels(problem: Any) -> None:
    torch.manual_seed(0)
    problem.net = Tied().double()
    for targets, on in [
        ({"context": [problem.net.first.weight, problem.net.second.weight]}, ["context"]),
        (
            {"context": problem.net.first.weight, "speaker": {"again": problem.net.second.weight}},
            ["context", "speaker"],
        ),
    ]:
        SACL(problem.net, targets, settings_of(on=on)).backward(problem.closure())
        assert length(problem.moved()["first.weight"]) == pytest.approx(0.5, rel=1e-9)


@pytest.mark.parametrize("bad", [None, 0.0, math.nan, math.inf])
def test_a_parameter_without_a_usable_gradient_stays_and_the_others_move(problem: Any, bad: float | None) -> None:
    handles = []
    if bad is None:
        problem.net.encoder.spare = nn.Parameter(torch.ones(2, dtype=torch.float64))
    else:
        handles.append(problem.net.encoder.bias.register_hook(lambda g: torch.full_like(g, bad)))
    on_encoder(problem).backward(problem.closure())
    moved = {name: length(r) for name, r in problem.moved().items()}
    still = "encoder.spare" if bad is None else "encoder.bias"
    assert moved[still] == 0
    assert moved["encoder.weight"] == pytest.approx(0.5, rel=1e-9)


def strange_targets(net: Any) -> list[tuple[Any, str]]:
    return [
        ({}, "no target 'context'"),
        ({"speaker": net.head}, "no target 'context': the model offers speaker"),
        ({"context": []}, "has no parameters"),
        ({"context": {}}, "has no parameters"),
        ({"context": list(net.encoder.named_parameters())}, "holds a tuple"),
        ({"context": [net.encoder.weight.detach()]}, "holds a Tensor"),
        ({"context": [net.encoder.weight, nn.Parameter(torch.ones(2), requires_grad=False)]}, "frozen"),
    ]


@pytest.mark.parametrize("case", range(7))
def test_no_target_or_one_that_cannot_be_perturbed_is_an_error_at_once(problem: Any, case: int) -> None:
    targets, message = strange_targets(problem.net)[case]
    with pytest.raises(ValueError, match=message):
        SACL(problem.net, targets, settings_of())


def test_a_parameter_frozen_later_is_refused_and_stays_frozen(problem: Any) -> None:
    sacl = on_encoder(problem)
    problem.net.encoder.bias.requires_grad_(False)
    with pytest.raises(ValueError, match="frozen"):
        sacl.backward(problem.closure())
    assert not problem.net.encoder.bias.requires_grad
    assert not problem.gradients()


def test_a_module_that_does_not_run_is_an_error_and_not_silence(problem: Any) -> None:
    sacl = SACL(problem.net, {"context": nn.Linear(2, 2)}, settings_of())
    with pytest.raises(ValueError, match="did not run"):
        sacl.backward(problem.closure())


@pytest.mark.parametrize("kind", [*KINDS, "none"])
def test_batch_normalisation_keeps_the_statistics_of_the_clean_pass(problem: Any, kind: str) -> None:
    problem.net.head = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3)).double()
    twin = nn.BatchNorm1d(6).double()
    twin(problem.net.encoder(problem.batches[0][0]).tanh())
    on_encoder(problem, kind=kind).backward(problem.closure())
    for name, value in problem.net.head[0].named_buffers():
        assert torch.equal(value, twin.get_buffer(name)), name


class Reader(nn.Module):
    """Token ids -> embedding -> LSTM -> classes."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 5)
        self.lstm = nn.LSTM(5, 4, num_layers=2, bidirectional=True, batch_first=True)
        self.linear = nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.lstm(self.embedding(ids))[0].mean(dim=1)
        return self.linear(hidden).log_softmax(dim=1), hidden


PARTS: dict[str, Callable[[Reader], Any]] = {
    "linear parameters": lambda net: dict(net.linear.named_parameters()),
    "linear output": lambda net: net.linear,
    "embedding parameter": lambda net: net.embedding.weight,
    "embedding output": lambda net: net.embedding,
    "lstm parameters": lambda net: list(net.lstm.parameters()),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", PARTS)
def test_the_parts_of_a_plain_model_can_be_perturbed_and_it_reads_the_perturbed_values(
    problem: Any, part: str, kind: str
) -> None:
    torch.manual_seed(0)
    problem.net = Reader().double()
    problem.batches = [(torch.randint(11, (7, 6)), torch.arange(7) % 3)]
    SACL(problem.net, {"context": PARTS[part](problem.net)}, settings_of(kind=kind)).backward(problem.closure())
    first, last = problem.passes[0].log_probabilities, problem.passes[-1].log_probabilities
    assert (first - last).abs().max() > 1e-4
    if part.endswith("output"):
        assert not any(r.any() for r in problem.moved().values())
    else:
        moved = functional_call(problem.net, problem.seen[-1], (problem.batches[0][0],))[0]
        torch.testing.assert_close(last, moved, **EXACT)
    plain = problem.net(problem.batches[0][0])[0]
    torch.testing.assert_close(plain, first, **EXACT)
