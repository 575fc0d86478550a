"""`sacl robustness` on two tiny runs: one from texts, one from vectors that came with the corpus."""

from __future__ import annotations

import importlib.util
import json
import shutil

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from sacl.cli import robustness as verb
from sacl.errors import RunError, SaclError
from sacl.evaluation.robustness import ATTACKS
from sacl.experiment.recipe import load_recipe
from sacl.experiment.study import study
from sacl.report.robustness import read_robustness, robustness_tables

LINES = {"joy": ("What a lovely day!", "I am so glad."), "anger": ("Get out of here.", "You ruined it again.")}


def write_corpus(folder, vectors):
    draw = np.random.default_rng(0)
    folder.mkdir()
    for split in ("train", "valid", "test"):
        with (folder / f"{split}.jsonl").open("w") as file:
            for i in range(4):
                turns = []
                for turn in range(4):
                    emotion = ("joy", "anger")[int(draw.integers(2))]
                    said = {"text": LINES[emotion][int(draw.integers(2))]}
                    if vectors:
                        said = {"vector": (draw.normal(size=4) + 3 * (emotion == "joy")).tolist()}
                    turns.append({"speaker": "AB"[turn % 2], "emotion": emotion, **said})
                file.write(json.dumps({"id": f"{split}{i}", "utterances": turns}) + "\n")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folder of the runs `texts` (two seeds) and `vectors`."""
    folder = tmp_path_factory.mktemp("robustness")
    for name, seeds in (("texts", "[0, 1]"), ("vectors", "[0]")):
        write_corpus(folder / f"{name}-data", name == "vectors")
        recipe = load_recipe(
            "sample",
            [f"data.name={folder / f'{name}-data'}", f"seeds={seeds}", "training.epochs=3", "model.hidden_size=4"],
        )
        study(recipe, folder / name, cache=folder / "cache", jobs=1)
    return folder


@pytest.fixture
def invoke(runs):
    app = typer.Typer()
    app.command()(verb.robustness)

    def call(*arguments):
        result = CliRunner().invoke(app, [str(a) for a in arguments] + ["--cache", str(runs / "cache")])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def test_every_attack_on_every_seed_of_every_run_and_the_clean_figures_are_the_runs_own(runs, invoke):
    document = json.loads(invoke(runs / "texts", runs / "vectors", "--steps", 2, "--json").stdout)
    assert [(r["run"], r["seeds"]) for r in document["runs"]] == [
        (str(runs / "texts"), [0, 1]),
        (str(runs / "vectors"), [0]),
    ]
    done = {(r["run"], r["attack"]) for r in document["records"]}
    assert {attack for run, attack in done if run.endswith("texts")} == set(ATTACKS)
    assert {attack for run, attack in done if run.endswith("vectors")} == set(ATTACKS) - {"typing-errors"}
    assert document["notes"] == [
        f"{runs / 'vectors'}: typing errors need texts and their encoder, and it was trained on given vectors"
    ]
    for record in document["records"]:
        if record["attack"] == "none":
            result = json.loads((runs / record["run"] / f"seed-{record['seed']}" / "result.json").read_text())
            assert record["weighted_f1"] == pytest.approx(result["test"]["weighted_f1"])


def test_the_table_shows_means_over_seeds_and_the_file_holds_the_same_figures(runs, invoke, tmp_path):
    out = tmp_path / "robustness.json"
    shown = invoke(runs / "texts", "--attack", "weights", "--steps", 2, "--out", out).stdout
    document = json.loads(out.read_text())
    (table,) = robustness_tables(read_robustness(out))
    attacked, noisy = table.rows
    assert (attacked[0], noisy[0]) == ("texts", "texts, noise")
    for row, attack in ((attacked, "weights"), (noisy, "weights-noise")):
        for column, cell in zip(table.columns[2:], row[2:], strict=True):
            found = [
                r["weighted_f1"] for r in document["records"] if (r["attack"], f"{r['strength']:g}") == (attack, column)
            ]
            assert len(found) == 2
            assert cell == f"{sum(found) / 2:.2f}"
            assert cell in shown


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_the_figure_is_drawn_beside_the_tables(runs, invoke, tmp_path, suffix):
    pytest.importorskip("matplotlib")
    figure = tmp_path / f"figure{suffix}"
    done = invoke(runs / "texts", "--attack", "inputs", "--steps", 1, "--seeds", 0, "--figure", figure)
    assert "Attack on the inputs" in done.stdout
    signs = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}
    assert figure.read_bytes().startswith(signs[suffix])
    assert list(tmp_path.iterdir()) == [figure]


def test_runs_of_one_name_are_told_apart(runs, invoke, tmp_path):
    shutil.copytree(runs / "vectors", tmp_path / "vectors")
    document = json.loads(
        invoke(runs / "vectors", tmp_path / "vectors", "--attack", "inputs", "--steps", 1, "--json").stdout
    )
    names = [about["name"] for about in document["runs"]]
    assert len(set(names)) == 2
    assert all(name.endswith("/vectors") for name in names)


def test_where_nothing_can_be_attacked_the_figure_says_so_and_what_was_found_is_kept(
    runs, invoke, tmp_path, monkeypatch
):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("sacl.evaluation.robustness.weight_lengths", lambda model: {})
    out, figure = tmp_path / "found.json", tmp_path / "figure.pdf"
    with pytest.raises(RunError, match=r"nothing to draw .*its model names no weights to attack"):
        invoke(runs / "vectors", "--attack", "weights", "--out", out, "--figure", figure)
    assert read_robustness(out).attacks == []
    assert not figure.exists()


def test_seeds_may_be_chosen(runs, invoke):
    document = json.loads(invoke(runs / "texts", "--attack", "inputs", "--steps", 1, "--seeds", "1", "--json").stdout)
    assert {r["seed"] for r in document["records"]} == {1}
    with pytest.raises(RunError, match="no seed 7"):
        invoke(runs / "texts", "--seeds", "7")


def test_what_cannot_be_is_said_before_the_work(runs, invoke, tmp_path, monkeypatch):
    shutil.copytree(runs / "vectors", tmp_path / "cut off")
    (tmp_path / "cut off" / "seed-0" / "result.json").unlink()
    monkeypatch.setattr("sacl.experiment.evaluate.load_seed", lambda *_, **__: pytest.fail("it has begun"))
    with pytest.raises(RunError, match="not complete"):
        invoke(runs / "texts", tmp_path / "cut off")
    shutil.copytree(runs / "vectors", tmp_path / "damaged")
    model = tmp_path / "damaged" / "seed-0" / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-1] + b"\xff")
    with pytest.raises(SaclError, match="damaged"):
        invoke(runs / "texts", tmp_path / "damaged")
    with pytest.raises(RunError, match="no run directory"):
        invoke(runs / "texts", tmp_path / "elsewhere")
    with pytest.raises(RunError, match="no file that can be written"):
        invoke(runs / "texts", "--out", tmp_path / "no" / "such.json")
    with pytest.raises(RunError, match="no file that can be written"):
        invoke(runs / "texts", "--figure", tmp_path / "no" / "such.pdf")
    for name, found in (("figure.jpeg", "no .jpeg"), ("figure", "no file without suffix")):
        with pytest.raises(RunError, match=f"a figure is {found}"):
            invoke(runs / "texts", "--figure", tmp_path / name)
    import_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == "matplotlib" else import_spec(n, *a))
    with pytest.raises(SaclError, match=r"matplotlib is not installed.* pip install 'sacl\[report\]'"):
        invoke(runs / "texts", "--figure", tmp_path / "figure.pdf")
    assert invoke(runs / "texts", "--attack", "everything").exit_code == 2
