"""Prediction over files: what `sacl predict` says of each, exactly once, whatever happens to workers and files."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from sacl.cli import app
from sacl.conversation import Conversation, LabelSet, Utterance
from sacl.errors import DataError, RunError, SaclError
from sacl.formats import read_conversations, write_conversations
from sacl.model.build import build_model
from sacl.recognizer import EmotionRecognizer
from sacl.rows import Columns
from sacl.scale import prediction, records
from sacl.scale.prediction import Job, predicted
from sacl.scale.records import kind_of, parts
from sacl.settings import FeatureSettings, ModelSettings
from sacl.training.trained import MODEL_FILE, TrainedModel

WIDTH = 5
COLUMNS = Columns(emotion=None)


def chats(count: int, seed: int, width: int = WIDTH) -> list[Conversation]:
    """Conversations whose utterances have vectors, so that no encoder is needed."""
    draw = random.Random(seed)

    def turn() -> Utterance:
        return Utterance(draw.choice("AB"), "said", vector=np.array([draw.gauss(0, 1) for _ in range(width)]))

    return [Conversation(f"c{i}", [turn() for _ in range(draw.randint(1, 4))]) for i in range(count)]


@pytest.fixture(scope="session")
def recognizer() -> EmotionRecognizer:
    """A small network of random weights that reads vectors."""
    settings = ModelSettings(hidden_size=6)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_model(settings, WIDTH, 3).eval()
    labels = LabelSet(("calm", "glad", "cross"))
    about = {"recipe": "random", "corpus": "nothing", "seed": 0}
    return EmotionRecognizer(TrainedModel(network, settings, labels, WIDTH, FeatureSettings(), None, None, about))


def job(out: Path, format: Any = "jsonl") -> Job:
    return Job(str(out), format, None, COLUMNS, ("calm", "glad", "cross"), str(out), False)


def results(out: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((out / "parts").glob("*/*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def said(turn: Any) -> tuple[str, list[float]]:
    return turn["emotion"], list(turn["probabilities"].values())


def is_same(found: dict[str, Any], conversation: Conversation, turns: Any) -> bool:
    """Whether a result is what `predict` says of the conversation, to what other batches may change."""
    assert found["id"] == conversation.id
    pairs = list(zip(found["utterances"], turns, strict=True))
    return all(
        ours["emotion"] == turn.emotion
        and list(ours["probabilities"].values()) == pytest.approx(list(turn.probabilities.values()), abs=1e-5)
        for ours, turn in pairs
    )


def test_the_parts_of_a_file_say_what_predict_says_of_it(
    recognizer: EmotionRecognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "RECORDS", 7)
    source = str(tmp_path / "a.jsonl")
    write_conversations(chats(30, 0), source)
    counts = [
        predicted(recognizer, job(tmp_path / "out"), part, source, "jsonl") for part in parts(source, "jsonl", COLUMNS)
    ]
    read = list(read_conversations(Path(source)))
    found = list(results(tmp_path / "out"))
    assert [(one["source"], one["line"]) for one in found] == [(source, n + 1) for n in range(30)]
    assert all(map(is_same, found, read, recognizer.predict_many(read)))
    assert [sum(column) for column in zip(*counts, strict=True)] == [30, sum(map(len, read))]
    assert not (tmp_path / "out" / "malformed").exists()


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_a_table_says_the_same_and_where_each_row_comes_from(
    recognizer: EmotionRecognizer, tmp_path: Path, format: str
) -> None:
    source = str(tmp_path / "a.jsonl")
    write_conversations([*chats(3, 0), *chats(2, 1)], source)  # ids come twice
    [part] = parts(source, "jsonl", COLUMNS)
    for kind in ("jsonl", format):
        predicted(recognizer, job(tmp_path / kind, kind), part, source, "jsonl")
    expected = [
        [one["source"], one["line"], one["id"], turn["speaker"], *said(turn)]
        for one in results(tmp_path / "jsonl")
        for turn in one["utterances"]
    ]
    [path] = (tmp_path / format / "parts").glob("*/*")
    if format == "csv":
        with path.open(newline="") as file:
            header, *rows = csv.reader(file)
        rows = [[row[0], int(row[1]), *row[2:8], *map(float, row[8:])] for row in rows]
    else:
        table = pq.read_table(path)
        header = table.column_names
        rows = [list(row) for row in zip(*(column.to_pylist() for column in table.columns), strict=True)]
    assert header[:5] == ["source", "line", "conversation", "utterance", "speaker"]
    assert header[7:] == ["emotion", "probability", "calm", "glad", "cross"]
    assert [[*row[:3], row[4], row[7], row[9:]] for row in rows] == expected


def test_what_the_model_refuses_is_told_aside_and_the_others_are_read(
    recognizer: EmotionRecognizer, tmp_path: Path
) -> None:
    source = str(tmp_path / "a.jsonl")
    mixed = [*chats(2, 0), *chats(1, 1, width=WIDTH + 1), *chats(2, 2)]
    write_conversations([Conversation(str(i), c.utterances) for i, c in enumerate(mixed)], source)
    with Path(source).open("a") as file:
        file.write('{"id": "last", "utterances": []}\n')
    [part] = parts(source, "jsonl", COLUMNS)
    predicted(recognizer, job(tmp_path), part, source, "jsonl")
    assert [one["id"] for one in results(tmp_path)] == ["0", "1", "3", "4"]
    [path] = (tmp_path / "malformed").glob("*/*")
    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(one["source"], one["line"], one["id"]) for one in told] == [(source, 3, "2"), (source, 6, "last")]
    assert "6" in told[0]["reason"]
    assert "no utterances" in told[1]["reason"]


def test_a_folder_keeps_to_the_job_that_it_was_begun_with(recognizer: EmotionRecognizer, tmp_path: Path) -> None:
    begun = {"a.jsonl": {"size": 3, "changed": "1"}}
    prediction._begin(job(tmp_path), recognizer, begun)
    prediction._begin(job(tmp_path), recognizer, {**begun, "b.jsonl": {"size": 4, "changed": "1"}})  # more files
    assert set(json.loads((tmp_path / "job.json").read_text())["files"]) == {"a.jsonl", "b.jsonl"}
    with pytest.raises(RunError, match=r"a\.jsonl has changed since"):
        prediction._begin(job(tmp_path), recognizer, {"a.jsonl": {"size": 3, "changed": "2"}})
    with pytest.raises(RunError, match="format: 'jsonl' then"):
        prediction._begin(job(tmp_path, "csv"), recognizer, begun)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    with pytest.raises(RunError, match="not empty"):
        prediction._begin(job(tmp_path / "other"), recognizer, begun)


# On Ray


@pytest.fixture(scope="module")
def files(ray: Any, recognizer: EmotionRecognizer) -> dict[str, list[Conversation]]:
    """Files of every kind under `chats`, two of them with faults; and a model beside them."""
    home = ray.folder / "chats"
    home.mkdir()
    recognizer.trained.save(ray.folder / MODEL_FILE)
    (ray.folder / "code" / "dying.py").write_text(KILLS)
    for name in ("Dies", "Slow"):
        settings = recognizer.trained.settings.model_copy(update={"kind": f"dying:{name}"})
        replace(recognizer.trained, settings=settings).save(ray.folder / f"{name}.safetensors")
    made = {f"{name}.jsonl{'.gz' * (name == 'b')}": chats(count, seed) for seed, (name, count) in enumerate(
        {"a": 700, "b": 300, "c": 1}.items()
    )}  # fmt: skip
    for name, conversations in made.items():
        write_conversations(conversations, home / name)
    with (home / "a.jsonl").open("a", encoding="utf-8") as file:
        file.write("{\n")
    (home / "d.csv").write_text("conversation,speaker,text\n")
    return made


@pytest.mark.ray
@pytest.mark.long
def test_every_conversation_of_every_file_has_one_result_and_a_job_started_again_adds_none(
    ray: Any, recognizer: EmotionRecognizer, files: dict[str, list[Conversation]]
) -> None:
    ask = ("sacl", "predict", MODEL_FILE, "chats/*", "--ray", ray.head, "--out", "out")
    code, out, err = ray.run(*ask)
    utterances = sum(len(c) for conversations in files.values() for c in conversations)
    assert out == f"out/parts: 1001 conversations of {utterances} utterances, from 4 files\n"
    assert (code, err.count("\n")) == (2, 1)
    assert "out/malformed.jsonl: 2 records could not be read" in err
    told = [json.loads(line) for line in (ray.folder / "out" / "malformed.jsonl").read_text().splitlines()]
    assert [(one["source"], one["line"]) for one in told] == [("chats/a.jsonl", 701), ("chats/d.csv", None)]
    found = {(one["source"], one["line"]): one for one in results(ray.folder / "out")}
    assert len(list(results(ray.folder / "out"))) == len(found) == 1001
    for name, conversations in files.items():
        of_file = [found[f"chats/{name}", n + 1] for n in range(len(conversations))]
        assert all(map(is_same, of_file, conversations, recognizer.predict_many(conversations)))
    # Again, with one part missing: that one is made, and the others are left alone.
    kept = {path: path.stat().st_mtime_ns for path in (ray.folder / "out" / "parts").glob("*/*")}
    missing = next(path for path in kept if path.parent.name.startswith("a.jsonl") and path.name == "00001.jsonl")
    missing.unlink()
    code, out, _ = ray.run(*ask)
    assert (code, out.partition(" utt")[0].partition(" of ")[0]) == (2, "out/parts: 256 conversations")
    assert f"{len(kept) - 1} parts were there already" in out
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items() if path != missing)
    assert {(one["source"], one["line"]): one for one in results(ray.folder / "out")} == found


KILLS = """
import os, signal, time
from pathlib import Path
from sacl.model.dual_lstm import DualLSTM

