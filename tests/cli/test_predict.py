"""`sacl predict`: chats that others export, what comes out, and in what order."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sacl.cli import show
from sacl.formats import read_conversations
from sacl.recognizer import EmotionRecognizer

Sacl = Callable[..., Any]
COMMAND = [sys.executable, "-c", "from sacl.cli import main; main()"]

CHAT = """\
31.12.23, 21:41 - Ann: Who brings the cake?
31.12.23, 21:42 - Bo: I do, and I made it twice since the first one fell off the table onto the dog.
01.01.24, 10:00 - Ann: You are a hero!
"""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that reads texts; its weights are what they happen to be."""
    from sacl.conversation import LabelSet
    from sacl.features.encoder import Encoder
    from sacl.model.build import build_model
    from sacl.settings import FeatureSettings, ModelSettings
    from sacl.training.trained import TrainedModel

    path = tmp_path_factory.mktemp("reader") / "model.safetensors"
    settings, labels = ModelSettings(hidden_size=4), LabelSet(("sadness", "joy", "fear"))
    identity = Encoder.load().identity
    model = build_model(settings, 384, 3)
    TrainedModel(model, settings, labels, 384, FeatureSettings(), identity, None, {}).save(path)
    return path


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    path = tmp_path / "chat.txt"
    path.write_text(CHAT, encoding="utf-8")
    return path


def lines(path: Path, count: int, ids: Callable[[int], str] = "c{}".format) -> Path:
    """Conversations of one to three turns, with vectors."""
    path.write_text(
        "".join(
            json.dumps({"id": ids(i), "utterances": [{"speaker": "A", "vector": [i / 100] * 5}] * (1 + i % 3)}) + "\n"
            for i in range(count)
        )
    )
    return path


def test_a_chats_export_is_read_and_its_times_come_out(sacl: Sacl, reader: Path, chat: Path) -> None:
    code, out, err = sacl("predict", reader, chat)
    assert (code, err) == (0, "")
    [found] = [json.loads(line) for line in out.splitlines()]
    [expected] = read_conversations(chat)
    assert [(u["speaker"], u["text"], u["time"]) for u in found["utterances"]] == [
        (u.speaker, u.text, u.time) for u in expected.utterances
    ]
    recognised = EmotionRecognizer.from_pretrained(reader).predict(expected)
    assert [u["emotion"] for u in found["utterances"]] == [r.emotion for r in recognised]


def test_hours_of_silence_part_a_chat(sacl: Sacl, reader: Path, chat: Path) -> None:
    out = sacl("predict", reader, chat, "--gap", "6").out
    assert [len(json.loads(line)["utterances"]) for line in out.splitlines()] == [2, 1]


def test_below_the_threshold_it_says_uncertain(sacl: Sacl, reader: Path, chat: Path) -> None:
    [found] = json.loads(sacl("predict", reader, chat, "--threshold", "1", "--json").out)
    assert {u["emotion"] for u in found["utterances"]} == {"uncertain"}
    assert "uncertain" in sacl("predict", reader, chat, "--threshold", "1", "--format", "table").out
    code, out, err = sacl("predict", reader, chat, "--threshold", "2")
    assert (code, out) == (2, "")
    assert "threshold" in err


@pytest.mark.parametrize("name", ["chat1.txt", "chat1.csv", "chat1.jsonl", "chat1.json", "chat1.txt.gz"])
def test_two_chats_are_not_taken_for_a_model_and_a_chat(sacl: Sacl, chat: Path, name: str) -> None:
    (chat.parent / name).write_text(CHAT)
    done = sacl("predict", chat.parent / name, chat)
    assert done.code
    assert f"{name}: it is no model, or a damaged one. One file of conversations is read at a time" in done.err


@pytest.mark.parametrize("arguments", [["--json"], ["--format", "jsonl"]])
def test_results_are_read_again(sacl: Sacl, reader: Path, chat: Path, tmp_path: Path, arguments: list[str]) -> None:
    first = sacl("predict", reader, chat, *arguments)
    (tmp_path / "again.json").write_text(first.out)
    assert sacl("predict", reader, tmp_path / "again.json", *arguments).out == first.out


