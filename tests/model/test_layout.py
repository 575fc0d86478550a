"""The layouts that attention and recurrence compute in."""

from __future__ import annotations

import pytest
import torch

from sacl.model.baselines.layout import Grid, time_steps


def test_grid_takes_back_what_it_spread_and_leaves_zeros_elsewhere() -> None:
    lengths = (2, 5, 1)
    flat = torch.randn(8, 3, dtype=torch.float64)
    grid = Grid(lengths, flat.device)
    table = grid.spread(flat)
    for row, part in zip(table, flat.split(lengths), strict=True):
        assert torch.equal(row[: len(part)], part)
        assert not row[len(part) :].any()
    assert torch.equal(grid.collect(table), flat)
    assert grid.position.tolist() == [0, 1, 0, 1, 2, 3, 4, 0]


def test_attention_weights_are_zero_beyond_the_conversation_and_later_if_causal() -> None:
    grid = Grid((2, 3), torch.device("cpu"))
    scores = torch.randn(2, 4, 3, 3, dtype=torch.float64) * 50
    free, causal = grid.softmax(scores, causal=False), grid.softmax(scores, causal=True)
    assert not free[0, :, :, 2].any()
    assert not causal.triu(1).any()
    torch.testing.assert_close(free.sum(-1), torch.ones(2, 4, 3, dtype=torch.float64))
    torch.testing.assert_close(causal.sum(-1), torch.ones(2, 4, 3, dtype=torch.float64))


@pytest.mark.parametrize("backwards", [False, True])
def test_time_steps_read_every_conversation_in_its_order(backwards: bool) -> None:
    lengths = (3, 1, 5, 3)
    steps = time_steps(lengths, torch.device("cpu"), backwards=backwards)
    read = torch.stack([torch.nn.functional.pad(rows, (0, 4 - len(rows)), value=-1) for rows in steps], 1)
    expected = [[4, 5, 6, 7, 8], [0, 1, 2], [9, 10, 11], [3]]
    found = [[r for r in row if r >= 0] for row in read.tolist()]
    assert found == [row[::-1] if backwards else row for row in expected]
