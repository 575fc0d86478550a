"""Every reader of a file from elsewhere, as a function of bytes, with tiny valid files to begin from.

A reader returns or raises a SaclError; anything else is a defect. Formats that carry a SHA-256 are sealed anew where
the name says so: else nothing but the hash would be tested.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import pickle
import struct
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

Read = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Reader:
    """What is fuzzed, and whole inputs to begin from."""

    read: Read
    seeds: Sequence[bytes]


@cache
def scratch() -> Path:
    """A folder that is kept as long as the process."""
    _KEPT.append(folder := tempfile.TemporaryDirectory(prefix="sacl-fuzz-"))
    return Path(folder.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def written(name: str, data: bytes) -> Path:
    """A file of these bytes."""
    path = scratch() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def as_json(*values: Any) -> bytes:
    """JSON, a line each."""
    return "\n".join(json.dumps(value, ensure_ascii=False) for value in values).encode()


# Conversations

TURNS = [
    {"speaker": "Ann", "text": "You came!", "emotion": "joy", "id": "a", "time": 1.5},
    {"speaker": "Bo", "text": "I did say I would. \U0001f600", "vector": [0.5, 1e-3]},
]
CHAT = {"id": "c1", "utterances": TURNS}
CSV = 'conversation,speaker,text,emotion,utterance,time\n1,Ann,You came!,joy,a,1.5\n1,Bo,"I did, \nsay",,,2024-01-31'
SLACK = [
    {"type": "message", "user": "U1", "text": "Hello <@U2|bo> &amp; <https://x.y|z>", "ts": "1700000000.000100"},
    {"user": "U2", "text": "Hi", "ts": "1700000001.0", "thread_ts": "1700000000.000100", "subtype": "me_message"},
    {"bot_id": "B", "user_profile": {"real_name": "Bo"}, "text": "<!here>", "ts": "1700000009.1", "subtype": "x"},
]
WHATSAPP = (
    "12/31/23, 9:41 PM - Ann: hi\nand more\n1/13/24, 12:00 AM - Bo: a.jpg (file attached)\nyes <This message was "
    "edited>\n1/13/24, 9:41 - Bo added Cy",
    "[31.12.23, 21:41:05] Ann: hi\n\u200e[31.12.23, 21:42:05] ~ Bo: \u200eimage omitted\n[01.01.24, 00:00:00] Bo: so",
)
VTT = "WEBVTT\n\nNOTE x\n\n1\n00:01.000 --> 00:02.500 align:left\n<v.loud Ann>You <i>came</i>!</v>\n\n00:03.000 --> "
VTT += "01:00:04.000\n<v Bo>&lt;I&gt; did\n"
SRT = "1\n00:00:01,000 --> 00:00:02,000\nAnn: You came!\n\n2\n00:00:03,000 --> 00:00:04,000\n[BO] I did.\n- [sighs]\n"
LINES = "[10:15] Ann: You came!\nand more\nBo (2024-01-31 10:16): Yes\n\nCy: https://x.y and 12:30"


def conversations(name: str, data: bytes, **options: Any) -> int:
    """By the name's suffix, or as the options say."""
    from sacl.formats import read_conversations

    return sum(len(c) for c in read_conversations(written(name, data), **options))


