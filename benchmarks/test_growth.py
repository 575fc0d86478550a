"""Growth with the length of a conversation, and with the utterances of a batch."""

from __future__ import annotations

import sys

import pytest
from figures import Row
from growth import Point, exponent, kib_each, measured

LINEAR, QUADRATIC = 1.15, 2.2
ADDED_MIB = 200
"""Above what a small batch takes; the whole matrix of similarities of 20,000 utterances is 1,526 MiB."""

linux = pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is another elsewhere")


def told(points: list[Point]) -> str:
    """Sizes with seconds of the processor."""
    return ", ".join(f"{p.size:,}: {p.seconds:.2f} s" for p in points)


@linux
@pytest.mark.timeout(900)
@pytest.mark.parametrize("speakers", [2, 20, 1000])
@pytest.mark.parametrize(("kind", "what"), [("read", "reading"), ("train", "a training step, no contrastive loss, on")])
def test_a_conversation_costs_time_and_memory_in_proportion_to_its_turns(
    kind: str, what: str, speakers: int, row: Row
) -> None:
    points = measured(kind, str(speakers))
    time, memory = exponent(points, "seconds"), exponent(points, "mib")
    row(f"{what} one conversation of {speakers:,} speakers ({told(points)}), exponent", f"{time:.2f}", f"{LINEAR:g}")
    row(f"the same, exponent of memory ({kib_each(points):.0f} KiB a turn)", f"{memory:.2f}", f"{LINEAR:g}")
    assert time < LINEAR
    assert memory < LINEAR


@linux
@pytest.mark.timeout(900)
@pytest.mark.parametrize("loss", ["nt_xent", "sup_con"])
def test_a_contrastive_loss_takes_the_matrix_of_similarities_in_pieces(loss: str, row: Row) -> None:
    points = measured(loss)
    time = exponent(points, "seconds")
    row(f"`{loss}` and its gradient ({told(points)}), exponent", f"{time:.2f}", f"{QUADRATIC:g}")
    row(f"the same, memory at {points[-1].size:,} utterances, MiB", f"{points[-1].mib:.0f}", f"{ADDED_MIB}")
    assert time < QUADRATIC
    assert points[-1].mib < ADDED_MIB


@linux
@pytest.mark.timeout(900)
def test_memory_of_a_training_step_is_linear_with_the_contrastive_loss_too(row: Row) -> None:
    points = measured("soft", "20")
    memory = exponent(points, "mib")
    what = f"a training step with it on one conversation of 20 speakers ({told(points)}), exponent of memory"
    row(f"{what} ({kib_each(points):.0f} KiB a turn)", f"{memory:.2f}", f"{LINEAR:g}")
    assert memory < LINEAR
