"""A perturbation: of the length it says, applied, and taken back to the bit."""

from __future__ import annotations

import math
from typing import Literal

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor, nn

from sacl.adversary import Perturbation, add, frozen, of_length, perturbed, project, statistics_kept, watched

Norm = Literal["tensor", "all"]
NORMS: list[Norm] = ["tensor", "all"]
SHAPES = [(3, 4), (5,), (2, 2, 2)]


def gradients_of(seed: int, scale: float = 1.0) -> list[Tensor | None]:
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]


def lengths(perturbation: Perturbation) -> list[float]:
    return [0.0 if r is None else math.sqrt(float((r * r).sum())) for r in perturbation]


@given(seed=st.integers(0, 10**6), length=st.sampled_from([1e-3, 0.5, 5.0]), scale=st.sampled_from([1e-8, 1.0, 1e8]))
def test_by_tensor_every_tensor_moves_by_exactly_epsilon_along_its_gradient(
    seed: int, length: float, scale: float
) -> None:
    gradients = gradients_of(seed, scale)
    for g, r in zip(gradients, of_length(gradients, length, "tensor"), strict=True):
        assert g is not None
        assert r is not None
        assert lengths([r])[0] == pytest.approx(length, rel=1e-12)
        torch.testing.assert_close(r / length, g / lengths([g])[0], rtol=1e-12, atol=1e-12)


@given(seed=st.integers(0, 10**6), length=st.sampled_from([1e-3, 0.5, 5.0]))
def test_by_all_the_tensors_together_move_by_epsilon_in_proportion(seed: int, length: float) -> None:
    gradients = gradients_of(seed)
    r = of_length(gradients, length, "all")
    assert math.hypot(*lengths(r)) == pytest.approx(length, rel=1e-12)
    shares = [a / b for a, b in zip(lengths(r), lengths(gradients), strict=True)]
    assert max(shares) == pytest.approx(min(shares), rel=1e-12)


@pytest.mark.parametrize("bad", [None, 0.0, math.nan, math.inf, -math.inf])
def test_a_tensor_whose_gradient_is_absent_zero_or_not_a_number_stays_and_the_others_move(bad: float | None) -> None:
    gradients = gradients_of(0)
    good = gradients[0]
    assert good is not None
    if bad is None:
        gradients[1] = None
    else:
        gradients[1] = torch.tensor([0, 0, bad, 0, 0], dtype=torch.float64)
    r = of_length(gradients, 2.0, "tensor")
    assert r[1] is None
    assert lengths(r) == pytest.approx([2.0, 0.0, 2.0], rel=1e-12)


def test_by_all_an_absent_or_zero_gradient_leaves_its_tensor_and_the_others_move_by_epsilon() -> None:
    gradients = [*gradients_of(0), None, torch.zeros(3, dtype=torch.float64)]
    r = of_length(gradients, 2.0, "all")
    assert lengths(r)[3:] == [0, 0]
    assert math.hypot(*lengths(r)) == pytest.approx(2.0, rel=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_by_all_one_gradient_that_is_not_a_number_leaves_every_tensor(bad: float) -> None:
    gradients = [*gradients_of(0), torch.tensor([1.0, bad], dtype=torch.float64)]
    assert of_length(gradients, 2.0, "all") == [None] * 4


@pytest.mark.parametrize("norm", NORMS)
def test_nothing_to_follow_moves_nothing(norm: Norm) -> None:
    assert of_length([], 1.0, norm) == []
    assert of_length([None, torch.zeros(2)], 1.0, norm) == [None, None]


@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.01, 1.0, 100.0]), epsilon=st.sampled_from([0.5, 5.0]))
def test_projection_shortens_what_is_longer_than_epsilon_and_nothing_else(
    seed: int, scale: float, epsilon: float
) -> None:
    r = [*gradients_of(seed, scale), None]
    for before, after in zip(r, project(r, epsilon, "tensor"), strict=True):
        if before is None or lengths([before])[0] <= epsilon:
            assert after is before
        else:
            assert after is not None
            assert lengths([after])[0] == pytest.approx(epsilon, rel=1e-12)
            torch.testing.assert_close(after / epsilon, before / lengths([before])[0], rtol=0, atol=1e-12)
    together = project(r, epsilon, "all")
    assert math.hypot(*lengths(together)) == pytest.approx(min(epsilon, math.hypot(*lengths(r))), rel=1e-12)


def test_in_a_sum_an_absent_tensor_counts_as_zero() -> None:
    one, two = torch.ones(2), 2 * torch.ones(2)
    total = add([one, None, two, None], [two, one, None, None])
    assert [None if r is None else r.tolist() for r in total] == [[3.0, 3.0], [1.0, 1.0], [2.0, 2.0], None]


