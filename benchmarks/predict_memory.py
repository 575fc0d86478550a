"""Memory of `sacl predict` against how much of its input is read, in a process of its own.

    python benchmarks/predict_memory.py 200        a file of 200 MB of JSONL, read and predicted

The texts are few and come again and again, and the weights are random: an encoder encodes a repeated text once a
chunk, so that reading, the model and writing take most of the time. Linux only: it looks into /proc.

Prints one JSON document: resident memory in MiB at the bytes read so far, its peak, and the slope.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from sacl.conversation import LabelSet
from sacl.features.encoder import Encoder
from sacl.model.build import build_model
from sacl.settings import FeatureSettings, ModelSettings
from sacl.training.trained import MODEL_FILE, TrainedModel

MIB = 2**20
TURNS = 20
EVERY_SECONDS = 0.2
WARM = 0.15
"""Share of the file after which the slope is taken: a process grows to its working size first."""
TEXTS = [
    "I waited for an hour at the gate, and when I finally rang you up, nobody knew that I was coming at all.",
    "That is wonderful news, the whole street has been talking about nothing else since the letter arrived.",
    "Could you send me the second page again, please? The first one is fine, but the table is cut off below.",
    "I am sorry that it took so long, the part had to be ordered twice since the first one came broken.",
    "No, I told you three times already that the invoice has the wrong name on it, and nothing happens.",
    "Then we are done, I suppose. Thank you for your patience, and give my regards to the others over there.",
]


def write_chats(path: Path, megabytes: float) -> None:
    """JSONL of about so many millions of bytes: conversations of 20 turns, each with an id of its own."""
    with path.open("w", encoding="utf-8") as out:
        written = number = 0
        while written < megabytes * 1e6:
            turns = [
                {"speaker": "Ann" if i % 2 else "Bo", "text": TEXTS[(number + i) % len(TEXTS)]} for i in range(TURNS)
            ]
            written += out.write(json.dumps({"id": f"chat-{number}", "utterances": turns}) + "\n")
            number += 1


def write_model(folder: Path) -> Path:
    """The size of the recipe `meld` on MiniLM, with random weights."""
    settings, labels = ModelSettings(), LabelSet(("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"))
    encoder = Encoder.load()
    model = build_model(settings, 384, len(labels))
    trained = TrainedModel(model, settings, labels, 384, FeatureSettings(), encoder.identity, None, {})
    trained.save(folder / MODEL_FILE)
    return folder / MODEL_FILE


def measured(megabytes: float) -> dict[str, Any]:
    """See the module."""
    with tempfile.TemporaryDirectory() as folder:
        chats = Path(folder).resolve() / "chats.jsonl"
        write_chats(chats, megabytes)
        model = write_model(Path(folder))
        command = [sys.executable, "-c", "from sacl.cli import main; main()", "predict", str(model), str(chats)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        started = time.perf_counter()
        process = subprocess.Popen([*command, "--format", "jsonl"], stdout=subprocess.DEVNULL, env=environment)
        samples = []
        while process.poll() is None:
            sample = _sample(process.pid, chats)
            if sample is not None:
                samples.append(sample)
            time.sleep(EVERY_SECONDS)
        if process.returncode:
            raise RuntimeError(f"sacl predict ended with {process.returncode}")
        seconds = time.perf_counter() - started
        size = chats.stat().st_size
    late = np.array([(read / MIB, rss) for read, rss in samples if read > WARM * size])
    slope = float(np.polyfit(late[:, 0], late[:, 1], 1)[0])
    return {
        "mib": size / MIB,
        "seconds": seconds,
        "peak_mib": max(rss for _, rss in samples),
        "slope_mib_per_100_mib": 100 * slope,
        "samples": [[round(read / MIB, 1), round(rss, 1)] for read, rss in samples[:: max(1, len(samples) // 20)]],
    }


def _sample(pid: int, file: Path) -> tuple[int, float] | None:
    """Bytes that a process has read of a file, and its resident memory in MiB; None before it opens the file."""
    here = Path(f"/proc/{pid}")
    try:
        for link in (here / "fd").iterdir():
            if link.readlink() == file:
                position = int((here / "fdinfo" / link.name).read_text().split()[1])
                pages = int((here / "statm").read_text().split()[1])
                return position, pages * os.sysconf("SC_PAGE_SIZE") / MIB
    except (OSError, IndexError, ValueError):  # it ended, or closed the file, as we looked
        pass
    return None


if __name__ == "__main__":
    print(json.dumps(measured(float(sys.argv[1])), indent=1))
