"""The server under load, from another process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from figures import Row

SECONDS = 5


@pytest.mark.timeout(900)
def test_requests_of_several_clients_are_read_together(row: Row) -> None:
    pytest.importorskip("fastapi", reason="fastapi is not installed (extra serve)")
    command = [sys.executable, str(Path(__file__).parent / "serve.py"), str(SECONDS)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    lines = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    rates: dict[tuple[str, str, str], float] = {}
    for kind, clients, batches, rate, median, late in lines:
        rates[kind, clients, batches] = float(rate)
        what = "a conversation of 6 turns" if kind == "conversation" else "a live turn"
        told = "read together" if batches == "across clients" else "one after another"
        row(
            f"{what}, {clients} clients, {told}: requests a second; median and 99th percentile, ms",
            f"{rate}; {median}, {late}",
        )
    # Turns of one conversation are encoded together anyway: there is less to gain.
    assert rates["live turn", "32", "across clients"] > rates["live turn", "32", "none"]
