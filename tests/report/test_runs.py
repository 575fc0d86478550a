"""A run directory is read back as it was written, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sacl.errors import RunError
from sacl.metrics import score
from sacl.report.runs import read_run


def edited(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def result_with(**changes: object) -> Callable[[str], str]:
    return lambda text: json.dumps(json.loads(text) | changes)


def first_line_with(**changes: object) -> Callable[[str], str]:
    def change(text: str) -> str:
        first, rest = text.split("\n", 1)
        return json.dumps(json.loads(first) | changes) + "\n" + rest

    return change


def test_a_run_reads_back_with_the_scores_of_its_results(make_run):
    run = read_run(make_run(seeds=(0, 3)))
    assert [s.seed for s in run.seeds] == [0, 3]
    known = run.labelled
    assert 0 < known.sum() < len(known)  # the data have unlabelled turns
    for s in run.seeds:
        found = score(run.gold[known], s.predicted[known], len(run.labels))
        assert found.weighted_f1 == pytest.approx(s.result["test"]["weighted_f1"], abs=1e-12)
        assert np.array_equal(s.probabilities.argmax(axis=1), s.predicted)
    assert np.all(np.diff(run.conversations) >= 0)
    assert run.conversations.max() == 8


def figures_with(**others):
    """result.json whose figures on the test split are others."""

    def change(text):
        result = json.loads(text)
        return json.dumps(result | {"test": result["test"] | others})

    return change


DAMAGE = {
    "result cut off": ("result.json", lambda t: t[:40]),
    "result without test": (
        "result.json",
        lambda t: json.dumps({k: v for k, v in json.loads(t).items() if k != "test"}),
    ),
    "test not scored": ("result.json", result_with(test=None)),
    "result of another seed": ("result.json", result_with(seed=7)),
    "result no object": ("result.json", lambda t: "[]"),
    "figure not a number": ("result.json", lambda t: t.replace('"accuracy": 50.0', '"accuracy": NaN')),
    "another accuracy": ("result.json", figures_with(accuracy=99.0)),
    "another F1 of a class": ("result.json", figures_with(f1=[1.0, 2.0, 3.0])),
    "an F1 missing": ("result.json", figures_with(f1=[])),
    "other utterances of a class": ("result.json", figures_with(support=[1, 2, 3])),
    "no utterances of a class": ("result.json", figures_with(support=[])),
    "predictions cut off": ("predictions.jsonl", lambda t: t[:-30]),
    "predictions empty": ("predictions.jsonl", lambda t: ""),
    "a line missing": ("predictions.jsonl", lambda t: t.split("\n", 2)[2]),
    "a line twice": ("predictions.jsonl", lambda t: t + t.split("\n")[0] + "\n"),
    "another emotion": ("predictions.jsonl", first_line_with(predicted="bored")),
    "probabilities of others": ("predictions.jsonl", first_line_with(probabilities={"calm": 1.0})),
    "no distribution": ("predictions.jsonl", first_line_with(probabilities={"calm": 5.0})),
    "other labels": ("predictions.jsonl", lambda t: t.replace('"emotion": "glad"', '"emotion": "calm"')),
    "metrics cut off": ("metrics.jsonl", lambda t: t[:-20]),
    "epoch missing": ("metrics.jsonl", lambda t: t.split("\n", 1)[1]),
    "loss not a number": ("metrics.jsonl", lambda t: t.replace("9.0", "NaN")),
    "not UTF-8": ("metrics.jsonl", None),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_told_in_one_line_that_names_the_seed(make_run, name):
    folder = make_run()
    file, change = DAMAGE[name]
    if change is None:
        (folder / "seed-1" / file).write_bytes(b"\xff\xfe\n")
    else:
        edited(folder / "seed-1" / file, change)
    with pytest.raises(RunError, match="seed-1") as caught:
        read_run(folder)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_an_incomplete_seed_is_refused(make_run):
    folder = make_run()
    (folder / "seed-1" / "result.json").unlink()
    with pytest.raises(RunError, match=r"seed-1: this seed is not complete\. Continue with --resume"):
        read_run(folder)


def test_seeds_of_other_labels_are_refused(make_run):
    """Labels and results changed alike in one seed, so that only a look at both seeds shows it."""
    folder = make_run()
    for name in ("predictions.jsonl", "result.json"):
        edited(folder / "seed-1" / name, lambda t: t.replace("glad", "merry"))
    with pytest.raises(RunError, match="not those of seed 0"):
        read_run(folder)


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"data": {"corpus": "x"}}'])
def test_a_folder_with_a_damaged_record_is_refused(make_run, record):
    folder = make_run()
    (folder / "run.json").write_text(record, encoding="utf-8")
    with pytest.raises(RunError):
        read_run(folder)