def conversation_readers() -> dict[str, Reader]:
    """Every format of conversations."""
    document = json.dumps([CHAT, CHAT | {"id": "c2"}], indent=1).encode()
    jsonl = as_json(CHAT, {"utterances": [{"speaker": "Ann", "text": "", "probabilities": {"joy": 1.0}}]})
    texts = {
        "jsonl": ("in.jsonl", {}, [jsonl, document]),
        "csv": ("in.csv", {}, [CSV.encode(), CSV.replace(",", ";").encode(), b"speaker,text\nAnn,Hi"]),
        "tsv": ("in.tsv", {}, [CSV.replace(",", "\t").encode()]),
        "lines": ("in.txt", {"format": "txt"}, [LINES.encode()]),
        "told": ("in", {}, [t.encode() for t in (CSV, *WHATSAPP, VTT, SRT, LINES)] + [jsonl, document, as_json(SLACK)]),
        "utf-16": ("in.txt", {}, [LINES.encode("utf-16"), CSV.encode("utf-16")]),
        "whatsapp": ("in.txt", {"format": "whatsapp", "gap": 3600.0}, [t.encode() for t in WHATSAPP]),
        "whatsapp dates": ("in.txt", {"format": "whatsapp", "dates": "mdy"}, [t.encode() for t in WHATSAPP]),
        "slack": ("in.json", {"format": "slack", "gap": 60.0}, [as_json(SLACK), as_json({"messages": SLACK})]),
        "vtt": ("in.vtt", {"gap": 1.0}, [VTT.encode()]),
        "srt": ("in.srt", {}, [SRT.encode()]),
    }
    readers = {k: Reader(partial(conversations, name, **options), seeds) for k, (name, options, seeds) in texts.items()}
    packed = gzip.compress(jsonl, mtime=0)
    return readers | {"gzip": Reader(partial(conversations, "in.jsonl.gz"), [packed]), **{"slack people": people()}}


def people() -> Reader:
    """Slack's users.json, beside a day."""
    users = [{"id": "U1", "profile": {"display_name": " Ann "}}, {"id": "U2", "name": "bo", "real_name": ""}]

    def read(data: bytes) -> int:
        written("export/users.json", data)
        return conversations("export/2024-01-31.json", as_json(SLACK), format="slack")

    return Reader(read, [as_json(users)])


# Data sets

MELD = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID\n1,It\u2019s,Ann,joy,positive,0,0\n"
EMORY = "Utterance,Speaker,Emotion,Scene_ID,Utterance_ID,Season,Episode\nHi,\"['Ann', 'Bo']\",Joyful,4,1,1,1\n"
EVALUATION = "% [START - END]\tNAME\tLABEL\n[6.2901 - 8.2357]\tSes01F_a_F000\tneu\t[2.5, 2.5, 2.5]\n"
TRANSCRIPT = "Ses01F_a_F000 [006.2901-008.2357]: Excuse me.\nM: no turn\n"


def _meld(data: bytes) -> object:
    from sacl.datasets import meld

    return meld._split(written("meld.csv", data), "Emotion", meld.LABELS)


def _emory(data: bytes) -> object:
    from sacl.datasets import emorynlp

    return emorynlp._split(written("emorynlp.csv", data), "own", emorynlp.SENTIMENT)


def _iemocap(data: bytes) -> object:
    """The file of labels, then that of texts, behind the first NUL."""
    from sacl.datasets import iemocap

    labels, _, texts = data.partition(b"\0")
    written("iemocap/dialog/EmoEvaluation/Ses01F_a.txt", labels)
    written("iemocap/dialog/transcriptions/Ses01F_a.txt", texts)
    return list(iemocap._session(scratch() / "iemocap", keep_unlabelled=True))


def _dailydialog(data: bytes) -> object:
    """Texts, then labels, behind the first NUL."""
    from sacl.datasets import dailydialog

    texts, _, labels = data.partition(b"\0")
    written("dailydialog/dialogues_text.txt", texts)
    written("dailydialog/dialogues_emotion.txt", labels)
    return dailydialog._split(scratch() / "dailydialog", "train")


def _imported(data: bytes) -> object:
    from sacl.datasets.imported import read_imported

    for split in ("train", "valid", "test"):
        written(f"imported/{split}.jsonl", as_json({"id": split, "utterances": [{"speaker": "A", "text": "x"}]}))
    written("imported/imported.json", data)
    written("imported/labels.txt", b"joy\nsad\n")
    return read_imported(scratch() / "imported", "meld")


def _labels(data: bytes) -> object:
    from sacl.datasets import load_corpus

    written("own/labels.txt", data)
    written("own/train.jsonl", as_json(CHAT))
    return load_corpus(scratch() / "own").fingerprint()


