"""Ways to encode texts by minilm, timed in turns in a process of their own; every other way beside the shipped one.

    python benchmarks/encoding.py one [TEXTS]     rivals on one thread, in seconds of the processor
    python benchmarks/encoding.py two [TEXTS]     one and two threads, in seconds of the clock

ONNX Runtime and OpenVINO take part where they, onnx and onnxscript are installed. Prints one JSON document.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import json
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sacl.datasets import load_corpus
from sacl.errors import DataError
from sacl.features import Encoder
from sacl.features import encoder as shipped

TIMES, TEXTS, FEW = 5, 1500, 200
NEVER = sys.maxsize
WORDS = (
    "you I we they he she it this that what who where when why how is are was were do did have had will would can not "
    "never always again here there now then so and but or if because good bad late early old new little great sure "
    "right wrong come go said told know think want need like love hate wait see look listen give take make leave stay "
    "day night home door dinner coffee phone money friend sister party work thing time way"
)

Way = Callable[[], np.ndarray]


def texts(number: int) -> tuple[list[str], str]:
    """Distinct utterances of MELD's training split where it is at hand, else as many made up; and which."""
    draw = random.Random(0)
    try:
        distinct = list(dict.fromkeys(u.text or "" for c in load_corpus("meld")["train"] for u in c.utterances))
    except DataError:
        made_up: dict[str, None] = {}
        while len(made_up) < number:  # as many words as MELD's utterances have tokens: 13 in the mean, 11 at the median
            words = min(60, max(1, round(draw.lognormvariate(2.35, 0.6))))
            made_up[" ".join(draw.choices(WORDS.split(), k=words))] = None
        return list(made_up), "made-up texts as long as MELD's"
    return draw.sample(distinct, number), "of MELD's training split"


@contextmanager
def with_(**changes: Any) -> Iterator[None]:
    """The shipped way with other settings, batches or forward pass."""
    places = {name: Encoder if name == "_forward" else shipped for name in changes}
    before = {name: vars(place)[name] for name, place in places.items()}
    for name, place in places.items():
        setattr(place, name, changes[name])
    try:
        yield
    finally:
        for name, place in places.items():
            setattr(place, name, before[name])


def arrival(lengths: list[int], batch_size: int) -> Iterator[list[int]]:
    """Batches of 64 as the texts come."""
    yield from (list(range(i, min(i + 64, len(lengths)))) for i in range(0, len(lengths), 64))


def on_one_thread(encoder: Encoder, given: list[str]) -> dict[str, Way]:
    def way(batch_size: int = 256, of: Encoder = encoder, **changes: Any) -> Way:
        def run() -> np.ndarray:
            with with_(**changes):
                return of.encode(given, batch_size=batch_size)

        return run

    def other(model: Any) -> Encoder:
        twin = copy.copy(encoder)
        twin.__dict__["model"] = model
        return twin

    eager = copy.deepcopy(encoder.model)
    eager.set_attn_implementation("eager")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is said to move to another package
        int8 = torch.ao.quantization.quantize_dynamic(copy.deepcopy(encoder.model), {torch.nn.Linear}, torch.qint8)

    def bfloat16() -> np.ndarray:
        forward = Encoder._forward

        def cast(self: Encoder, tokens: list[torch.Tensor]) -> np.ndarray:
            with torch.autocast("cpu", torch.bfloat16):
                return forward(self, tokens)

        with with_(_PACKED=NEVER, _forward=cast):
            return encoder.encode(given)

    ways = {
        "as shipped": way(),
        "multiplied by MKL": way(_PACKED=NEVER),
        "multiplied by MKL, cut by tokens and 64 texts alone": way(64, _PACKED=NEVER, _PASS=NEVER),
        "multiplied by MKL, 64 texts as they come": way(_PACKED=NEVER, _batches=arrival),
        "at most 512 tokens a pass": way(_TOKENS=512),
        "at most 4096 tokens a pass": way(_TOKENS=4096),
        "attention written out": way(of=other(eager)),
        "bfloat16 by autocast": bfloat16,
        "8-bit integers, dynamic": way(of=other(int8), _PACKED=NEVER),
    }
    if all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript")):
        for name, forward in exported(eager).items():
            ways[name] = way(_PACKED=NEVER, _forward=forward)
    return ways


