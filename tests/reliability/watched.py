"""Reads files and tells of each what came of it, what it cost, and what it made the interpreter do.

A script: on its input a JSON list of [name, reader, path], on its output a JSON object a line.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BYTES = 4 * 2**30
"""Of data; far above what is allowed, so that a reader that takes too much is told and not the machine's memory."""
FORBIDDEN = (
    "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pickle.find_class", "socket.connect",
    "socket.getaddrinfo", "socket.gethostbyname", "webbrowser.open", "ctypes.dlopen", "shutil.unpack_archive",
    "os.symlink", "os.link",
)  # fmt: skip
"""Events of Python's audit that no reader of a file gives rise to."""


def readers() -> dict[str, Callable[[Path], Any]]:
    """Imported here, before anything is watched."""
    from sacl.conversation import LabelSet
    from sacl.datasets import load_corpus
    from sacl.datasets.released import read_released
    from sacl.datasets.unpickler import read_pickle
    from sacl.experiment.recipe import load_recipe
    from sacl.features.encoder import Encoder
    from sacl.features.store import FeatureStore
    from sacl.formats import read_conversations
    from sacl.recognizer.sources import load_model
    from sacl.report.predictions import read_predictions
    from sacl.report.robustness import read_robustness
    from sacl.report.runs import read_run
    from sacl.report.scoring import read_map
    from sacl.training.released import import_released

    return {
        "conversations": lambda p: sum(len(c) for c in read_conversations(p)),
        "pickle": read_pickle,
        "released": read_released,
        "checkpoint": lambda p: import_released(p, LabelSet(("joy", "sad"))),
        "model": lambda p: load_model(p, causal=False, revision=None, trust_code=False),
        "recipe": lambda p: load_recipe(str(p)),
        "map": read_map,
        "features": FeatureStore.open,
        "predictions": read_predictions,
        "robustness": read_robustness,
        "run": read_run,
        "corpus": load_corpus,
        "encoder": lambda p: Encoder.load(p).encode(["the sunny cake"]),
        "named encoder": lambda p: Encoder.load(p.read_text()),
        "named model": lambda p: load_model(p.read_text(), causal=False, revision=None, trust_code=False),
        "named conversations": lambda p: list(read_conversations(p.read_text())),
        "named recipe": lambda p: load_recipe(p.read_text()),
    }


def peak() -> int:
    """Most memory of this process since it was last set back, MiB."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) >> 10


def main() -> None:
    from sacl.errors import SaclError

    known, seen, watching = readers(), list[str](), False
    sys.path.append(str(Path(__file__).parent))  # nothing is imported from where files lie

    def hook(event: str, arguments: Any) -> None:
        if watching and event in FORBIDDEN:
            seen.append(event)

    sys.addaudithook(hook)
    resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES))
    for name, reader, path in json.load(sys.stdin):
        seen.clear()
        Path("/proc/self/clear_refs").write_text("5")  # the peak is that of this file
        before, started, watching = peak(), time.process_time(), True
        try:
            known[reader](Path(path))
            outcome = "read"
        except SaclError as error:
            outcome = f"SaclError: {error}"
        except BaseException as error:
            outcome = f"{type(error).__name__}: {error}"
        watching = False
        told = {"name": name, "outcome": outcome[:20_000], "length": len(outcome), "did": sorted(set(seen))}
        print(json.dumps(told | {"seconds": time.process_time() - started, "mib": peak() - before}), flush=True)


if __name__ == "__main__":
    main()