def _pickle(data: bytes) -> object:
    from sacl.datasets.unpickler import plain_data

    return plain_data(data)


def _released(data: bytes) -> object:
    from sacl.datasets.released import read_released

    return read_released(written("released.pkl", data))


def released_pickles() -> list[bytes]:
    """Texts, features and modalities, as they circulate."""
    speakers, labels, texts = {"c": ["M", "F"]}, {"c": [0, 1]}, {"c": ["Hello", "Hi"]}
    vectors = {"c": [np.ones(2, "f4"), np.zeros(2, "f4")]}
    for id in ("a", "b"):
        speakers[id], labels[id], texts[id], vectors[id] = ["M"], [3], ["Yes"], [np.ones(2, "f4")]
    ids = (["c"], ["a"], ["b"])
    matrices = {name: np.stack(rows) for name, rows in vectors.items()}
    scenes = ["1_2_3", "1_2_4", "1_2_5"]
    emory = [
        {s: [[1, 0]] for s in scenes},
        {s: [0] for s in scenes},
        {s: ["a"] for s in scenes},
        *([s] for s in scenes),
    ]
    layouts: list[Any] = [
        [speakers, labels, texts, *ids],
        (speakers, labels, vectors, vectors, vectors, vectors, texts, *ids),
        ({"c": ["1", "2"], "a": ["3"], "b": ["4"]}, speakers, labels, *[matrices] * 3, texts, ["c", "a"], ["b"]),
        emory,
    ]
    return [pickle.dumps(layout, protocol) for layout in layouts for protocol in (0, 2, 5)]


def dataset_readers() -> dict[str, Reader]:
    """Data sets as they were released, and pickles."""
    plain = [
        pickle.dumps([{"a": [1, 2.5, "\xe9", b"x", None, {1}]}, np.ones((2, 1)), np.int32(3)], p) for p in range(6)
    ]
    manifest = {"format_version": 1, "corpus": "meld", "labels": "emotion", "source": {}}
    return {
        "meld": Reader(_meld, [MELD.encode(), MELD.encode("cp1252")]),
        "emorynlp": Reader(_emory, [EMORY.encode()]),
        "iemocap": Reader(_iemocap, [f"{EVALUATION}\0{TRANSCRIPT}".encode()]),
        "dailydialog": Reader(_dailydialog, [b"Hi . __eou__ Yes . __eou__\nSo __eou__\n\x000 4\n1\n"]),
        "imported": Reader(_imported, [as_json(manifest)]),
        "labels": Reader(_labels, [b"joy\nsad\n"]),
        "pickle": Reader(_pickle, plain),
        "released": Reader(_released, released_pickles()),
    }


# Recipes, models, features


def _recipe(data: bytes) -> object:
    from sacl.experiment.recipe import dump_recipe, load_recipe

    return dump_recipe(load_recipe(str(written("in.yaml", data))))


def _setting(data: bytes) -> object:
    from sacl.experiment.recipe import load_recipe

    small = written("small.yaml", b"{name: a, description: b, data: {name: sample}}")
    return load_recipe(str(small), [data.decode("utf-8", "replace")])


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


def checkpoints() -> list[bytes]:
    """Released state dicts."""
    import torch

    lstm = torch.nn.LSTM(1, 1, bidirectional=True)
    state = {f"{name}.{key}": t for name in ("rnn", "rnn_parties") for key, t in lstm.state_dict().items()}
    state |= {"cognition_net.smax_fc.weight": torch.ones(2, 4), "cognition_net.smax_fc.bias": torch.ones(2)}
    found = []
    for zipped in (True, False):
        torch.save(state, stream := io.BytesIO(), _use_new_zipfile_serialization=zipped)
        found.append(stream.getvalue())
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
    manifest = (store() / "manifest.json").read_bytes()
    return {
        "recipe": Reader(_recipe, [small, *recipes]),
        "setting": Reader(_setting, settings),
        "model": Reader(_model, [model_file()]),
        "model content": Reader(_model_content, [as_json(content), as_json(richer)]),
        "checkpoint": Reader(partial(_model, kind="checkpoint"), [_checkpoint_file()]),
        "released checkpoint": Reader(_checkpoint, checkpoints()),
        "features": Reader(_vectors, [(store() / "features.safetensors").read_bytes()]),
        "feature manifest": Reader(_manifest, [manifest]),
    }


