"""The document of `sacl robustness`: read back whole or refused, and shown beside the runs that it measured only."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sacl.cli import app
from sacl.errors import RunError
from sacl.evaluation import robustness as measuring
from sacl.report.render import text
from sacl.report.report import chapters, html_report, text_report
from sacl.report.robustness import KINDS, read_robustness, require_measured, robustness_tables
from sacl.report.runs import read_run

STRENGTHS = {
    "weights": measuring.WEIGHT_STRENGTHS,
    "weights-noise": measuring.WEIGHT_STRENGTHS,
    "inputs": measuring.INPUT_STRENGTHS,
    "inputs-noise": measuring.INPUT_STRENGTHS,
    "speakers-lost": measuring.SPEAKERS_LOST,
    "turns-missing": measuring.TURNS_SEEN,
    "turns-shuffled": measuring.REACHES,
    "typing-errors": measuring.TYPING_ERRORS,
}


def measured(*folders, seeds=(0, 1)):
    """A document as the command writes it; the clean figures are the runs' own, the others fall by some points."""
    document = {"split": "test", "steps": 10, "draws": 3, "axes": measuring.ATTACKS, "notes": []}
    document |= {"runs": [], "records": []}
    for folder in map(Path, folders):
        about = {"run": str(folder), "name": folder.name, "recipe": "run", "corpus": "own", "seeds": list(seeds)}
        document["runs"].append(about | {"weight_lengths": [{"a": 1.25, "b": 9.5} for _ in seeds]})
        for seed in seeds:
            path = folder / f"seed-{seed}" / "result.json"
            clean = json.loads(path.read_text(encoding="utf-8"))["test"]["weighted_f1"] if path.exists() else 50.0
            points = [("none", 0, clean)]
            points += [(a, s, clean * (0.9 - 0.1 * i)) for a, found in STRENGTHS.items() for i, s in enumerate(found)]
            document["records"] += [
                {"run": str(folder), "seed": seed, "attack": a, "strength": s, "weighted_f1": f, "accuracy": f}
                for a, s, f in points
            ]
    return document


@pytest.fixture
def written(tmp_path):
    """document -> its file."""

    def write(document):
        path = tmp_path / "robustness.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    return write


def test_every_attack_that_can_be_measured_has_a_name_and_an_axis():
    assert {*KINDS, "none", "weights-noise", "inputs-noise"} == set(measuring.ATTACKS)


def test_a_cell_is_the_mean_over_seeds_with_its_deviation_where_asked(written):
    document = measured("a", "b")
    draw = np.random.default_rng(0)
    for record in document["records"]:
        record["weighted_f1"] = draw.uniform(0, 100)
    for spread in (False, True):
        tables = {t.title.split(":")[0]: t for t in robustness_tables(read_robustness(written(document)), spread)}
        assert set(tables) == {kind.title for kind in KINDS.values()}
        for attack, kind in KINDS.items():
            for name, clean, *cells in tables[kind.title].rows:
                run, what = name.removesuffix(", noise"), f"{attack}-noise" if name.endswith(", noise") else attack
                for wanted, strength, cell in zip(
                    [what] * len(cells) + ["none"], [*STRENGTHS[attack], 0], [*cells, clean], strict=True
                ):
                    f = [
                        r["weighted_f1"]
                        for r in document["records"]
                        if (r["run"], r["attack"], r["strength"]) == (run, wanted, strength)
                    ]
                    assert cell == f"{np.mean(f):.2f}" + f" ± {np.std(f, ddof=1):.2f}" * spread


def test_one_seed_has_no_deviation_and_the_tensors_norms_stand_beside_the_strengths(written):
    tables = list(robustness_tables(read_robustness(written(measured("a", seeds=[3]))), spread=True))
    assert "±" not in "".join(text(table) for table in tables)
    assert "Norms of these tensors themselves: a 1.2 to 9.5." in tables[0].notes
    assert "eviation" not in " ".join(note for table in tables for note in table.notes)


def test_what_could_not_be_done_is_said_in_every_report(written, make_run):
    folder = make_run("a")
    document = measured(folder)
    document["notes"] = ["a: typing errors need texts"]
    document["records"] = [r for r in document["records"] if r["attack"] != "typing-errors"]
    found = read_robustness(written(document))
    run = read_run(folder)
    for format in ("md", "latex", "text"):
        made = text_report([run], format, found)
        assert "typing errors need texts" in made
        assert "Typing errors:" not in made
    assert "typing errors need texts" in html_report([run], chapters([run], representations=False, robustness=found))


