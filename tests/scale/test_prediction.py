"""Prediction over files: what `sacl predict` says of each, exactly once, whatever happens to workers and files."""

from __future__ import annotations

import csv
import io
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

from sacl.cli import app, interrupt
from sacl.conversation import Conversation, LabelSet, Utterance
from sacl.errors import DataError, FeatureError, RunError, SaclError
from sacl.features.encoder import Encoder
from sacl.formats import read_conversations, write_conversations
from sacl.model.build import build_model
from sacl.recognizer import EmotionRecognizer
from sacl.rows import Columns
from sacl.scale import prediction, records
from sacl.scale.cluster import told
from sacl.scale.prediction import Job, predicted
from sacl.scale.records import kind_of, parts
from sacl.scale.results import Result, written
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
    return Job(str(out), format, None, COLUMNS, ("calm", "glad", "cross"), False)


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
    (tmp_path / ".job.json.0badf00d-1-0badf00d.part").touch()  # killed while it was written
    prediction._begin(job(tmp_path, "csv"), recognizer, begun)
    prediction._begin(job(tmp_path), recognizer, begun)  # nothing has come of the former
    (tmp_path / "parts" / "a.jsonl-0badf00d").mkdir(parents=True)
    prediction._begin(job(tmp_path), recognizer, {**begun, "b.jsonl": {"size": 4, "changed": "1"}})  # more files
    assert set(json.loads((tmp_path / "job.json").read_text())["files"]) == {"a.jsonl", "b.jsonl"}
    with pytest.raises(RunError, match=r"a\.jsonl has changed since"):
        prediction._begin(job(tmp_path), recognizer, {"a.jsonl": {"size": 3, "changed": "2"}})
    with pytest.raises(RunError, match="format: 'jsonl' then"):
        prediction._begin(job(tmp_path, "csv"), recognizer, begun)
    with pytest.raises(RunError, match=r"a\.jsonl has changed since"):
        prediction._begin(job(tmp_path), recognizer, {"a.jsonl": begun["a.jsonl"] | {"kind": "csv"}})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    with pytest.raises(RunError, match="not empty"):
        prediction._begin(job(tmp_path / "other"), recognizer, begun)


def test_what_fails_in_the_worker_is_no_conversation_s_fault(
    recognizer: EmotionRecognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = str(tmp_path / "a.jsonl")
    write_conversations([Conversation("c", [Utterance("Ann", "You came!")])], source)
    [part] = parts(source, "jsonl", COLUMNS)
    fails = FeatureError("its weights cannot be read (Cannot allocate memory)")

    def failing(*_: Any, **__: Any) -> Any:
        raise fails

    shipped = EmotionRecognizer.from_pretrained()
    monkeypatch.setattr(Encoder, "encode", failing)
    with pytest.raises(FeatureError, match="Cannot allocate"):
        predicted(shipped, job(tmp_path / "out"), part, source, "jsonl")
    assert not (tmp_path / "out").exists()
    # Nor is it met as late as that.
    shipped.trained.save(tmp_path / MODEL_FILE)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(Encoder, "model", property(failing))
    with pytest.raises(FeatureError, match="Cannot allocate"):
        prediction._Worker(job(tmp_path))


def test_reading_gives_the_same_rows_whenever_it_is_tried_and_a_part_without_a_file_is_told(
    recognizer: EmotionRecognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "RECORDS", 2)
    source, out = str(tmp_path / "a.jsonl"), job(tmp_path / "out")
    write_conversations(chats(5, 0), source)
    cut = list(parts(source, "jsonl", COLUMNS))
    predicted(recognizer, out, cut[1], source, "jsonl")
    done = prediction._done(out, [source])
    names = json.dumps(sorted(done[source]))
    batch = {"source": np.array([source]), "kind": np.array(["jsonl"]), "done": np.array([names])}
    rows = [(row["number"][0], bool(row["content"][0])) for row in prediction._parts(batch, out)]
    assert rows == [(0, True), (2, True), (3, False)]
    predicted(recognizer, out, cut[0], source, "jsonl")  # by a worker, before reading is tried again
    assert [(row["number"][0], bool(row["content"][0])) for row in prediction._parts(batch, out)] == rows
    for lengths in ({source: 3}, {}):
        with pytest.raises(RunError, match=r"parts of .* have no results"):
            prediction._already(out, lengths, done)
    predicted(recognizer, out, cut[2], source, "jsonl")
    assert prediction._already(out, {source: 3}, done) == 1


def test_results_are_no_input_and_a_file_s_kind_belongs_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    for name in ("a.jsonl", "out/parts/a.jsonl-0badf00d/00000.jsonl", "outer/b.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = prediction._files("**/*.jsonl", str(out), None)
    assert {name: about["kind"] for name, about in found.items()} == {
        str(tmp_path / "a.jsonl"): "jsonl",
        str(tmp_path / "outer/b.jsonl"): "jsonl",
    }
    assert prediction._files(str(tmp_path / "a.jsonl"), str(out), "csv") != prediction._files("a.jsonl", str(out), None)
    with pytest.raises(DataError, match="all such files are results"):
        prediction._files("out/**/*.jsonl", str(out), None)


def test_of_what_could_not_be_read_only_what_is_whole_is_gathered(tmp_path: Path) -> None:
    folder = tmp_path / "malformed" / "a.jsonl-0badf00d"
    folder.mkdir(parents=True)
    (folder / "00000.jsonl").write_text("{}\n")
    (folder / ".00001.jsonl.0badf00d-1-0badf00d.part").write_text('{}\n{"sou')
    assert prediction._gather(job(tmp_path)) == 1


@pytest.mark.parametrize("text", ["one\rtwo", "one\ntwo", "one,two"])
def test_a_text_with_any_end_of_line_in_it_is_one_cell(recognizer: EmotionRecognizer, text: str) -> None:
    one = Conversation("c", [Utterance("Ann", text, vector=np.ones(WIDTH))])
    made = written([Result(1, (one, recognizer.predict(one)))], "a", ["calm", "glad", "cross"], "csv")
    rows = list(csv.reader(io.StringIO(made.decode(), newline=""), strict=True))
    assert [row[5] for row in rows] == ["text", text]


def test_a_piece_that_kills_its_workers_is_told_as_that() -> None:
    from ray.exceptions import ActorDiedError

    with pytest.raises(RunError, match="o: workers were killed again and again"), told("o"):
        raise ActorDiedError


def test_what_is_kept_of_files_on_ray_is_told_to_whoever_interrupts() -> None:
    assert "are kept" in interrupt.line(["predict", "chats/*", "--ray", "--out", "o"])
    assert "are kept" in interrupt.line(["predict", "chats/*", "--ray=auto", "--out", "o"])
    assert "not written" in interrupt.line(["predict", "a.jsonl", "--out", "o"])


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
    home = str(ray.folder / "chats")
    assert [(one["source"], one["line"]) for one in told] == [(f"{home}/a.jsonl", 701), (f"{home}/d.csv", None)]
    found = {(one["source"], one["line"]): one for one in results(ray.folder / "out")}
    assert len(list(results(ray.folder / "out"))) == len(found) == 1001
    for name, conversations in files.items():
        of_file = [found[f"{home}/{name}", n + 1] for n in range(len(conversations))]
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
        (marks / f"{os.getpid()}-{time.monotonic_ns()}").touch()
        if len(list(marks.iterdir())) >= 2:
            try:
                (marks / "killed").touch(exist_ok=False)
            except FileExistsError:
                return super().forward(batch)
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
    assert (
        len(list((ray.folder / "marks").iterdir())) > 4
    )  # three parts, the one that was cut off, and the note of that
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