# Runs and predictions

FIGURES = {"accuracy": 100.0, "weighted_f1": 100.0, "macro_f1": 100.0}
EPOCH = {"epoch": 1, "train_loss": 1.0, "valid_loss": 1.0, "train_weighted_f1": 1.0, "valid_weighted_f1": 2.0}
PREDICTION = {"conversation": "c", "utterance": "0", "emotion": "joy", "predicted": "joy"}
PREDICTION |= {"probabilities": {"joy": 0.75, "sad": 0.25}}
RECORD = {"format_version": 1, "data": {"corpus": "x", "fingerprint": "", "features": "", "source": {}}}


def result() -> dict[str, Any]:
    """Of one seed that got its only utterance right."""
    test = {**FIGURES, "loss": 0.1, "f1": [100.0, 0.0], "support": [1, 0]}
    about = {"format_version": 1, "seed": 0, "epoch": 1, "epochs": 1, "seconds": 1.0, "labels": ["joy", "sad"]}
    return {**about, "valid": FIGURES, "test": test, "data": RECORD["data"]}


@cache
def _run_recipe() -> Any:
    from sacl.experiment.recipe import load_recipe

    return load_recipe("sample", ["seeds=[0]"])


@cache
def run_files() -> dict[str, bytes]:
    """A run directory of one seed."""
    from sacl.experiment.recipe import dump_recipe

    return {
        "recipe.yaml": dump_recipe(_run_recipe()).encode(),
        "run.json": as_json(RECORD),
        "seed-0/result.json": as_json(result()),
        "seed-0/metrics.jsonl": as_json(EPOCH),
        "seed-0/predictions.jsonl": as_json(PREDICTION),
    }


def _run(file: str, data: bytes) -> object:
    """A run directory with one of its files changed. The recipe is read once, which takes most of the time."""
    from sacl.experiment import study
    from sacl.recognizer.sources import find_model
    from sacl.report import runs
    from sacl.report.sources import data_folder
    from sacl.report.table import class_table, seed_table

    for name, whole in run_files().items():
        written(f"run/{name}", data if name == file else whole)
    opened, study.load_recipe = study.load_recipe, lambda *_, **__: _run_recipe()
    try:
        run = runs.read_run(scratch() / "run")
    finally:
        study.load_recipe = opened
    data_folder(run, None)
    find_model(scratch() / "run")
    return [table(run.recipe, run.results, *last) for table, last in ((seed_table, ["x"]), (class_table, []))]


def _score(data: bytes) -> object:
    from sacl.report.predictions import read_predictions

    return read_predictions(written("predictions.jsonl", data))


def _map(data: bytes) -> object:
    from sacl.report.scoring import read_map

    return read_map(written("map.yaml", data))


def report_readers() -> dict[str, Reader]:
    """What tables are made from."""
    turn = {"speaker": "A", "text": "x", "id": 7, "emotion": "joy", "probabilities": {"joy": 1}}
    predictions = as_json(PREDICTION, {"id": "d", "utterances": [turn]})
    files = {name: Reader(partial(_run, name), [data]) for name, data in run_files().items() if name != "recipe.yaml"}
    return files | {
        "predictions": Reader(_score, [predictions]),
        "map": Reader(_map, [b"happy: joy\n'no': sad\n", b'{"a": "b"}']),
    }


@cache
def readers() -> Mapping[str, Reader]:
    """All of them, by name."""
    found = conversation_readers() | dataset_readers() | model_readers() | report_readers()
    return {name.replace(" ", "-").replace("seed-0/", ""): reader for name, reader in found.items()}