def broken(change):
    document = measured("a", "b")
    change(document)
    return document


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("records"), "records: Field required"),
        (lambda d: d.update(split="dev"), "split: "),
        (lambda d: d.update(runs=[]), "runs: "),
        (lambda d: d["records"].append(d["records"][5]), "each once"),
        (lambda d: d["records"][5].update(run="c"), "not those of its runs"),
        (lambda d: d["records"][5].update(seed=9), "not those of its runs"),
        (lambda d: d["records"][5].update(attack="charm"), "unknown attack 'charm'"),
        (lambda d: d["records"][5].update(strength=0), "an attack has no strength"),
        (lambda d: d["records"][5].update(weighted_f1=101), "weighted_f1: "),
        (lambda d: d["records"][5].update(weighted_f1=float("nan")), "weighted_f1: "),
        (lambda d: d["records"].pop(0), "clean figure is missing"),
        (lambda d: d["runs"].append(copy.deepcopy(d["runs"][0])), "each once"),
    ],
)
def test_a_document_that_is_not_whole_is_refused(written, change, message):
    with pytest.raises(RunError, match=r"no document of `sacl robustness`") as error:
        read_robustness(written(broken(change)))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_document_is_refused(tmp_path):
    for content in (b"", b"{", b"[1]", b"\xff\xfe"):
        (tmp_path / "x.json").write_bytes(content)
        with pytest.raises(RunError, match="no document"):
            read_robustness(tmp_path / "x.json")
    for path in (tmp_path, tmp_path / "nothing.json"):
        with pytest.raises(RunError, match="cannot be read"):
            read_robustness(path)


def test_figures_of_other_runs_or_of_an_earlier_training_are_not_shown(written, make_run, tmp_path):
    folder = make_run("a")
    run = read_run(folder)
    path = written(measured(folder))
    require_measured(read_robustness(path), [run], path)
    other = measured(tmp_path / "b")
    with pytest.raises(RunError, match="none of the runs of this report"):
        require_measured(read_robustness(written(other)), [run], path)
    old = measured(folder)
    for record in old["records"]:
        record["weighted_f1"] = max(record["weighted_f1"] - 1, 0)
    with pytest.raises(RunError, match="another training"):
        require_measured(read_robustness(written(old)), [run], path)
    # Of another split the run's record says nothing.
    require_measured(read_robustness(written(old | {"split": "valid"})), [run], path)


def test_a_run_that_was_moved_is_known_by_its_name(written, make_run):
    folder = make_run("a")
    moved = json.loads(json.dumps(measured(folder)).replace(str(folder), "/elsewhere/a"))
    path = written(moved)
    require_measured(read_robustness(path), [read_run(folder)], path)
    # The end of a name is no name.
    path = written(json.loads(json.dumps(moved).replace('"name": "a"', '"name": "other/a"')))
    with pytest.raises(RunError, match="none of the runs"):
        require_measured(read_robustness(path), [read_run(folder)], path)


def test_the_section_stands_in_the_run_s_own_chapter_or_in_the_comparison(written, make_run):
    pytest.importorskip("matplotlib")
    a, b = make_run("a"), make_run("b", skill=0.2)
    found = read_robustness(written(measured(a, b)))
    one, two = read_run(a), read_run(b)
    (alone,) = chapters([one], representations=False, robustness=found)
    assert [s.name for s in alone.sections][-2:] == ["robustness", "run-1-provenance"]
    first, *others = chapters([one, two], representations=False, robustness=found)
    assert [s.name for s in first.sections] == ["comparison", "robustness"]
    assert all(s.name != "robustness" for chapter in others for s in chapter.sections)
    page = html_report([one, two], [first, *others])
    assert '<svg id="robustness"' in page
    assert page.count("Attack on the weights:") >= 1


def run_command(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_command_adds_tables_in_every_format_and_the_figure(written, make_run, tmp_path):
    pytest.importorskip("matplotlib")
    folder = make_run("a")
    path = written(measured(folder))
    for format in ("md", "latex", "text"):
        done = run_command("report", folder, "--robustness", path, "--format", format)
        assert done.exit_code == 0
        assert all(kind.title in done.output for kind in KINDS.values())
    figures = tmp_path / "figures"
    done = run_command("report", folder, "--no-tsne", "--robustness", path, "--figures", figures)
    assert done.exit_code == 0
    assert '<svg id="robustness"' in (folder / "report.html").read_text(encoding="utf-8")
    assert (figures / "robustness.pdf").exists()
    assert isinstance(run_command("report", folder, "--robustness", folder / "run.json").exception, RunError)


def test_the_reference_is_named_by_path_or_by_name(make_run, tmp_path):
    folders = [make_run(name, skill=skill) for name, skill in (("a", 0.9), ("b", 0.1), ("c", 0.3))]
    for reference in (folders[1], "b", folders[1].parent / "x" / ".." / "b"):
        done = run_command("compare", *folders, "--reference", reference, "--json")
        assert [r["name"] for r in json.loads(done.output)] == ["b", "a", "c"]
    shown = run_command("report", *folders, "--reference", "c", "--format", "text").output
    assert shown.index("\nc ") < shown.index("\na ") < shown.index("\nb ")
    assert "against c." in shown
    (tmp_path / "x").mkdir()
    again = make_run("x/b")
    for reference, message in (("d", "none of the runs"), ("b", "several of the runs")):
        done = run_command("compare", *folders, again, "--reference", reference)
        assert isinstance(done.exception, RunError)
        assert message in str(done.exception)


def test_tables_of_several_runs_say_whose_they_are(make_run):
    runs = [read_run(make_run("a")), read_run(make_run("b"))]
    for format in ("md", "latex", "text"):
        made = text_report(runs, format)
        for name in ("a", "b"):
            assert f"{name}: Intervals, percent" in made
            assert f"{name}: F1 by class, percent" in made
    assert "a: Intervals" not in text_report(runs[:1], "text")
