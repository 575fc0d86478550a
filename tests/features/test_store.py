from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sacl.aside import beside
from sacl.conversation import Conversation, Corpus, LabelSet, Utterance
from sacl.errors import FeatureError
from sacl.features import FeatureStore, encode_corpus, features_of, fingerprint, write_store
from sacl.features import corpus as of_corpus
from sacl.features.store import FEATURES, MANIFEST

SPLITS = {
    "train": {"a": ["You came!", "I said I would.", "You came!"], "b": ["Late again?"]},
    "valid": {},
    "test": {"a": ["Nobody told me.", ""]},
}


def make(splits: dict[str, dict[str, list[Any]]] = SPLITS, emotion: str | None = None, name: str = "talk") -> Corpus:
    """Texts where strings are given, vectors where lists are, both where pairs are."""

    def utterance(given: Any) -> Utterance:
        text, vector = given if isinstance(given, tuple) else (given, None) if isinstance(given, str) else (None, given)
        return Utterance("Ann", text=text, emotion=emotion, vector=None if vector is None else np.asarray(vector))

    return Corpus(
        name,
        LabelSet(("calm", "cross")),
        {s: [Conversation(i, [utterance(u) for u in us]) for i, us in split.items()] for s, split in splits.items()},
    )


@dataclass
class Counting:
    """What the store asks of an encoder: an identity and vectors; here text length and first letter."""

    identity: dict[str, Any] = field(
        default_factory=lambda: {"name": "n", "sha256": "0", "pooling": "mean", "layer": -1, "max_tokens": 9}
    )
    calls: int = 0

    def encode(self, texts: list[str], progress: Any = None, pieces: Any = None) -> np.ndarray:
        self.calls += 1
        return np.array([[len(text), ord(text[0]) if text else 0] for text in texts], np.float32).reshape(-1, 2)


EXPECTED = np.array([[9, 89], [15, 73], [9, 89], [11, 76], [15, 78], [0, 0]], np.float32)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    vectors = {"text": EXPECTED, "audio": np.arange(18).reshape(6, 3) / 10}
    write_store(tmp_path / "store", make(), vectors, {"by": "hand"})
    return tmp_path / "store"


def test_rows_are_the_conversations_in_order_with_modalities_side_by_side(store: Path) -> None:
    opened = FeatureStore.open(store)
    assert opened.modalities == {"text": 2, "audio": 3}
    assert opened.source == {"by": "hand"}
    assert opened.splits == {"train": [("a", 3), ("b", 1)], "valid": [], "test": [("a", 2)]}
    first, second = opened.rows("train")
    np.testing.assert_allclose(first, np.hstack([EXPECTED[:3], np.arange(9).reshape(3, 3) / 10]), rtol=1e-6)
    np.testing.assert_allclose(second[0], [11, 76, 0.9, 1.0, 1.1], rtol=1e-6)
    assert opened.rows("valid") == []
    (only,) = opened.rows("test", ["audio", "text"])
    np.testing.assert_allclose(only, [[1.2, 1.3, 1.4, 15, 78], [1.5, 1.6, 1.7, 0, 0]], rtol=1e-6)
    assert only.dtype == np.float32


def test_rows_are_a_copy_of_the_stores(store: Path) -> None:
    opened = FeatureStore.open(store)
    opened.rows("test", ["text"])[0][:] = -1
    np.testing.assert_array_equal(opened.rows("test", ["text"])[0], EXPECTED[4:])


def test_what_is_written_is_what_is_opened(tmp_path: Path) -> None:
    written = write_store(tmp_path / "s", make(), {"b": EXPECTED, "a": EXPECTED[:, :1]}, {})
    opened = FeatureStore.open(tmp_path / "s")
    assert list(opened.modalities) == ["b", "a"]
    assert (written.sha256, written.fingerprint) == (opened.sha256, opened.fingerprint)
    for mine, theirs in zip(written.rows("train"), opened.rows("train"), strict=True):
        assert mine.tobytes() == theirs.tobytes()