def test_of_one_argument_it_is_the_file_and_the_shipped_model_reads_it(
    sacl: Sacl, reader: Path, chat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    load = EmotionRecognizer.from_pretrained

    def from_pretrained(source: object = None, **options: Any) -> EmotionRecognizer:
        asked.append(source)
        return load(reader, **options)

    monkeypatch.setattr(EmotionRecognizer, "from_pretrained", from_pretrained)
    shipped = sacl("predict", chat)
    assert shipped.code == 0
    assert shipped.out == sacl("predict", reader, chat).out
    monkeypatch.setattr(sys, "stdin", io.StringIO(CHAT))
    assert sacl("predict", "-").out == shipped.out
    assert asked == [None, str(reader), None]


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.json", "out.jsonl.gz"])
def test_out_holds_what_stdout_would(sacl: Sacl, trained: Any, tmp_path: Path, name: str) -> None:
    import gzip

    source = lines(tmp_path / "in.jsonl", 5)
    assert sacl("predict", trained.run, source, "--out", tmp_path / name) == (0, "", "")
    written = (tmp_path / name).read_bytes()
    told = sacl("predict", trained.run, source, "--format", name.removesuffix(".gz").rpartition(".")[2]).out
    assert (gzip.decompress(written) if name.endswith("gz") else written).decode() == told


def test_out_holds_a_table_where_one_is_asked_for(sacl: Sacl, reader: Path, chat: Path, tmp_path: Path) -> None:
    sacl("predict", reader, chat, "--format", "table", "--out", tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == sacl("predict", reader, chat, "--format", "table").out


def test_a_fault_late_in_the_input_leaves_the_old_output(sacl: Sacl, trained: Any, tmp_path: Path) -> None:
    source = lines(tmp_path / "in.jsonl", 600)
    with source.open("a") as more:
        more.write("not JSON\n")
    (tmp_path / "out.jsonl").write_text("the old one")
    code, out, err = sacl("predict", trained.run, source, "--out", tmp_path / "out.jsonl")
    assert (code, out) == (2, "")
    assert "line 601" in err
    assert (tmp_path / "out.jsonl").read_text() == "the old one"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_the_input_is_not_written_over(sacl: Sacl, trained: Any, tmp_path: Path) -> None:
    source = lines(tmp_path / "in.jsonl", 2)
    before = source.read_bytes()
    code, _, err = sacl("predict", trained.run, source, "--out", tmp_path / "." / "in.jsonl")
    assert code == 2
    assert "it is the file that is read" in err
    assert source.read_bytes() == before


def test_an_output_of_unknown_kind_is_refused(sacl: Sacl, trained: Any, tmp_path: Path) -> None:
    source = lines(tmp_path / "in.jsonl", 2)
    code, _, err = sacl("predict", trained.run, source, "--out", tmp_path / "out.xml")
    assert code == 2
    assert "cannot be told from the name. Call it .jsonl or .csv" in err


def test_one_id_for_several_conversations_is_told_and_none_is_lost(sacl: Sacl, trained: Any, tmp_path: Path) -> None:
    source = lines(tmp_path / "in.jsonl", 600, lambda i: f"c{i % 598}")
    code, out, err = sacl("predict", trained.run, source)
    assert code == 0
    assert [json.loads(line)["id"] for line in out.splitlines()] == [f"c{i % 598}" for i in range(600)]
    assert err == (
        "sacl: conversation 599 is called 'c0' as one before it, and so it is with 1 more. "
        "All are read, in the input's order\n"
    )
    code, out, err = sacl("predict", trained.run, source, "--format", "csv", "--out", tmp_path / "out.csv")
    assert (code, out) == (2, "")
    assert "conversation c0: it is conversation 599" in err
    assert not (tmp_path / "out.csv").exists()


def test_a_csv_out_is_a_csv_that_is_read_again(sacl: Sacl, reader: Path, chat: Path, tmp_path: Path) -> None:
    sacl("predict", reader, chat, "--gap", "6", "--out", tmp_path / "out.csv")
    back = list(read_conversations(tmp_path / "out.csv"))
    first = list(read_conversations(chat, gap=6 * 3600))
    assert [[(u.speaker, u.text, u.time) for u in c.utterances] for c in back] == [
        [(u.speaker, u.text, u.time) for u in c.utterances] for c in first
    ]
    assert all(u.emotion for c in back for u in c.utterances)


def test_labels_of_a_csv_are_not_read_whatever_their_column_is_called(sacl: Sacl, reader: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("speaker,text,Emotion\nAnn,Hello,never heard of\n")
    code, out, _ = sacl("predict", reader, tmp_path / "a.csv")
    assert code == 0
    assert json.loads(out)["utterances"][0]["emotion"] in ("sadness", "joy", "fear")


@pytest.mark.parametrize("format", ["jsonl", "csv", "json", "table"])
def test_output_begins_before_the_input_has_ended(format: str, trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from sacl.cli import models

    read = 0

    def endless() -> Iterator[Any]:
        nonlocal read
        while read < 100:
            read += 1
            line = json.dumps({"id": str(read), "utterances": [{"speaker": "A", "vector": [0.5] * 5}]})
            yield next(read_conversations(io.StringIO(line), "jsonl"))

    class Enough(Exception):
        pass

    class Out(io.StringIO):
        writes = 0

        def write(self, text: str) -> int:
            self.writes += 1
            if self.writes > 4:
                raise Enough
            return super().write(text)

    recognizer = EmotionRecognizer.from_pretrained(trained.run)
    held: Any = models.deque()
    results = recognizer.predict_many(models._kept(endless(), held), chunk=4)
    with pytest.raises(Enough):
        models._write(((held.popleft(), turns) for turns in results), format, list(recognizer.labels), Out())
    assert read <= 8


def test_low_confidence_is_marked_without_colour_too(
    sacl: Sacl, reader: Path, chat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show, "UNSURE", 1.0)
    out = sacl("predict", reader, chat, "--format", "table").out
    assert out.count("? ") >= 4  # three turns, and what the mark means
    assert "more likely wrong than right" in out
    monkeypatch.setattr(show, "UNSURE", 0.0)
    out = sacl("predict", reader, chat, "--format", "table").out
    assert "more likely wrong" not in out


def test_a_long_conversation_is_laid_out_page_by_page_as_one_table(
    sacl: Sacl, trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = [{"speaker": f"speaker {i}", "text": f"turn {i}", "vector": [i / 9] * 5} for i in range(9)]
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": "long", "utterances": turns}))
    whole = sacl("predict", trained.run, tmp_path / "a.jsonl", "--format", "table").out
    monkeypatch.setattr(show, "_PAGE", 4)
    assert sacl("predict", trained.run, tmp_path / "a.jsonl", "--format", "table").out == whole
    assert whole.count("speaker ") == 10


def in_terminal(*arguments: str | Path, stdout: Any = None) -> str:
    """What a terminal of 80 columns shows; stdout may go elsewhere."""
    main, side = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=side if stdout is None else stdout, stderr=side, env=environment
    )
    os.close(side)
    shown = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        shown += part
    os.close(main)
    assert process.wait() == 0, shown
    return shown.decode()


def test_with_a_terminal_at_stderr_the_output_goes_to_stdout_all_the_same(trained: Any, tmp_path: Path) -> None:
    source = lines(tmp_path / "in.jsonl", 300)
    with (tmp_path / "out.jsonl").open("wb") as out:
        shown = in_terminal("predict", trained.run, source, stdout=out)
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 300
    assert "read" in shown
    assert "utterances" not in shown


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_at_stdout_is_one_line(trained: Any, tmp_path: Path) -> None:
    source = lines(tmp_path / "in.jsonl", 300)
    with Path("/dev/full").open("w") as full:
        command = [*COMMAND, "predict", str(trained.run), str(source)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["sacl: No space left on device. Make room, or name another place"]


def test_a_terminal_shows_every_conversation_and_no_bar_between_them(trained: Any, tmp_path: Path) -> None:
    shown = in_terminal("predict", trained.run, lines(tmp_path / "in.jsonl", 300))
    tables = shown[shown.index("conversation c0") :]
    assert [f"conversation c{i}" in tables for i in (0, 1, 255, 256, 299)] == [True] * 5


def test_csv_of_a_long_input_has_one_header(sacl: Sacl, trained: Any, tmp_path: Path) -> None:
    out = sacl("predict", trained.run, lines(tmp_path / "in.jsonl", 600), "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == sum(1 + i % 3 for i in range(600))
    assert [row["conversation"] for row in rows] == [f"c{i}" for i in range(600) for _ in range(1 + i % 3)]