def state_of(parameters: list[nn.Parameter]) -> list[tuple[int, Tensor, bool]]:
    return [(p.data_ptr(), p.detach().clone(), p.requires_grad) for p in parameters]


def assert_untouched(parameters: list[nn.Parameter], before: list[tuple[int, Tensor, bool]]) -> None:
    for p, (pointer, value, requires_grad) in zip(parameters, before, strict=True):
        assert p.data_ptr() == pointer
        assert torch.equal(p, value)
        assert p.requires_grad == requires_grad


def test_parameters_are_moved_inside_and_the_very_same_outside() -> None:
    # Numbers of such unlike size that adding and subtracting would not give the first back.
    parameters = [
        nn.Parameter(torch.tensor([1e-8, 1.0, 1e8])),
        nn.Parameter(torch.randn(4)),
        nn.Parameter(torch.ones(2)),
    ]
    before = state_of(parameters)
    r = [torch.tensor([1e7, 1 / 3, -1.1]), torch.randn(4), None]
    with perturbed(parameters, r):
        for p, (_, value, _), moved in zip(parameters, before, r, strict=True):
            assert torch.equal(p, value if moved is None else value + moved)
    assert_untouched(parameters, before)


def fail_unless(so: bool) -> None:
    assert so
    raise ZeroDivisionError


def test_an_exception_passes_through_and_leaves_all_as_before() -> None:
    parameter, module = nn.Parameter(torch.randn(3)), nn.Linear(2, 3)
    before = state_of([parameter])
    expected = module(torch.ones(2))
    with pytest.raises(ZeroDivisionError), perturbed([parameter, module], [torch.ones(3), torch.ones(3)]):
        fail_unless(torch.equal(module(torch.ones(2)), expected + 1))
    assert_untouched([parameter], before)
    assert torch.equal(module(torch.ones(2)), expected)


def test_perturbations_nest() -> None:
    parameter = nn.Parameter(torch.randn(3))
    before = state_of([parameter])
    with perturbed([parameter], [torch.ones(3)]):
        inner = state_of([parameter])
        with perturbed([parameter], [torch.ones(3)]):
            assert torch.equal(parameter, before[0][1] + 1 + 1)
        assert_untouched([parameter], inner)
    assert_untouched([parameter], before)


def test_a_watched_modules_gradient_is_that_of_its_output() -> None:
    module, weight = nn.Linear(2, 3), torch.tensor([1.0, -2.0, 0.5])
    with watched([module]) as variables:
        output = module(torch.ones(2))
        (output * weight).sum().backward()
    (zeros,) = variables[0]
    assert not zeros.any()
    assert torch.equal(zeros.grad, weight)  # type: ignore[arg-type]
    assert torch.equal(output, module(torch.ones(2)))
    assert not module._forward_hooks


def test_a_module_that_gives_no_tensor_or_runs_twice_is_refused_with_its_name() -> None:
    with pytest.raises(TypeError, match="LSTM gives tuple"), watched([lstm := nn.LSTM(2, 3)]):
        lstm(torch.ones(1, 2))
    with pytest.raises(ValueError, match="Linear runs twice"), watched([linear := nn.Linear(2, 2)]):
        linear(linear(torch.ones(2)))
    assert not lstm._forward_hooks
    assert not linear._forward_hooks


def test_frozen_parameters_get_no_gradient_inside_and_are_as_before_outside() -> None:
    linear, never = nn.Linear(2, 2), nn.Parameter(torch.ones(2), requires_grad=False)
    weight = dict(linear.named_parameters())["weight"]
    parameters = [*linear.parameters(), never]
    before = state_of(parameters)
    with frozen([weight, never]):
        linear(never).sum().backward()
    assert weight.grad is None
    assert linear.bias.grad is not None
    assert_untouched(parameters, before)
    with pytest.raises(ZeroDivisionError), frozen(parameters):
        raise ZeroDivisionError
    assert_untouched(parameters, before)


def read_then_fail(model: nn.Module, x: Tensor) -> None:
    before = {name: value.clone() for name, value in model.named_buffers()}
    model(x)
    assert all(not torch.equal(value, before[name]) for name, value in model.named_buffers() if "running" in name)
    raise ZeroDivisionError


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(3), nn.InstanceNorm1d(3, track_running_stats=True)])
def test_running_statistics_are_kept_to_the_bit_also_through_an_exception(norm: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(3, 3), norm).train()
    x = torch.randn(4, 3) if isinstance(norm, nn.BatchNorm1d) else torch.randn(2, 3, 3)
    model(x)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ZeroDivisionError), statistics_kept(model):
        read_then_fail(model, x + 5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
