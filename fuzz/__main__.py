"""Coverage-guided fuzzing of every reader: `python fuzz --seconds 60`, or `--inputs 100000`, of all or of those named.

What was found is printed with its input and how to run it again: `python fuzz READER --input FILE`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

from changes import changed

SECONDS_AN_INPUT, MOST_MEGABYTES, LONGEST = 30, 2048, 8192
"""Of one input: time; memory of its process, PyTorch's own 400 or so included; bytes."""


def main() -> int:
    """0 where nothing was found."""
    wanted = argparse.ArgumentParser("python fuzz", description=__doc__)
    wanted.add_argument("readers", nargs="*", help="by default all")
    wanted.add_argument("--seconds", type=int, default=0, help="of each reader")
    wanted.add_argument("--inputs", type=int, default=0, help="of each reader; with --seconds whichever comes first")
    wanted.add_argument("--seed", type=int, default=0, help="the same inputs every time; without one, others")
    wanted.add_argument("--jobs", type=int, default=2, help="readers at a time")
    wanted.add_argument("--found", type=Path, default=Path("build/fuzz-found"), help="where inputs go that break one")
    wanted.add_argument("--input", type=Path, help="run one reader on this file alone")
    wanted.add_argument("--within", type=Path, help=argparse.SUPPRESS)
    given = wanted.parse_args()
    if given.within:
        return _fuzz(given.readers[0], given.within, given.seconds, given.inputs, given.seed)
    if given.input:
        return _again(given.readers[0], given.input)
    if not given.seconds and not given.inputs:
        wanted.error("say how long: --seconds 60, or --inputs 100000")
    try:
        import atheris  # noqa: F401
    except ImportError:
        print("fuzz: atheris is not installed (the extra `fuzz`; it has no build for this Python or machine). Skipped")
        return 0
    from readers import readers

    unknown = [name for name in given.readers if name not in readers()]
    if unknown:
        wanted.error(f"there is no reader {unknown[0]}; there are: {', '.join(readers())}")
    print(f"{'reader':<20}{'inputs':>9}{'a second':>10}{'covered':>9}{'MB':>6}  outcome", flush=True)
    with ThreadPoolExecutor(given.jobs) as pool:
        ended = [
            pool.submit(_watched, name, given.seconds, given.inputs, given.seed, given.found)
            for name in given.readers or readers()
        ]
        return 1 if sum(not one.result() for one in ended) else 0


def _watched(name: str, seconds: int, inputs: int, seed: int, found: Path) -> bool:
    """One reader in a process of its own; a line of the table. Whether nothing was found."""
    with tempfile.TemporaryDirectory(prefix="sacl-fuzz-") as folder:
        limits = ["--seconds", str(seconds), "--inputs", str(inputs), "--seed", str(seed), "--within", folder]
        done = subprocess.run(
            [sys.executable, __file__, name, *limits],
            capture_output=True,
            text=True,
            errors="replace",
            # The order of sets decides what is covered, and so what comes next.
            env=os.environ | ({"PYTHONHASHSEED": str(seed)} if seed else {}),
        )
        said = done.stdout + done.stderr
        stats = {key: re.search(rf"stat::{key}:\s+(\d+)", said) for key in _STATS}
        counts = [int(match[1]) if match else 0 for match in stats.values()]
        covered = re.findall(r"cov: (\d+)", said)
        outcome = "nothing found" if done.returncode == 0 else f"BROKEN (exit {done.returncode})"
        line = f"{name:<20}{counts[0]:>9}{counts[1]:>10}{covered[-1] if covered else 0:>9}{counts[2]:>6}  {outcome}"
        print(line, flush=True)
        if done.returncode:
            _tell(name, said, Path(folder), found)
    return done.returncode == 0


_STATS = ("number_of_executed_units", "average_exec_per_sec", "peak_rss_mb")


def _tell(name: str, said: str, folder: Path, found: Path) -> None:
    """The end of what the process said, the input, and how to run it again."""
    lines = [line for line in said.splitlines() if not re.match(r"#\d+|INFO:|stat::|NEW_FUNC|Dictionary", line)]
    print("\n".join(f"    {line}" for line in lines[-30:]))
    for artifact in sorted(folder.glob("input-*")):
        found.mkdir(parents=True, exist_ok=True)
        kept = found / f"{name}-{artifact.name.removeprefix('input-')}"
        kept.write_bytes(artifact.read_bytes())
        print(f"    the input: {kept.read_bytes()[:300]!r}\n    again: python fuzz {name} --input {kept}", flush=True)


def _again(name: str, path: Path) -> int:
    from readers import readers

    from sacl.errors import SaclError

    try:
        print(f"read: {readers()[name].read(path.read_bytes())!r:.200}")
    except SaclError as error:
        print(f"refused: {error}")
    return 0


def _fuzz(name: str, folder: Path, seconds: int, inputs: int, begin_with: int) -> int:
    """In a process of its own, since libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=["sacl"], enable_loader_override=False):
        from readers import readers

        from sacl.errors import SaclError

        reader = readers()[name]

        def one(data: bytes) -> None:
            with contextlib.suppress(SaclError):
                reader.read(data)

        for seed in reader.seeds:  # what is imported within functions is instrumented too
            one(seed)
    corpus = folder / "corpus"
    corpus.mkdir()
    for i, seed in enumerate(reader.seeds):
        (corpus / str(i)).write_bytes(seed)
    words = {word for seed in reader.seeds for word in re.findall(rb"\w{2,20}|[^\w\s]{1,4}", seed)}
    entries = ("".join(f"\\x{byte:02x}" for byte in word) for word in sorted(words)[:300])
    (folder / "words").write_text("".join(f'"{entry}"\n' for entry in entries))
    flags = {
        "max_total_time": seconds,
        "runs": inputs or -1,
        "seed": begin_with,
        "timeout": SECONDS_AN_INPUT,
        "rss_limit_mb": MOST_MEGABYTES,
        "max_len": LONGEST,
        "dict": folder / "words",
        "artifact_prefix": folder / "input-",
        "print_final_stats": 1,
    }

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        return atheris.Mutate(data, most) if seed % 2 else changed(data, Random(seed))[:most]

    arguments = [sys.argv[0], *(f"-{key}={value}" for key, value in flags.items()), str(corpus)]
    atheris.Setup(arguments, one, custom_mutator=mutated)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
