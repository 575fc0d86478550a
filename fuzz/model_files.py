"""Readers of recipes, models, checkpoints and features.

Formats that carry a SHA-256 are sealed anew where the name says so: else nothing but the hash would be tested.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import struct
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from common import Reader, as_json, scratch, written


def _recipe(data: bytes) -> object:
    from sacl.experiment.recipe import dump_recipe, load_recipe

    return dump_recipe(load_recipe(str(written("in.yaml", data))))


def _setting(data: bytes) -> object:
    from sacl.experiment.recipe import load_recipe

    small = written("small.yaml", b"{name: a, description: b, data: {name: sample}}")
    return load_recipe(str(small), [data.decode("utf-8", "replace")])


def _grid(data: bytes) -> object:
    """`--grid KEY=VALUES`, two of them, behind the first newline."""
    from sacl.experiment.recipe import load_recipe
    from sacl.experiment.sweep import grid_points, parse_grid

    small = load_recipe(str(written("small.yaml", b"{name: a, description: b, data: {name: sample}}")))
    given = parse_grid(data.decode("utf-8", "replace").split("\n", 1))
    if math.prod(map(len, given.values())) > 20:
        return None
    return [point.recipe for point in grid_points(small, scratch(), given)]


def tiny_model() -> Any:
    """The smallest model there is."""
    from sacl.conversation import LabelSet
    from sacl.model.build import build_model
    from sacl.settings import FeatureSettings, ModelSettings
    from sacl.training.trained import TrainedModel

    settings = ModelSettings(kind="linear", hidden_size=1)
    model = build_model(settings, 1, 2)
    return TrainedModel(model, settings, LabelSet(("joy", "sad")), 1, FeatureSettings(), None, None, {"seed": 0})


@cache
def model_file() -> bytes:
    """A whole model as a file."""
    path = scratch() / "seed.safetensors"
    tiny_model().save(path)
    return path.read_bytes()


def _checkpoint_file() -> bytes:
    from sacl.training.checkpoint import save

    save(path := scratch() / "seed-checkpoint.safetensors", "checkpoint", tiny_model().model.state_dict(), {"epoch": 1})
    return path.read_bytes()


def _parts(file: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and tensors of a safetensors file."""
    (size,) = struct.unpack("<Q", file[:8])
    return json.loads(file[8 : 8 + size]), file[8 + size :]


def _model(data: bytes, kind: str = "model") -> object:
    """Bytes as they are."""
    from sacl.training.checkpoint import load
    from sacl.training.trained import TrainedModel

    path = written(f"{kind}.safetensors", data)
    return TrainedModel.load(path) if kind == "model" else load(path, kind)


def _model_content(data: bytes) -> object:
    """JSON that a model's file carries beside its tensors, sealed with the hash that a stranger can make as well."""
    from safetensors.torch import load as tensors_of

    from sacl.training.checkpoint import _digest

    header, tensors = _parts(model_file())
    try:
        about = json.loads(data)
        if isinstance(about, dict):
            about["sha256"] = _digest(tensors_of(model_file()), {k: v for k, v in about.items() if k != "sha256"})
        data = json.dumps(about, sort_keys=True).encode()
    except (ValueError, RecursionError):
        pass
    header["__metadata__"] = {"sacl": data.decode("utf-8", "replace")}
    packed = json.dumps(header).encode()
    return _use(_model(struct.pack("<Q", len(packed)) + packed + tensors))


def _use(trained: Any) -> object:
    """What is done with any model: its card is written, and it reads a conversation."""
    from sacl.conversation import Conversation, Utterance
    from sacl.recognizer.sharing import card_of

    turn = Utterance("A", vector=np.ones(trained.input_size, np.float32))
    scores = trained.log_probabilities(trained.items([Conversation("c", [turn])], [turn.vector[None]]))
    return card_of(trained, "fuzz/model"), trained.calibrated(scores[0])


def _checkpoint(data: bytes) -> object:
    """A released checkpoint, which is a pickle within a ZIP archive, or alone."""
    from sacl.conversation import LabelSet
    from sacl.training.released import import_released

    return import_released(written("released.pt", data), LabelSet(("joy", "sad")))


def _checkpoint_tensors(data: bytes) -> object:
    """The same as safetensors."""
    from sacl.conversation import LabelSet
    from sacl.training.released import import_released

    return import_released(written("released.safetensors", data), LabelSet(("joy", "sad")))


def _encoder_settings(data: bytes) -> object:
    """What is read of an encoder's configuration before transformers reads it."""
    from sacl.features.encoder import Encoder
    from sacl.features.files import refuse_foreign_code

    written("encoder/model.safetensors", b"")
    folder = written("encoder/config.json", data).parent
    refuse_foreign_code(folder)
    return Encoder.load(folder).identity


def _pruned(data: bytes) -> object:
    """A seed that a sweep gave up."""
    from sacl.experiment.pruned import read_pruned

    return read_pruned(written("pruned/pruned.json", data).parent)


