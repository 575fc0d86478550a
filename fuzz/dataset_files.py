"""Readers of data sets as they were released, and of pickles."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
from common import Reader, as_json, scratch, written
from conversation_files import CHAT, CSV

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


def _own(data: bytes) -> object:
    """A folder of one's own: a split as CSV, labels not listed."""
    from sacl.datasets import load_corpus

    written("own-csv/train.csv", data)
    return load_corpus(scratch() / "own-csv").fingerprint()


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
        "own folder": Reader(_own, [CSV.encode(), b"speaker,text,emotion\nAnn,Hi,joy\n"]),
        "labels": Reader(_labels, [b"joy\nsad\n"]),
        "pickle": Reader(_pickle, plain),
        "released": Reader(_released, released_pickles()),
    }
