"""Whatever the user gets wrong: one line on stderr, exit 2, nothing on stdout, no file made or changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Sacl = Callable[..., Any]
GOOD = {"speaker": "A", "vector": [0.0] * 5}


def conversation(*turns: object) -> str:
    return json.dumps({"id": "c7", "utterances": turns})


CONVERSATIONS: dict[str, tuple[str | bytes | None, str]] = {
    "missing.jsonl": (None, "there is no such"),
    "empty.jsonl": ("", "empty"),
    "blank.jsonl": ("\n\n", "no conversation"),
    "text.jsonl": (conversation(GOOD) + "\nnot JSON\n", "line 2"),
    "list.jsonl": ("[1, 2]\n", "line 1"),
    "number.jsonl": ("3\n", "line 1"),
    "binary.jsonl": (b"\x80\x81\x00\xff" * 9, "UTF-8"),
    "nul.jsonl": (b"\0" * 99, "NUL"),
    "latin.jsonl": (conversation({**GOOD, "speaker": "Zo\xeb"}).replace("\\u00eb", "\xeb").encode("latin-1"), "UTF-8"),
    "none.jsonl": ('{"id": "c7", "utterances": []}\n', "conversation c7: it has no utterances"),
    "neither.jsonl": (conversation(GOOD, {"speaker": "A"}), "conversation c7, utterance 1"),
    "silent.jsonl": (conversation(GOOD, {"vector": [0] * 5}), "speaker"),
    "nan.jsonl": (conversation(GOOD, {"speaker": "A", "vector": [float("nan")] * 5}), "line 1"),
    "nested.jsonl": ("[" * 100_000, "line 1"),
    "key.jsonl": (conversation({**GOOD, "emotoin": "glad"}), "emotoin"),
    "column.csv": ("who,text\nA,hello\n", "speaker"),
    "short.csv": ("speaker,text\nA\n", "line 2"),
    "speakerless.txt": ("hello there\n", "line 1"),
    "unknown.suffix": (conversation(GOOD), "format"),
    "damaged.jsonl.gz": (b"\x1f\x8b\x08\x00" + b"x" * 40, "gzip"),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def refused(sacl: Sacl, here: Path) -> Callable[..., None]:
    """refused(told, *arguments): the command refuses, and says `told` in its one line."""

    def check(told: str, *arguments: str | Path) -> None:
        before = tree(here)
        code, out, err = sacl(*arguments)
        assert (code, out) == (2, ""), err
        assert err.startswith("sacl: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        assert told.lower() in err.lower()
        assert tree(here) == before

    return check


def given(here: Path, name: str) -> Path:
    content = CONVERSATIONS[name][0]
    if content is not None:
        (here / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return here / name


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversations_at_fault(name: str, refused: Callable[..., None], trained: Any, here: Path) -> None:
    file, told = given(here, name), CONVERSATIONS[name][1]
    refused(told, "predict", trained.run, file)
    refused(told, "data", "show", file)
    refused(told, "data", "convert", file, "--out", "out.jsonl")
    refused(told, "encode", file)


@pytest.mark.parametrize("name", ["empty.jsonl", "text.jsonl", "none.jsonl", "neither.jsonl", "nan.jsonl", "key.jsonl"])
def test_a_data_set_of_ones_own_at_fault(name: str, refused: Callable[..., None], trained: Any, here: Path) -> None:
    shutil.copytree(trained.data, here / "data")
    given(here, name).replace(here / "data" / "valid.jsonl")
    refused("valid.jsonl", "train", trained.recipe, "--set", f"data.name={here / 'data'}")
    refused("valid.jsonl", "data", "show", here / "data")


def test_an_emotion_that_training_does_not_know(refused: Callable[..., None], trained: Any, here: Path) -> None:
    shutil.copytree(trained.data, here / "data")
    (here / "data" / "valid.jsonl").write_text(conversation({**GOOD, "emotion": "bored"}))
    refused("unknown emotion 'bored'", "train", trained.recipe, "--set", f"data.name={here / 'data'}")


@pytest.mark.parametrize("turn", [{"speaker": "A", "vector": [0.0] * 4}, {"speaker": "A", "text": "no encoder here"}])
def test_features_that_do_not_fit_the_model(
    turn: dict[str, Any], refused: Callable[..., None], trained: Any, here: Path
) -> None:
    (here / "odd.jsonl").write_text(conversation(turn))
    for format in ("table", "jsonl", "csv"):
        refused("c7", "predict", trained.run, "odd.jsonl", "--format", format)
    refused("c7", "predict", trained.run, "odd.jsonl", "--json")


def test_paths_that_are_something_else(refused: Callable[..., None], trained: Any, here: Path) -> None:
    (here / "folder.jsonl").mkdir()
    (here / "file").write_text("a file")
    test = trained.data / "test.jsonl"
    refused("folder", "predict", trained.run, "folder.jsonl")
    refused("none of", "data", "show", "folder.jsonl")
    refused("no completed model", "predict", "folder.jsonl", test)
    refused("no completed model", "predict", trained.data, test)
    refused("damaged", "predict", "file", test)
    refused("no such file or folder", "predict", "nowhere", test)
    refused("damaged", "predict", trained.run / "run.json", test)
    (here / "folder.yaml").mkdir()
    refused("cannot be read", "train", "folder.yaml")
    refused("cannot be written", "train", trained.recipe, "--out", "file")
    refused("cannot be written", "train", trained.recipe, "--out", "file/below")
    refused("missing", "train", trained.recipe, "--features", "folder.jsonl")
    refused("cannot be written", "data", "convert", trained.data, "--out", "file/below.jsonl")
    refused("cannot be written", "data", "convert", trained.data, "--out", "folder.jsonl")


RUN_VERBS = [["evaluate"], ["report"], ["compare"], ["robustness"]]


@pytest.mark.parametrize("verb", RUN_VERBS)
def test_what_is_no_run(verb: list[str], refused: Callable[..., None], trained: Any, here: Path) -> None:
    (here / "file").write_text("a file")
    (here / "folder").mkdir()
    second = [trained.run] if verb == ["compare"] else []
    for path in ("nowhere", "file", "folder", trained.data, trained.run / "seed-0" / "model.safetensors"):
        refused("no run directory", *verb, path, *second)


@pytest.mark.parametrize("verb", RUN_VERBS)
@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("run.json", "[1, 2]"),
        ("run.json", "{"),
        ("recipe.yaml", "name: ["),
        ("recipe.yaml", ""),
        ("seed-0/result.json", '{"format_version": 1}'),
        ("seed-0/result.json", "no JSON"),
        ("seed-0/result.json", None),
    ],
)
def test_a_corrupt_run(
    verb: list[str], file: str, content: str | None, refused: Callable[..., None], trained: Any, here: Path
) -> None:
    shutil.copytree(trained.run, here / "bad")
    if content is None:
        (here / "bad" / file).unlink()
    else:
        (here / "bad" / file).write_text(content)
    refused("bad", *verb, "bad", *([trained.run] if verb == ["compare"] else []))


def test_a_damaged_model(refused: Callable[..., None], trained: Any, here: Path) -> None:
    shutil.copytree(trained.run, here / "bad")
    model = here / "bad" / "seed-0" / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-1] + b"\xff")
    refused("damaged", "evaluate", "bad")
    refused("damaged", "predict", model, trained.data / "test.jsonl")


def test_settings_at_fault(refused: Callable[..., None], trained: Any) -> None:
    train = ["train", trained.recipe]
    refused("did you mean 'epochs'", *train, "--set", "training.epoch=3")
    refused("no setting 'x'", *train, "--set", "x=1")
    refused("is no setting", *train, "--set", "training.epochs")
    refused("integer", *train, "--set", "training.epochs=many")
    refused("did you mean", "train", "mled")
    refused("no such file", "train", "nothing.yaml")
    refused("names no seeds", *train, "--seeds", "a-b")
    refused("names no seeds", *train, "--seeds", "")
    refused("twice", *train, "--seeds", "0,0-1")
    refused("twice", *train, "--seeds", "4-0")
    refused("less than", *train, "--seeds", "99999999999")
    refused("no such data set", *train, "--set", "data.name=nowhere")
    refused("IEMOCAP", "train", "iemocap", "--data", ".")
    refused("jobs", *train, "--jobs", "0")
    refused("jobs", *train, "--jobs", "two")
    refused("not empty", *train, "--out", trained.run)
    refused("other settings", *train, "--out", trained.run, "--resume", "--set", "training.epochs=4")
    refused("split 'dev'", "evaluate", trained.run, "--split", "dev")


def test_wrong_words(refused: Callable[..., None], trained: Any) -> None:
    test = trained.data / "test.jsonl"
    refused("no such command", "trian", "meld")
    refused("no such command", "data", "lst")
    refused("no such option", "train", "meld", "--epochs", "3")
    refused("missing argument", "train")
    refused("missing argument", "evaluate")
    refused("a file of conversations is wanted", "predict", trained.run)
    refused("more than a model and a file", "predict", trained.run, test, test)
    refused("unknown format", "predict", trained.run, test, "--format", "xml")
    refused("not known", "predict", trained.run, test, "--from", "xml")
    refused("no such data set", "data", "show", "nowhere")
    refused("unknown data set", "data", "fetch", "nowhere")
    refused("comes with the package", "data", "fetch", "sample")
    refused("no such data set", "data", "convert", "nowhere", "--out", "a.jsonl")
    refused("format", "data", "convert", trained.data, "--out", "a.xml")
    refused("no vector", "data", "convert", trained.data, "--out", "a.csv")
    refused("no split", "data", "convert", trained.data, "--out", "a.jsonl", "--split", "dev")
    refused("pooling", "encode", "sample", "--pooling", "max")
    refused("no such data set", "encode", "nowhere")


def test_missing_columns_of_a_csv_are_named(refused: Callable[..., None], trained: Any, here: Path) -> None:
    (here / "a.csv").write_text("speaker,text\nA,hello\n")
    refused("'who'", "predict", trained.run, "a.csv", "--speaker-column", "who")
    refused("'said'", "predict", trained.run, "a.csv", "--text-column", "said")
    refused("'scene'", "predict", trained.run, "a.csv", "--conversation-column", "scene")


def test_control_characters_of_a_file_do_not_reach_the_terminal(sacl: Sacl, trained: Any, here: Path) -> None:
    (here / "a.jsonl").write_text(json.dumps({"id": "\x1b[31m\x07", "utterances": []}))
    code, _, err = sacl("predict", trained.run, "a.jsonl")
    assert code == 2
    assert err.rstrip("\n").isprintable()
