"""What the command prints: tables for a person, one JSON document for a program."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len

import sacl as package
from sacl.datasets import DATASETS

Sacl = Callable[..., Any]
COMMAND = [sys.executable, "-c", "from sacl.cli import main; main()"]


def fits(out: str) -> None:
    """Every line stands within 80 columns, but for a command to copy, which holds a path."""
    for line in out.splitlines():
        assert line.startswith("    sacl predict ") or cell_len(line.rstrip()) <= 80, line


def test_train_shows_a_table_and_json_is_one_document(sacl: Sacl, trained: Any, tmp_path: Path) -> None:
    code, out, err = sacl("train", trained.recipe, "--out", tmp_path / "a", "--jobs", "1")
    assert (code, err) == (0, "")
    fits(out)
    for word in ("tiny: test split, percent", "seed 0", "seed 1", "mean", "deviation", "W-F1", "calm", "cross", "glad"):
        assert word in out
    code, out, err = sacl("train", trained.recipe, "--out", tmp_path / "a", "--resume", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert [seed["seed"] for seed in document["seeds"]] == [0, 1]
    assert document["recipe"]["name"] == "tiny"
    assert document["run"] == str(tmp_path / "a")


def test_seeds_and_settings_of_the_command_line_are_used(sacl: Sacl, trained: Any, tmp_path: Path) -> None:
    options = ["--seeds", "4,7-8", "--set", "training.epochs=1", "--monitor-test", "--jobs", "1", "--json"]
    _, out, _ = sacl("train", trained.recipe, "--out", tmp_path / "run", *options)
    document = json.loads(out)
    assert [(seed["seed"], seed["epochs"]) for seed in document["seeds"]] == [(4, 1), (7, 1), (8, 1)]
    assert "not used to select" in (tmp_path / "run" / "seed-4" / "metrics.jsonl").read_text()


def test_by_default_the_run_lies_under_runs_by_the_recipes_name(
    sacl: Sacl, trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sacl("train", trained.recipe, "--seeds", "0").code == 0
    assert (tmp_path / "runs" / "tiny" / "seed-0" / "result.json").exists()


def test_evaluate_shows_the_run_again(sacl: Sacl, trained: Any) -> None:
    code, out, err = sacl("evaluate", trained.run)
    assert (code, err) == (0, "")
    fits(out)
    document = json.loads(sacl("evaluate", trained.run, "--json").out)
    results = [json.loads((trained.run / f"seed-{s}" / "result.json").read_text()) for s in (0, 1)]
    for result in results:
        assert len(result.pop("sha256")) == 64  # of the file, which was checked against it
    assert document["seeds"] == results
    for result in results:
        assert f"{result['test']['weighted_f1']:.2f}" in out
    assert "valid split" in sacl("evaluate", trained.run, "--split", "valid").out


def test_data_list_names_every_data_set(sacl: Sacl) -> None:
    _, out, err = sacl("data", "list")
    assert err == ""
    fits(out)
    assert all(name in out for name in DATASETS)
    document = json.loads(sacl("data", "list", "--json").out)
    assert [info["name"] for info in document] == list(DATASETS)


def test_data_show_gives_card_and_counts(sacl: Sacl) -> None:
    code, out, err = sacl("data", "show", "sample")
    assert (code, err) == (0, "")
    assert "150" in out
    fits(out)
    document = json.loads(sacl("data", "show", "sample", "--json").out)
    assert {split: c["conversations"] for split, c in document["counts"].items()} == {
        split: conversations for split, (conversations, _) in DATASETS["sample"].expected.items()
    }


def test_data_show_of_ones_own_folder_counts_it(sacl: Sacl, trained: Any) -> None:
    document = json.loads(sacl("data", "show", trained.data, "--json").out)
    assert document["counts"]["train"]["conversations"] == 8
    _, out, _ = sacl("data", "show", trained.data)
    fits(out)


def test_convert_writes_what_predict_reads(sacl: Sacl, trained: Any, tmp_path: Path) -> None:
    code, out, _ = sacl("data", "convert", trained.data, "--out", tmp_path / "all.jsonl", "--split", "test")
    assert (code, out) == (0, f"{tmp_path / 'all.jsonl'}: 4 conversations\n")
    assert sacl("predict", trained.run, tmp_path / "all.jsonl", "--json").out == (
        sacl("predict", trained.run, trained.data / "test.jsonl", "--json").out
    )


def test_encode_keeps_vectors_that_train_reads(sacl: Sacl, trained: Any, tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    for split in ("train", "valid", "test"):
        turns = [
            {"speaker": "A", "text": f"Turn {i} of {split}.", "emotion": e} for i, e in enumerate(("calm", "glad"))
        ]
        (texts / f"{split}.jsonl").write_text(json.dumps({"id": split, "utterances": turns}))
    _, out, err = sacl("encode", texts, "--out", tmp_path / "vectors", "--cache", tmp_path / "cache", "--json")
    assert err == ""
    document = json.loads(out)
    assert (document["utterances"], document["modalities"]) == (6, {"text": 384})
    options = ["--set", f"data.name={texts}", "--seeds", "0", "--features", tmp_path / "vectors"]
    assert sacl("train", trained.recipe, *options, "--out", tmp_path / "run").code == 0
    assert sacl("evaluate", tmp_path / "run").code == 0
    assert sacl("predict", tmp_path / "run", texts / "test.jsonl").code == 0


def test_predict_says_the_same_in_every_format(sacl: Sacl, trained: Any) -> None:
    test = trained.data / "test.jsonl"
    document = json.loads(sacl("predict", trained.run, test, "--json").out)
    lines = sacl("predict", trained.run, test, "--format", "jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == document
    assert sacl("predict", trained.run, test).out.splitlines() == lines  # stdout is no terminal here
    rows = list(csv.DictReader(io.StringIO(sacl("predict", trained.run, test, "--format", "csv").out)))
    flat = [(c["id"], u) for c in document for u in c["utterances"]]
    assert [(r["conversation"], r["utterance"], r["emotion"]) for r in rows] == [
        (id, u["id"], u["emotion"]) for id, u in flat
    ]
    for row, (_, u) in zip(rows, flat, strict=True):
        assert {name: float(row[name]) for name in u["probabilities"]} == u["probabilities"]
    table = sacl("predict", trained.run, test, "--format", "table").out
    fits(table)
    assert all(f"conversation {c['id']}" in table for c in document)


def test_predictions_are_the_evaluated_ones(sacl: Sacl, trained: Any) -> None:
    seed = trained.run / "seed-1"
    document = json.loads(sacl("predict", seed, trained.data / "test.jsonl", "--json").out)
    told = [list(u["probabilities"].values()) for c in document for u in c["utterances"]]
    lines = (seed / "predictions.jsonl").read_text().splitlines()
    evaluated = np.array([list(json.loads(line)["probabilities"].values()) for line in lines])
    # The evaluated ones are the network's; a user is told the calibrated ones.
    calibrated = evaluated ** (1 / json.loads((seed / "result.json").read_text())["calibration"]["temperature"])
    assert np.allclose(told, calibrated / calibrated.sum(axis=1, keepdims=True), atol=1e-5)


def test_ids_stand_for_their_own_conversation_beyond_a_chunk(sacl: Sacl, trained: Any, tmp_path: Path) -> None:
    lines = [
        json.dumps({"id": f"c{i}", "utterances": [{"speaker": "A", "vector": [i / 100] * 5}] * (1 + i % 3)})
        for i in range(600)
    ]
    (tmp_path / "many.jsonl").write_text("\n".join(lines))
    document = [json.loads(line) for line in sacl("predict", trained.run, tmp_path / "many.jsonl").out.splitlines()]
    assert [(c["id"], len(c["utterances"])) for c in document] == [(f"c{i}", 1 + i % 3) for i in range(600)]


def test_stdin_is_read_as_the_format_asked_for(sacl: Sacl, trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (trained.data / "test.jsonl").read_text()
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    piped = sacl("predict", trained.run, "-", "--from", "jsonl")
    assert piped.out == sacl("predict", trained.run, trained.data / "test.jsonl").out


ODD = "\x1b[31mred\x07 \x9b2J \u202eright to left [bold]not markup[/bold] " + "字" * 70 + "👩‍👩‍👧🙂" * 20


def test_wide_and_control_characters_stay_within_the_table(sacl: Sacl, trained: Any, tmp_path: Path) -> None:
    turns = [
        {"speaker": ODD[:30], "text": ODD, "vector": [0] * 5},
        {"speaker": "B", "text": "x" * 300, "vector": [1] * 5},
    ]
    (tmp_path / "odd.jsonl").write_text(json.dumps({"id": "odd \x1b[2J", "utterances": turns}))
    _, out, _ = sacl("predict", trained.run, tmp_path / "odd.jsonl", "--format", "table")
    fits(out)
    assert all(c.isprintable() or c == "\n" for c in out)
    joined = "".join(out.split())
    assert out.count("字") >= 70  # folded, not cut
    assert out.count("x") >= 300
    assert "…" not in out
    assert "[bold]not" in joined


def test_help_and_version(sacl: Sacl) -> None:
    code, out, err = sacl("--help")
    assert (code, err) == (0, "")
    assert all(verb in out for verb in ("demo", "train", "evaluate", "predict", "encode", "data"))
    assert sacl("--version") == (0, f"{package.__version__}\n", "")
    for verb in ("train", "data list", "predict"):
        assert sacl(*verb.split(), "--help").code == 0


def test_without_a_verb_the_help_is_shown(sacl: Sacl) -> None:
    for arguments in ([], ["data"]):
        code, out, err = sacl(*arguments)
        assert (code, out) == (2, "")
        assert "Commands:" in err
        assert "See `sacl --help`" not in err


def test_a_demo_replaces_a_demo_and_nothing_else(sacl: Sacl, trained: Any, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(trained.run, tmp_path / "run")
    code, _, err = sacl("demo", "--out", tmp_path / "run", "--epochs", "1")
    assert code == 2
    assert "not empty" in err
    assert (tmp_path / "run" / "seed-0" / "model.safetensors").exists()


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["data", "list"], ["--help"], ["predict", "RUN", "TEST"]])
def test_a_reader_that_has_seen_enough_is_no_failure(arguments: list[str], unbuffered: str, trained: Any) -> None:
    places = {"RUN": str(trained.run), "TEST": str(trained.data / "test.jsonl")}
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [*COMMAND, *(places.get(a, a) for a in arguments)],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_installed_command_is_this_one(trained: Any) -> None:
    command = Path(sys.executable).with_name("sacl")
    if not command.exists():
        pytest.skip(f"{command} is not there: the package is not installed beside this Python")
    done = subprocess.run([command, "evaluate", "nowhere"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "sacl: nowhere: it is no run directory. Name one that `sacl train` made\n"


def test_what_to_run_next_is_a_command_that_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from sacl.cli.train import _show_models

    monkeypatch.setattr(sys, "argv", [".venv/bin/sacl", "demo"])
    for path, command in ((tmp_path, ".venv/bin/sacl"), (Path(sys.executable).parent, "sacl")):
        monkeypatch.setenv("PATH", str(path))
        _show_models(Path("runs/demo"))
        assert capsys.readouterr().out.splitlines()[-1] == f"    {command} predict runs/demo FILE"