class Dies(DualLSTM):
    # The worker that reads a part for the second time is killed while it does.
    def forward(self, batch):
        marks = Path(os.environ["RAY_TMPDIR"], "marks")
        marks.mkdir(exist_ok=True)
        (marks / str(len(list(marks.iterdir())))).touch()
        if len(list(marks.iterdir())) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(batch)

class Slow(DualLSTM):
    def forward(self, batch):
        time.sleep(1)
        return super().forward(batch)
"""


@pytest.mark.ray
def test_a_worker_that_is_killed_costs_nothing_and_doubles_nothing(
    ray: Any, recognizer: EmotionRecognizer, files: dict[str, list[Conversation]]
) -> None:
    ask = ("sacl", "predict", "Dies.safetensors", "chats/a.jsonl", "--trust-code", "--ray", ray.head)
    code, out, err = ray.run(*ask, "--out", "survived")
    assert (code, out.partition(" of ")[0]) == (2, "survived/parts: 700 conversations"), err
    assert len(list((ray.folder / "marks").iterdir())) > 3  # three parts, and the one that was cut off
    lines = [one["line"] for one in results(ray.folder / "survived")]
    assert sorted(lines) == list(range(1, 701))


@pytest.mark.ray
@pytest.mark.long
def test_a_job_that_is_killed_goes_on_where_it_was(
    ray: Any, recognizer: EmotionRecognizer, files: dict[str, list[Conversation]]
) -> None:
    ask = ("sacl", "predict", "Slow.safetensors", "chats/a.jsonl", "--trust-code", "--ray", ray.head, "--out", "halved")
    process = ray.popen(*ask)
    parts_of = ray.folder / "halved" / "parts"
    ray.until("a part is done", lambda: list(parts_of.glob("*/0*")) or process.poll() is not None)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    code, out, err = ray.run(*ask)
    assert (code, "already" in out) == (2, True), err
    assert sorted(one["line"] for one in results(ray.folder / "halved")) == list(range(1, 701))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "results of many files need a folder"),
        (("--out", "o", "--format", "table"), "On Ray: jsonl, csv or parquet"),
        (("--out", "o", "--gap", "3"), "--gap: it is not for files on Ray"),
        (("--out", "o", "more", "files"), "with --ray a pattern in quotes"),
        (("--out", "o"), "no such file"),
    ],
)
def test_what_ray_cannot_do_is_told_before_anything_starts(
    options: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SaclError, match=told):
        app(["predict", "a.jsonl", "--ray", *options], standalone_mode=False)
    assert not list(tmp_path.iterdir())


def test_a_label_that_is_called_as_a_column_is_not_written_into_parquet(
    recognizer: EmotionRecognizer, tmp_path: Path
) -> None:
    write_conversations(chats(1, 0), tmp_path / "a.jsonl")
    renamed = EmotionRecognizer(replace(recognizer.trained, labels=LabelSet(("calm", "glad", "line"))))
    with pytest.raises(DataError, match="'line'"):
        prediction.predict_on_ray(renamed, str(tmp_path / "a.jsonl"), str(tmp_path / "out"), format="parquet")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_table_of_conversations_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "chat.txt").write_text("Ann: Hello\n")
    with pytest.raises(DataError, match="sacl data convert"):
        kind_of(str(tmp_path / "chat.txt"))
