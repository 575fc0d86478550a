"""Every kind of file that is read, cut short at every length and with single bits flipped.

It is refused, or read as what it now says; never with another error. Where a digest or a checksum can tell, it is
refused, or gives what the whole file gives.
"""

from __future__ import annotations

import logging
import random
import runpy
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sacl.errors import SaclError

EXAMPLES = runpy.run_path(str(Path(__file__).parents[1] / "fixtures" / "examples.py"))["EXAMPLES"]
CUTS, FLIPS, OF_SLOW = 1500, 100, 20
"""Damages of a file; all of them where there are no more, and in the soak up to a hundred times as many."""


def cuts(content: bytes) -> list[bytes]:
    return [content[:length] for length in range(len(content))]


def flips(content: bytes, most: int, draw: random.Random) -> Iterator[bytes]:
    bits = 8 * len(content)
    for bit in draw.sample(range(bits), min(most, bits)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        yield bytes(damaged)


def tried(name: str, folder: Path, times: int, draw: random.Random) -> Counter[str]:
    """How often a damaged file was refused, gave the same, or something else."""
    example = EXAMPLES[name]
    path = example.write(folder)
    whole, content = example.read(path), path.read_bytes()
    shorter = cuts(content)
    many = (OF_SLOW if example.slow else CUTS) * times
    # Every length of a small file; of a larger one its ends, where most goes wrong, and others as they are drawn.
    if len(shorter) > many:
        ends = [*shorter[:5], *shorter[-5:]]
        shorter = ends + draw.sample(shorter[5:-5], max(0, min(many - len(ends), len(shorter) - len(ends))))
    outcomes = Counter[str]()
    for damaged in (*shorter, *flips(content, (OF_SLOW if example.slow else FLIPS) * times, draw)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(damaged)
        try:
            outcome = "the same" if example.read(path) == whole else "something else"
        except SaclError:
            outcome = "refused"
        except BaseException as error:
            kept = folder / "damaged"
            kept.write_bytes(damaged)
            raise AssertionError(f"{type(error).__name__} from the file {kept}") from error
        outcomes[outcome] += 1
        assert outcome != "something else" or not example.hashed, f"{damaged!r} gives another result in silence"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    assert example.read(path) == whole
    return outcomes


@pytest.fixture(autouse=True)
def _unlogged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)  # a cache that is made again says so each time


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_damaged_file_is_refused_or_read_and_no_digest_is_passed_over(name: str, tmp_path: Path) -> None:
    outcomes = tried(name, tmp_path, 1, random.Random(name))
    assert outcomes["refused"] or name.startswith(("cache", "run going on")) or name == "encoder, finetuned.json"


@pytest.mark.soak
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_hundred_times_as_many_damages(name: str, tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"draws of {seed}: {name}: {dict(tried(name, tmp_path, 100, random.Random(seed)))}")
