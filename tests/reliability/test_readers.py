"""Every reader that is fuzzed, in short: whole inputs are read, and changed ones are read or refused."""

from __future__ import annotations

import contextlib
import runpy
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacl.errors import SaclError

FUZZ = Path(__file__).parents[2] / "fuzz"
REFUSED = {
    "encoder-settings": "code to fetch and run",
    "setting": "published.source",
    "whatsapp-dates": "its date or time",
}
"""Inputs to begin from that are at fault on purpose."""

if not FUZZ.is_dir():
    pytest.skip("there are no fuzzers beside these tests", allow_module_level=True)
sys.path.insert(0, str(FUZZ))
try:
    READERS: dict[str, Any] = runpy.run_path(str(FUZZ / "readers.py"))["readers"]()
    changed = runpy.run_path(str(FUZZ / "changes.py"))["changed"]
finally:
    sys.path.remove(str(FUZZ))


@pytest.mark.parametrize("name", READERS)
def test_what_a_fuzzer_begins_from_is_whole(name: str) -> None:
    refused = []
    for seed in READERS[name].seeds:
        try:
            READERS[name].read(seed)
        except SaclError as error:
            refused.append(str(error))
    if name in REFUSED:
        assert REFUSED[name] in refused.pop()
    assert not refused


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=25)
@given(which=st.integers(0, 10), random=st.integers(0, 2**32))
def test_a_changed_input_is_read_or_refused_by_an_error_of_our_own(name: str, which: int, random: int) -> None:
    reader = READERS[name]
    seed = reader.seeds[which % len(reader.seeds)]
    with contextlib.suppress(SaclError):
        reader.read(changed(seed, Random(random)))