def exported(model: Any) -> dict[str, Any]:
    """Forward passes of what is installed of ONNX Runtime and OpenVINO, on one thread."""

    class Hidden(torch.nn.Module):
        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> Any:
            return model(input_ids=ids, attention_mask=mask).last_hidden_state

    def passing(run: Callable[[list[np.ndarray]], np.ndarray]) -> Any:
        def forward(self: Encoder, tokens: list[torch.Tensor]) -> np.ndarray:
            ids = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True).numpy()
            mask = np.arange(ids.shape[1]) < np.array([len(t) for t in tokens])[:, None]
            hidden = run([ids, mask.astype(np.int64)])
            return np.asarray((hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True), np.float32)

        return forward

    def first(network: Any, given: list[np.ndarray]) -> Any:
        return network(given)[0]

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = str(Path(folder) / "minilm.onnx")
        dims = {0: torch.export.Dim("texts", min=1, max=4096), 1: torch.export.Dim("tokens", min=2, max=512)}
        example = (torch.ones(3, 7, dtype=torch.long), torch.ones(3, 7, dtype=torch.long))
        torch.onnx.export(
            Hidden().eval(), example, file, dynamo=True, dynamic_shapes=(dims, dims), input_names=["ids", "mask"]
        )
        if importlib.util.find_spec("onnxruntime"):
            onnxruntime: Any = importlib.import_module("onnxruntime")
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
            found[f"ONNX Runtime {onnxruntime.__version__}"] = passing(
                lambda given: session.run(None, {"ids": given[0], "mask": given[1]})[0]
            )
        if importlib.util.find_spec("openvino"):
            openvino: Any = importlib.import_module("openvino")
            for precision in ("f32", "bf16"):
                hints = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": precision}
                compiled = openvino.Core().compile_model(file, "CPU", hints)
                name = f"OpenVINO {openvino.__version__.split('-')[0]}, {precision}"
                found[name] = passing(partial(first, compiled))
    return found


def on_more_threads(encoder: Encoder, given: list[str]) -> dict[str, Way]:
    def way(threads: int) -> Way:
        def run() -> np.ndarray:
            torch.set_num_threads(threads)
            return encoder.encode(given)

        return run

    return {"one thread": way(1), "two threads": way(2)}


def in_turns(ways: dict[str, Way], clock: Callable[[], float]) -> dict[str, Any]:
    """Seconds of each way, and how far its vectors are from the first one's; every round in another order."""
    expected = next(iter(ways.values()))()
    apart = {name: float(np.abs(way() - expected).max()) for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(TIMES):
        for name in random.Random(turn).sample(list(ways), len(ways)):
            started = clock()
            ways[name]()
            seconds[name].append(clock() - started)
    return {"seconds": seconds, "apart": apart, "largest": float(np.abs(expected).max())}


def main(kind: str, number: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    given, source = texts(number)
    encoder = Encoder.load()
    ids = [len(t) for t in encoder._tokens(given)]
    padded = {
        name: sum(len(rows) * max(ids[row] for row in rows) for rows in batches(ids, 256)) / sum(ids) - 1
        for name, batches in (("as shipped", shipped._batches), ("64 texts as they come", arrival))
    }
    if kind == "one":
        figures = in_turns(on_one_thread(encoder, given), time.process_time)
    else:
        figures = in_turns(on_more_threads(encoder, given), time.perf_counter)
    return {"source": source, "texts": number, "tokens": sum(ids), "padding": padded, **figures}


if __name__ == "__main__":
    kind = sys.argv[1]
    print(json.dumps(main(kind, int(sys.argv[2]) if len(sys.argv) > 2 else TEXTS if kind == "one" else FEW)))
