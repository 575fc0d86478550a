"""`kill -9` at any moment of a study, encoding included: resumed, it ends with the bits of one that was left alone."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from sacl.experiment.recipe import load_recipe
from sacl.experiment.study import study

COMMAND = Path(__file__).parents[1] / "fixtures" / "killed.py"
SETTINGS = ["training.epochs=4", "training.patience=4", "model.hidden_size=32"]
SEEDS = [0, 1]
MOST_SECONDS = 240
"""Of a whole run, on a machine that has much else to do."""
MOST_AFTER = 2.0
"""Seconds into a step: on such a machine the whole run may have taken long over what now is soon done."""
TRIES = 8
"""Until a kill falls into the step that it is meant for."""


def heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def running(
    home: Path, *options: str, jobs: int = 1, kill: dict[str, Any] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """`sacl train sample` into home/run, with its features in home/cache and its notes in home/notes."""
    shutil.rmtree(home / "notes", ignore_errors=True)
    (home / "notes").mkdir(parents=True)
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    command = [sys.executable, str(COMMAND), "train", "sample", "--seeds", ",".join(map(str, SEEDS)), *settings]
    process = subprocess.Popen(
        [*command, "--out", str(home / "run"), "--cache", str(home / "cache"), "--jobs", str(jobs), *options],
        env=os.environ | {"NOTES": str(home / "notes"), "KILL": json.dumps(kill or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # What was started in the background, these tests for one, hands down to its children that Ctrl-C is ignored.
        preexec_fn=heed_interrupts,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def living(group: int) -> list[str]:
    """The processes of a group that have not ended."""
    stats = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            stats.append(path.read_text().rpartition(")")[2].split())
    return [state for state, _, of, *_ in stats if int(of) == group and state != "Z"]


def notes(home: Path) -> list[list[list[Any]]]:
    """Of each process, what it noted."""
    return [[json.loads(line) for line in path.read_text().splitlines()] for path in sorted((home / "notes").glob("*"))]


def is_within(home: Path, step: str) -> bool:
    """Whether a process was at such a step, or at one within it, when it noted its last."""
    return any(
        sum(ended is None and name == step for name, _, ended in lines)
        > sum(ended is not None and ended[0] == step for _, _, ended in lines)
        for lines in notes(home)
    )


def left(home: Path) -> dict[str, bytes]:
    """All that a study leaves, but for the record of its machine and the seconds that it took."""
    files = {}
    for folder in ("run", "cache"):
        for path in sorted((home / folder).rglob("*")):
            if path.is_file() and path.name not in {"run.json", ".lock"}:
                content = path.read_bytes()
                if path.name == "result.json":  # its own digest, on the last line, is of the seconds too
                    content = b"\n".join(line for line in content.split(b"\n")[:-2] if b'"seconds"' not in line)
                files[str(path.relative_to(home))] = content
    return files


class Whole:
    """A study that was left alone: what it left, and how often and how long it was at what."""

    def __init__(self, home: Path) -> None:
        self.home = home
        began = time.monotonic()
        with running(home) as process:
            assert process.communicate(timeout=MOST_SECONDS)[1].count("Traceback") == 0
            assert process.returncode == 0
        self.seconds = time.monotonic() - began
        self.left = left(home)
        self.steps: dict[str, list[float]] = {}
        for _, _, ended in notes(home)[0]:
            if ended is not None:
                self.steps.setdefault(ended[0], []).append(ended[1])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(tmp_path_factory.mktemp("whole"))


def killed(
    whole: Whole, home: Path, draw: random.Random, at: str | None, jobs: int, whom: str, attempt: int = 0
) -> str | None:
    """Runs it and kills it, at a random moment of such a step or, with None, of the whole; later attempts, earlier.

    Returns:
        What it was at; None where it had ended before.
    """
    kill = None
    if at is not None:
        # Side by side, each process counts the steps of its own seed.
        nth = draw.randrange(len(whole.steps[at]) // (1 if at in OF_THE_STUDY else jobs))
        after = min(draw.uniform(0, whole.steps[at][nth]), MOST_AFTER) / 2**attempt  # it may take less time now
        kill = {"at": at, "nth": nth + 1, "after": after, "whom": whom}
    if at is not None and at not in OF_FEATURES:
        shutil.copytree(whole.home / "cache", home / "cache")
    with running(home, jobs=jobs, kill=kill) as process:
        if at is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(draw.uniform(0, whole.seconds))
            with suppress(ProcessLookupError):
                (os.killpg if whom == "all" else os.kill)(process.pid, signal.SIGKILL)
        _, told = process.communicate(timeout=MOST_SECONDS)
        deadline = time.monotonic() + 20
        while living(process.pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not living(process.pid), "its other processes go on"
    assert "Traceback" not in told
    if process.returncode == 0:
        return None
    if whom == "one" and jobs > 1 and at not in OF_THE_STUDY:
        # The process that began it lives, and says what happened.
        assert (process.returncode, told.count("\n")) == (2, 1), told
        assert "--resume" in told
    else:
        assert process.returncode == -signal.SIGKILL
    return " | ".join(sorted(lines[-1][0] for lines in notes(home) if lines))


def assert_resumes_to_the_same(whole: Whole, home: Path, by_command: bool) -> None:
    if by_command:
        with running(home, "--resume") as process:
            _, told = process.communicate(timeout=MOST_SECONDS)
        assert process.returncode == 0, told
    else:
        recipe = load_recipe("sample", [*SETTINGS, f"seeds={SEEDS}"])
        study(recipe, home / "run", cache=home / "cache", jobs=1, resume=True)
    found = left(home)
    assert found.keys() == whole.left.keys()
    for name, content in whole.left.items():
        assert found[name] == content, f"{name} differs"


OF_FEATURES = ("encode", "keep the features")
OF_THE_STUDY = (*OF_FEATURES, "record the run")


def test_killed_at_five_moments_and_resumed_it_gives_the_same_bits(whole: Whole, tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    draw = random.Random(seed)
    for n, (at, jobs, whom) in enumerate(
        [
            ("encode", 1, "all"),
            ("epoch", 1, "all"),
            ("write the checkpoint", 1, "all"),
            ("between seeds and epochs", 2, "first"),
            (None, 1, "all"),
        ]
    ):
        for attempt in range(TRIES):
            home = tmp_path / f"{n}-{attempt}"
            fell = killed(whole, home, draw, at, jobs, whom, attempt)
            print(f"draws of {seed}: to be killed at {at}, {jobs} at a time, {whom}: it was at {fell}")
            if fell is not None and (at is None or is_within(home, at)):
                break
        else:
            pytest.fail(f"of {TRIES} kills meant for {at} none fell there")
        assert_resumes_to_the_same(whole, home, by_command=False)


def told_to_stop(whole: Whole, home: Path, draw: random.Random, at: str, by: signal.Signals) -> bool:
    """Runs it and interrupts it at a random moment of such a step; whether it had not ended before."""
    nth = draw.randrange(len(whole.steps[at]))
    after = min(draw.uniform(0, whole.steps[at][nth]), MOST_AFTER)
    if at not in OF_FEATURES:
        shutil.copytree(whole.home / "cache", home / "cache")
    with running(home, kill={"at": at, "nth": nth + 1, "after": after, "whom": "all", "signal": by}) as process:
        _, told = process.communicate(timeout=MOST_SECONDS)
    if process.returncode == 0:
        return False
    assert process.returncode == 130, told
    assert told == "sacl: interrupted. Completed epochs are kept: go on with the same command and --resume\n"
    assert not list(home.rglob("*.part")), "what it wrote when it was told to stop is still there"
    return True


@pytest.mark.parametrize(("at", "by"), [("encode", signal.SIGINT), ("write the checkpoint", signal.SIGTERM)])
def test_told_to_stop_it_says_one_line_and_resumed_it_gives_the_same_bits(
    whole: Whole, tmp_path: Path, at: str, by: signal.Signals
) -> None:
    seed = random.randrange(10**6)
    print(f"draws of {seed}")
    draw = random.Random(seed)
    for attempt in range(TRIES):
        if told_to_stop(whole, tmp_path / str(attempt), draw, at, by):
            break
    else:
        pytest.fail(f"{TRIES} runs had ended before they were told to stop")
    assert_resumes_to_the_same(whole, tmp_path / str(attempt), by_command=False)


@pytest.mark.soak
def test_told_to_stop_at_thirty_moments_it_gives_the_same_bits(whole: Whole, tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    draw = random.Random(seed)
    stopped = Counter[str]()
    for n in range(30):
        at, by = [*whole.steps][n % len(whole.steps)], draw.choice((signal.SIGINT, signal.SIGTERM))
        home = tmp_path / str(n)
        fell = told_to_stop(whole, home, draw, at, by)
        stopped[at if fell else "it had ended"] += 1
        print(f"{n}: {by.name} at {at}: {'it stopped' if fell else 'it had ended'}", flush=True)
        assert_resumes_to_the_same(whole, home, by_command=False)
        shutil.rmtree(home)
    print(f"draws of {seed}: {dict(stopped)}")


@pytest.mark.soak
@pytest.mark.timeout(2 * 3600)
def test_killed_at_fifty_moments_and_resumed_it_gives_the_same_bits(whole: Whole, tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    draw = random.Random(seed)
    often = {name: len(seconds) for name, seconds in whole.steps.items()}
    print(f"draws of {seed}; a run takes {whole.seconds:.1f} s; it is at each step so often: {often}")
    steps = [None, None, None, *whole.steps]
    kills = 0
    fallen = Counter[str]()
    for n in range(200):
        if kills == 50:
            break
        at, jobs = steps[n % len(steps)], 2 if n % 3 == 0 else 1
        whom = draw.choice(
            ("all", "first", "one") if jobs == 2 and at not in (None, *OF_THE_STUDY) else ("all", "first")
        )
        fell = killed(whole, tmp_path / str(n), draw, at, jobs, whom)
        print(f"{n}: to be killed at {at}, {jobs} at a time, {whom}: it was at {fell}", flush=True)
        assert_resumes_to_the_same(whole, tmp_path / str(n), by_command=True)
        shutil.rmtree(tmp_path / str(n))
        if fell is not None:
            kills += 1
            fallen[fell] += 1
    assert kills == 50
    print("where the kills fell:", *(f"{count:3} {name}" for name, count in fallen.most_common()), sep="\n")
