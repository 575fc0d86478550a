"""Texts encoded by workers: the vectors of one machine, to rounding, kept block by block."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sacl.features.encoder import Encoder
from sacl.features.store import FeatureStore
from sacl.scale import encoding
from sacl.scale.encoding import RayEncoder

TEXTS = ["You came!", "I said I would.", "", "You came!", "half a pair: \ud83d", "well " * 40, *map(str, range(20))]


def test_a_worker_gives_the_encoder_s_vectors() -> None:
    encoder = Encoder.load()
    worker = encoding._Worker(dict(encoder.identity), 256)
    given = {"texts": np.array([json.dumps(TEXTS[:5]), json.dumps(TEXTS[5:])], dtype=object)}
    made = [np.frombuffer(vectors, np.float32).reshape(-1, encoder.width) for vectors in worker(given)["vectors"]]
    np.testing.assert_allclose(np.concatenate(made), encoder.encode(TEXTS), atol=1e-5)


def test_what_is_kept_of_an_encoding_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "BLOCK", 7)
    asked = list[list[str]]()

    class Here(RayEncoder):
        """Its blocks are made in this process."""

        def _workers(self, todo: list[str], batch_size: int) -> Any:
            for block in todo:
                asked.append(json.loads(block))
                if len(asked) == cut:
                    raise KeyboardInterrupt
                yield Encoder.encode(self, asked[-1])

    encoder = Here.on(Encoder.load())
    cut = 3
    with (tmp_path / "begun").open("w+b") as file, pytest.raises(KeyboardInterrupt):
        encoder.encode(TEXTS, pieces=file)
    asked.clear()
    cut = 0
    with (tmp_path / "begun").open("r+b") as file:
        vectors = encoder.encode(TEXTS, pieces=file)
    distinct = len(set(TEXTS))
    assert sum(map(len, asked)) == distinct - 2 * 7
    np.testing.assert_allclose(vectors, Encoder.load().encode(TEXTS), atol=1e-5)


@pytest.mark.ray
def test_a_corpus_is_encoded_on_ray_as_it_is_here(ray: Any) -> None:
    turns = [{"speaker": "A", "text": text, "emotion": "calm"} for text in TEXTS if text.isprintable() and text]
    for split in ("train", "valid", "test"):
        (ray.folder / "texts").mkdir(exist_ok=True)
        line = json.dumps({"id": split, "utterances": [{**t, "text": f"{split} {t['text']}"} for t in turns]})
        (ray.folder / "texts" / f"{split}.jsonl").write_text(line + "\n")
    for name, options in (("encoded", ("--ray", ray.head)), ("expected", ())):
        code, _, err = ray.run("sacl", "encode", "texts", "--out", name, "--cache", f"cache-{name}", *options)
        assert (code, err) == (0, "")
    stores = [FeatureStore.open(ray.folder / name) for name in ("encoded", "expected")]
    assert stores[0].fingerprint == stores[1].fingerprint
    np.testing.assert_allclose(stores[0].vectors["text"], stores[1].vectors["text"], atol=1e-5)