@pytest.mark.parametrize(
    ("split", "modalities", "message"),
    [
        ("dev", None, "talk: there is no split 'dev'. Use one of: train, valid, test"),
        ("test", ["text", "video"], "talk: there is no modality 'video'. Use one of: text, audio"),
        ("test", [], "talk: no modality is asked for. Use one of: text, audio"),
    ],
)
def test_an_unknown_split_or_modality_is_refused(
    store: Path, split: str, modalities: list[str] | None, message: str
) -> None:
    with pytest.raises(FeatureError) as caught:
        FeatureStore.open(store).rows(split, modalities)
    assert str(caught.value) == message


def refused(folder: Path) -> str:
    with pytest.raises(FeatureError) as caught:
        FeatureStore.open(folder)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy == "Encode again"
    return str(caught.value)


@pytest.mark.parametrize("name", [FEATURES, MANIFEST])
def test_a_store_cut_anywhere_is_refused(store: Path, name: str) -> None:
    whole = (store / name).read_bytes()
    for length in {0, 1, 7, 8, 9, len(whole) // 3, len(whole) // 2, len(whole) - 24, len(whole) - 1}:
        (store / name).write_bytes(whole[:length])
        assert name in refused(store)
    (store / name).unlink()
    assert f"{name}: it is missing" in refused(store)


@pytest.mark.parametrize("name", [FEATURES, MANIFEST])
def test_any_flipped_bit_is_refused(store: Path, name: str) -> None:
    whole = (store / name).read_bytes()

    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(bit=st.integers(0, 8 * len(whole) - 1))
    def check(bit: int) -> None:
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        (store / name).write_bytes(data)
        assert name in refused(store) or name == MANIFEST

    check()


@pytest.mark.parametrize("text", ["", "[]", "null", '{"format_version": 1}', "[" * 100_000, "\xff"])
def test_a_manifest_of_anything_else_is_refused(store: Path, text: str) -> None:
    (store / MANIFEST).write_text(text, encoding="latin-1")
    assert "manifest.json: it is damaged" in refused(store)


def test_another_format_version_is_named(store: Path) -> None:
    manifest = json.loads((store / MANIFEST).read_text())
    (store / MANIFEST).write_text(json.dumps({**manifest, "format_version": 2}))
    assert "it has the format 2, not 1" in refused(store)


def forge(folder: Path, tensors: dict[str, np.ndarray]) -> None:
    """A store whose hashes are right and whose tensors are not."""
    import hashlib

    from safetensors.numpy import save

    from sacl.features.store import _check

    data = save(tensors)
    manifest = json.loads((folder / MANIFEST).read_text())
    rest = {key: value for key, value in manifest.items() if key not in ("format_version", "check")}
    rest["sha256"] = hashlib.sha256(data).hexdigest()
    (folder / FEATURES).write_bytes(data)
    (folder / MANIFEST).write_text(json.dumps({"format_version": 1, "check": _check(rest), **rest}))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused_on_opening(store: Path, value: float) -> None:
    audio = np.zeros((6, 3), np.float32)
    audio[5, 2] = value
    forge(store, {"text": EXPECTED, "audio": audio})
    assert "split test, conversation a, utterance 1, modality audio: its vector is not finite" in refused(store)


@pytest.mark.parametrize(
    "audio", [np.zeros((5, 3), np.float32), np.zeros((6, 4), np.float32), np.zeros((6, 3), np.float64), None]
)
def test_shapes_that_are_not_the_manifests_are_refused(store: Path, audio: np.ndarray | None) -> None:
    forge(store, {"text": EXPECTED} if audio is None else {"text": EXPECTED, "audio": audio})
    assert "its shapes are not the manifest's" in refused(store)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ({}, "talk: no modality is given"),
        ({"t": EXPECTED[:5]}, r"modality t: its shape is \(5, 2\), and the corpus has 6 utterances"),
        ({"t": EXPECTED[:, 0]}, r"its shape is \(6,\)"),
        ({"t": EXPECTED[:, :0]}, r"its shape is \(6, 0\)"),
        ({"t": np.full((6, 1), "x")}, "it is not an array of numbers"),
        ({"__metadata__": EXPECTED}, "cannot be a modality's name"),
        ({" ": EXPECTED}, "cannot be a modality's name"),
        ({"t": EXPECTED * [[1], [1], [1], [np.nan], [1], [1]]}, "split train, conversation b, utterance 0, modality t"),
        ({"t": EXPECTED.astype(float) * 1e300}, "conversation a, utterance 0, modality t: its vector is not finite"),
    ],
)
def test_vectors_that_do_not_fit_are_refused_and_nothing_is_written(
    tmp_path: Path, vectors: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(FeatureError, match=message):
        write_store(tmp_path / "s", make(), vectors, {})
    assert list(tmp_path.iterdir()) == []


def test_a_store_is_replaced_and_other_folders_are_left_alone(store: Path) -> None:
    write_store(store, make(), {"text": EXPECTED}, {})
    assert FeatureStore.open(store).modalities == {"text": 2}
    (store / "thesis.txt").write_text("years of work")
    with pytest.raises(FeatureError, match="it is not a folder of features"):
        write_store(store, make(), {"text": EXPECTED}, {})
    assert (store / "thesis.txt").read_text() == "years of work"
    assert [entry.name for entry in store.parent.iterdir()] == ["store"]


class Cut(BaseException):
    """A process killed, or Ctrl-C."""


def cut_at_manifest(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(self: Path, *_: Any, **__: Any) -> None:
        assert self.name == MANIFEST
        raise error

    monkeypatch.setattr(Path, "write_text", fail)


def test_an_encode_cut_before_its_manifest_is_not_taken_for_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder: Any = Counting()
    with monkeypatch.context() as patch:
        cut_at_manifest(patch, Cut())
        with pytest.raises(Cut):
            encode_corpus(make(), encoder, tmp_path)
    [begun] = tmp_path.iterdir()  # what is encoded is kept, and goes when the features are whole
    assert begun.name.endswith(".begun")
    encode_corpus(make(), encoder, tmp_path)
    assert encoder.calls == 2
    assert not begun.exists()


def test_a_replacement_cut_short_leaves_the_former_store(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = FeatureStore.open(store).sha256
    with monkeypatch.context() as patch:
        cut_at_manifest(patch, OSError(28, "No space left on device"))
        with pytest.raises(FeatureError, match="features cannot be written"):
            write_store(store, make(), {"text": EXPECTED}, {})
    rename = Path.rename

    def rename_or_fail(self: Path, target: Path) -> Path:
        if target == store and (self / MANIFEST).exists() and len(FeatureStore.open(self).modalities) == 1:
            raise Cut
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename_or_fail)
        with pytest.raises(Cut):
            write_store(store, make(), {"text": EXPECTED}, {})
    assert FeatureStore.open(store).sha256 == before
    assert [entry.name for entry in store.parent.iterdir()] == ["store"]


def test_a_store_whose_replacement_was_killed_between_its_moves_is_put_back(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = FeatureStore.open(store).sha256
    gone = beside(store)
    killed = gone.with_name(gone.name.replace(f"-{os.getpid()}-", f"-{2**22 + 1}-"))  # no process has that number
    store.rename(killed)
    cut_at_manifest(monkeypatch, OSError(28, "No space left on device"))
    with pytest.raises(FeatureError, match="features cannot be written"):
        write_store(store, make(), {"text": EXPECTED}, {})
    assert FeatureStore.open(store).sha256 == before
    assert [entry.name for entry in store.parent.iterdir()] == ["store"]


def test_the_cache_is_used_and_tells_encoders_and_texts_apart(tmp_path: Path) -> None:
    encoder: Any = Counting()
    first = encode_corpus(make(), encoder, tmp_path)
    np.testing.assert_array_equal(first.vectors["text"], EXPECTED)
    again = encode_corpus(make(emotion="calm"), encoder, tmp_path)
    assert encoder.calls == 1
    assert again.vectors["text"].tobytes() == first.vectors["text"].tobytes()
    assert again.source == encoder.identity
    for change in ({"sha256": "1"}, {"pooling": "first"}, {"layer": -2}, {"max_tokens": 8}):
        other: Any = Counting({**encoder.identity, **change})
        encode_corpus(make(), other, tmp_path)
        assert other.calls == 1
    encode_corpus(make({"train": {"a": ["You came?"]}}), encoder, tmp_path)
    assert encoder.calls == 2


@pytest.mark.parametrize("harm", ["features", "manifest", "empty"])
def test_a_broken_cache_entry_is_made_again_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    encoder: Any = Counting()
    encode_corpus(make(), encoder, tmp_path)
    (entry,) = tmp_path.iterdir()
    if harm == "features":
        (entry / FEATURES).write_bytes((entry / FEATURES).read_bytes()[:-4])
    else:
        (entry / MANIFEST).unlink()
    if harm == "empty":
        (entry / FEATURES).unlink()
    with caplog.at_level(logging.WARNING, "sacl"):
        encode_corpus(make(), encoder, tmp_path)
    assert "made again" in caplog.text
    assert encoder.calls == 2
    assert list(tmp_path.iterdir()) == [entry]
    FeatureStore.open(entry).check(make())


def test_a_cache_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    encoder: Any = Counting()
    with pytest.raises(FeatureError, match=r"the cache cannot be written.*SACL_CACHE"):
        encode_corpus(make(), encoder, tmp_path / "file" / "cache")
    assert encoder.calls == 0


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACL_CACHE", str(tmp_path))
    encoder: Any = Counting()
    encode_corpus(make(), encoder)
    assert len(list((tmp_path / "features").iterdir())) == 1


RIVAL = """
import pathlib, sys, time
sys.path[:0] = [{source!r}, {here!r}]
import test_store
here, cache = pathlib.Path({folder!r}), pathlib.Path({folder!r}) / "cache"

class Slow(test_store.Counting):
    def encode(self, texts, progress=None, pieces=None):
        (here / "{me}").touch()
        while not (here / "{other}").exists():  # both have found the cache empty before either writes
            time.sleep(0.005)
        return super().encode(texts)

store = test_store.encode_corpus(test_store.make(), Slow(), cache)
assert (store.vectors["text"] == test_store.EXPECTED).all()
"""


def test_two_processes_that_encode_the_same_at_once_both_end_well(tmp_path: Path) -> None:
    here = Path(__file__).parent
    rivals = []
    for me, other in (("one", "two"), ("two", "one")):
        code = RIVAL.format(
            source=str(here.parents[1] / "src"), here=str(here), folder=str(tmp_path), me=me, other=other
        )
        rivals.append(subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True))
    for rival in rivals:
        _, errors = rival.communicate(timeout=60)
        assert rival.returncode == 0, errors
    (entry,) = (tmp_path / "cache").iterdir()
    np.testing.assert_array_equal(FeatureStore.open(entry).vectors["text"], EXPECTED)


def test_where_another_process_was_first_its_store_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder: Any = Counting()
    first = encode_corpus(make(), encoder, tmp_path)
    looks = iter([None])
    real = of_corpus._cached
    monkeypatch.setattr(of_corpus, "_cached", lambda *args: next(looks, "look") and real(*args))
    second = encode_corpus(make(), encoder, tmp_path)
    assert encoder.calls == 2
    assert second.sha256 == first.sha256
    assert len(list(tmp_path.iterdir())) == 1


def test_the_fingerprint_follows_texts_ids_and_order_only() -> None:
    base = fingerprint(make())
    assert fingerprint(make(emotion="cross", name="other")) == base
    relabelled = Corpus("talk", LabelSet(("x",)), make().splits)
    assert fingerprint(relabelled) == base
    changed = [
        {**SPLITS, "train": {"a": ["You came!", "I said I would!", "You came!"], "b": ["Late again?"]}},
        {**SPLITS, "train": {"b": ["Late again?"], "a": SPLITS["train"]["a"]}},
        {**SPLITS, "train": {"a": ["I said I would.", "You came!", "You came!"], "b": ["Late again?"]}},
        {**SPLITS, "train": {"a": ["You came!", "I said I would."], "b": ["You came!", "Late again?"]}},
        {**SPLITS, "train": {"A": SPLITS["train"]["a"], "b": ["Late again?"]}},
        {"train": SPLITS["train"], "dev": {}, "test": SPLITS["test"]},
        {"valid": {}, "train": SPLITS["train"], "test": SPLITS["test"]},
        {**SPLITS, "test": {"a": ["Nobody told me."]}},
    ]
    prints = [fingerprint(make(splits)) for splits in changed]
    assert len({base, *prints}) == len(changed) + 1


def test_the_fingerprint_follows_given_vectors() -> None:
    prints = {fingerprint(make({"train": {"a": [given]}})) for given in ("x", [1.0, 2.0], [2.0, 1.0], ("x", [1.0]))}
    assert len(prints) == 4
    assert fingerprint(make({"t": {"a": [[1, 2]]}})) == fingerprint(make({"t": {"a": [[1.0, 2.0]]}}))


def test_a_store_is_refused_for_another_corpus(store: Path) -> None:
    opened = FeatureStore.open(store)
    opened.check(make(emotion="calm"))
    with pytest.raises(FeatureError, match="made from talk with other texts, ids or order than this chat"):
        opened.check(make({"train": {"a": ["Hm."]}}, name="chat"))


def test_vectors_that_the_corpus_carries_go_before_the_encoder() -> None:
    encoder: Any = Counting()
    corpus = make({"train": {"a": [("x", [1, 2, 3]), [4, 5, 6]]}, "test": {"b": [[7, 8, 9]]}})
    features = features_of(corpus, encoder)
    assert features.modalities == {"vector": 3}
    np.testing.assert_array_equal(features.rows("train")[0], [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(features.rows("test")[0], [[7, 8, 9]])
    assert encoder.calls == 0
    features.check(corpus)


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        (["x", [1.0]], "utterance 1: it has a vector, and an utterance before it has none"),
        (["x", ("y", [1.0])], "utterance 1: it has a vector, and an utterance before it has none"),
        ([("x", [1.0]), [1.0], "x", "y"], "utterance 2: it has no vector, and an utterance before it has one"),
        ([[1.0, 2.0], [1.0], [1.0, 2.0]], "utterance 1: its vector has 1 numbers, those before it have 2"),
        ([[1.0], [float("nan")]], "utterance 1: its vector is not finite"),
        ([[1.0], [float("inf")]], "utterance 1: its vector is not finite"),
        ([[1.0], [1e300]], "utterance 1: its vector is not finite"),
        ([[1.0], [[1.0]]], r"utterance 1: its vector has the shape \(1, 1\)"),
        ([[1.0], []], r"utterance 1: its vector has the shape \(0,\)"),
        ([[1.0], ["loud"]], "utterance 1: its vector is not made of numbers"),
    ],
)
def test_vectors_that_do_not_fit_together_are_refused_by_place(tmp_path: Path, turns: list[Any], message: str) -> None:
    encoder: Any = Counting()
    with pytest.raises(FeatureError, match=f"talk, split train, conversation a, {message}"):
        features_of(make({"train": {"a": turns}}), encoder, tmp_path)


def test_texts_without_an_encoder_are_refused() -> None:
    with pytest.raises(FeatureError, match=r"utterance 0: it has no vector\. Name an encoder"):
        features_of(make())


def test_a_corpus_of_nothing_is_refused() -> None:
    with pytest.raises(FeatureError, match="talk: there is no utterance"):
        features_of(make({"train": {}}))


def test_an_utterance_without_text_is_not_encoded(tmp_path: Path) -> None:
    encoder: Any = Counting()
    with pytest.raises(FeatureError, match="conversation a, utterance 1: it has no text to encode"):
        encode_corpus(make({"train": {"a": ["x", [1.0]]}}), encoder, tmp_path)
