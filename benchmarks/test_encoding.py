"""Texts to vectors and to emotions."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from figures import Row, spread

HERE = Path(__file__).parent
OTHER, ADOPTED, PARTS = 0.05, 1.5, ("reading", "tokenising", "recogniser", "naming and writing")


def measured(*command: str, **environment: str) -> dict[str, Any]:
    """What a script prints; on its own number of threads, whatever the environment says."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OMP_")}
    words = [sys.executable, str(HERE / command[0]), *command[1:]]
    done = subprocess.run(words, capture_output=True, text=True, env={**kept, **environment}, check=True)
    return dict(json.loads(done.stdout))


@pytest.mark.timeout(3600)
def test_no_equal_way_to_encode_is_much_faster_than_the_shipped_one(row: Row) -> None:
    figures = measured("encoding.py", "one")
    texts, seconds = figures["texts"], figures["seconds"]
    of = f"{texts} distinct texts {figures['source']}, {figures['tokens'] / texts:.1f} tokens each"
    row(f"minilm, {of}, one thread, texts a second of the processor", spread(rates(texts, seconds["as shipped"]), 0))
    waste, arrival = (f"{100 * figures['padding'][name]:.1f}" for name in ("as shipped", "64 texts as they come"))
    row(f"padding in percent of the tokens ({arrival} in batches of 64 as they come)", waste)
    for name, others in list(seconds.items())[1:]:
        ratios = [b / a for a, b in zip(seconds["as shipped"], others, strict=True)]
        apart = figures["apart"][name]
        equal = apart <= 1e-3
        row(
            f"{name}, times as long (numbers up to {figures['largest']:.1f} differ by {apart:.0e} at most)",
            spread(ratios),
            f"more than {1 / ADOPTED:.2f}" if equal else "not equal",
        )
        assert not equal or statistics.median(ratios) > 1 / ADOPTED
    own = [name for name in seconds if name.startswith(("multiplied", "at most", "attention"))]
    assert max(figures["apart"][name] for name in own) < 1e-5


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("policy", ["passive", "active"])
def test_two_threads_beside_one(row: Row, policy: str) -> None:
    figures = measured("encoding.py", "two", OMP_WAIT_POLICY=policy)
    assert figures["apart"]["two threads"] < 1e-5
    one, two = figures["seconds"]["one thread"], figures["seconds"]["two threads"]
    ratios = [b / a for a, b in zip(one, two, strict=True)]
    what = f"minilm, {figures['texts']} texts, two threads, OMP_WAIT_POLICY={policy}"
    row(f"{what}, times as long as one thread by the clock", spread(ratios))


@pytest.mark.timeout(3600)
def test_what_is_not_the_encoder_is_a_twentieth_of_it_at_most(row: Row) -> None:
    figures = measured("prediction.py")
    runs = figures["distinct"]
    what = f"{figures['utterances']} distinct utterances in {figures['conversations']} conversations"
    row(
        f"file to emotions, {what}, one thread, utterances a second of the processor",
        spread(rates(figures["utterances"], [run["total"] for run in runs]), 0),
    )
    other = [sum(run[part] for part in PARTS) / run["encoder"] for run in runs]
    row("the same, what is not the encoder, percent of the encoder", spread([100 * v for v in other], 1), "5")
    for part in PARTS:
        row(f"of it {part}", spread([100 * run[part] / run["encoder"] for run in runs]))
    ratios = [b["encoder"] / a["encoder"] for a, b in zip(runs, figures["twice"], strict=True)]
    row("every conversation twice in the file, the encoder's time, times as long", spread(ratios), "1.2")
    assert statistics.median(other) <= OTHER
    assert statistics.median(ratios) < 1.2


def rates(number: int, seconds: list[float]) -> list[float]:
    return [number / value for value in seconds]