def checkpoints() -> list[bytes]:
    """Released state dicts: PyTorch's archive, what it wrote before, and safetensors."""
    import safetensors.torch
    import torch

    lstm = torch.nn.LSTM(1, 1, bidirectional=True)
    state = {f"{name}.{key}": t for name in ("rnn", "rnn_parties") for key, t in lstm.state_dict().items()}
    state |= {"cognition_net.smax_fc.weight": torch.ones(2, 4), "cognition_net.smax_fc.bias": torch.ones(2)}
    found = []
    for zipped in (True, False):
        torch.save(state, stream := io.BytesIO(), _use_new_zipfile_serialization=zipped)
        found.append(stream.getvalue())
    found.append(safetensors.torch.save({name: t.clone() for name, t in state.items()}))
    return found


@cache
def store() -> Path:
    """A tiny folder of features."""
    from sacl.conversation import Conversation, Corpus, LabelSet, Utterance
    from sacl.features.store import write_store

    chats = [Conversation("c", [Utterance("A", "x"), Utterance("B", "y")])]
    corpus = Corpus("tiny", LabelSet(("joy",)), {"all": chats})
    vectors = {"text": np.ones((2, 3), np.float32), "audio": np.zeros((2, 1), np.float32)}
    return write_store(scratch() / "store", corpus, vectors, {"name": "fuzz"}).rows("all") and scratch() / "store"


def _features(manifest: bytes, features: bytes) -> object:
    from sacl.features.store import FeatureStore

    written("features/manifest.json", manifest)
    written("features/features.safetensors", features)
    opened = FeatureStore.open(scratch() / "features")
    return [opened.rows(split) for split in opened.splits]


def _vectors(data: bytes) -> object:
    """The file of vectors, its hash in the manifest made to fit."""
    manifest = json.loads((store() / "manifest.json").read_bytes())
    return _features(_sealed(manifest | {"sha256": hashlib.sha256(data).hexdigest()}), data)


def _manifest(data: bytes) -> object:
    """The manifest, sealed where it is JSON."""
    with contextlib.suppress(ValueError, RecursionError, AttributeError):
        data = _sealed(json.loads(data))
    return _features(data, (store() / "features.safetensors").read_bytes())


def _sealed(manifest: Any) -> bytes:
    rest = {k: v for k, v in manifest.items() if k not in ("format_version", "check")}
    check = hashlib.sha256(json.dumps(rest).encode()).hexdigest()
    return as_json({"format_version": manifest.get("format_version", 1), "check": check, **rest})


def model_readers() -> dict[str, Reader]:
    """Recipes, models, checkpoints, features."""
    from sacl.experiment.recipe import dump_recipe, load_recipe

    recipes = [dump_recipe(load_recipe(name)).encode() for name in ("sample", "iemocap")]
    small = b'name: a\ndescription: "\\x41"\ndata: {name: sample}\nmodel:\n  kind: linear\nseeds: [0, 1]\n'
    settings = [b"training.epochs=3", b"objective.class_weights=[1, 2e-1]", b"published={a: !!str b}", b"data.name='x'"]
    content = json.loads(_parts(model_file())[0]["__metadata__"]["sacl"])
    encoder = {"name": "minilm", "sha256": "0", "pooling": "mean", "layer": -1, "max_tokens": 256, "revision": None}
    about = {"valid": {"weighted_f1": 1.0}, "conversations": {"train": 1}, "calibration": {"ece_before": 1.0}}
    richer = content | {"content": content["content"] | {"encoder": encoder, "about": about, "temperature": 1.5}}
    attention = {"attn_implementation": "owner/kernel"}
    config = {"model_type": "bert", "hidden_size": 2, "sacl_pooling": "mean", "text_config": [attention]}
    manifest = (store() / "manifest.json").read_bytes()
    return {
        "recipe": Reader(_recipe, [small, *recipes]),
        "grid": Reader(_grid, [b"training.learning_rate=1e-4,5e-4\nseeds=[0],[1,2]", b"model.kind=linear,bc_lstm"]),
        "pruned": Reader(_pruned, [as_json({"format_version": 1, "pruned": 3, "valid": {"weighted_f1": 1.5}})]),
        "encoder settings": Reader(_encoder_settings, [as_json(config)]),
        "setting": Reader(_setting, settings),
        "model": Reader(_model, [model_file()]),
        "model content": Reader(_model_content, [as_json(content), as_json(richer)]),
        "checkpoint": Reader(partial(_model, kind="checkpoint"), [_checkpoint_file()]),
        "released checkpoint": Reader(_checkpoint, checkpoints()[:2]),
        "released tensors": Reader(_checkpoint_tensors, [checkpoints()[2]]),
        "features": Reader(_vectors, [(store() / "features.safetensors").read_bytes()]),
        "feature manifest": Reader(_manifest, [manifest]),
    }
