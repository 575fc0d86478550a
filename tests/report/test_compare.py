"""Differences between runs: nothing where there is none, and the published row always with its encoder."""

from __future__ import annotations

import random
import shutil

import numpy as np
import pytest
from scipy.stats import ttest_rel

from sacl.errors import RunError
from sacl.report.compare import compare, comparison_record, comparison_table
from sacl.report.runs import read_run


def test_a_run_does_not_differ_from_its_copy(make_run, tmp_path):
    folder = make_run()
    shutil.copytree(folder, tmp_path / "copy")
    _, copy = compare([read_run(folder), read_run(tmp_path / "copy")])
    assert copy.bootstrap is not None
    assert copy.bootstrap == (0.0, 0.0, 0.0, 1.0)
    assert (copy.bootstrap_p, copy.t_difference, copy.t_p) == (1.0, 0.0, 1.0)


def test_the_order_of_the_predictions_changes_nothing(make_run, tmp_path):
    a, b = make_run("a"), make_run("b", skill=0.2)
    shutil.copytree(b, tmp_path / "b-shuffled")
    order = random.Random(0).sample(range(1000), 1000)
    for seed in (0, 1):
        file = tmp_path / "b-shuffled" / f"seed-{seed}" / "predictions.jsonl"
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        file.write_text("".join(line for _, line in sorted(zip(order, lines, strict=False))), encoding="utf-8")
    _, plain, shuffled = compare([read_run(a), read_run(b), read_run(tmp_path / "b-shuffled")])
    assert plain.bootstrap == shuffled.bootstrap
    assert plain.bootstrap is not None
    assert plain.bootstrap.difference < 0


def test_the_t_test_pairs_the_seeds_that_both_runs_have(make_run):
    a, b = read_run(make_run("a", seeds=(0, 1, 2, 5))), read_run(make_run("b", seeds=(2, 5, 1), skill=0.3))
    _, compared = compare([a, b])
    figures = [{s.seed: s.result["test"]["weighted_f1"] for s in run.seeds} for run in (a, b)]
    pairs = np.array([[f[seed] for seed in (1, 2, 5)] for f in figures])
    assert compared.seeds == 3
    assert compared.t_p == pytest.approx(ttest_rel(*pairs).pvalue)
    assert compared.t_difference == pytest.approx((pairs[1] - pairs[0]).mean())


def test_one_common_seed_gives_no_t_test(make_run):
    _, compared = compare([read_run(make_run("a", seeds=(0, 1))), read_run(make_run("b", seeds=(1, 2)))])
    assert (compared.seeds, compared.t_p) == (1, None)
    assert compared.bootstrap_p is not None


def test_p_values_are_corrected_for_the_number_of_runs(make_run):
    a, b, c = (read_run(make_run(name, skill=skill)) for name, skill in (("a", 0.9), ("b", 0.1), ("c", 0.2)))
    alone = compare([a, b])[1]
    among = compare([a, b, c])[1]
    assert alone.bootstrap is not None
    assert alone.bootstrap_p == alone.bootstrap.p
    assert among.bootstrap_p == pytest.approx(2 * alone.bootstrap.p)


def test_the_published_row_stands_beside_ours_with_its_encoder(make_run):
    table = comparison_table(compare([read_run(make_run("a")), read_run(make_run("b"))]))
    assert [row[0] for row in table.rows] == ["a", "b", "published, mean"]
    assert table.rows[-1][2:4] == ["61.00", "60.50"]
    notes = " ".join(table.notes)
    assert "another encoder" in notes
    assert "MiniLM" in notes
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_runs_of_one_name_are_told_apart(make_run, tmp_path):
    folder = make_run("a")
    shutil.copytree(folder, tmp_path / "other" / "a")
    names = [c.name for c in compare([read_run(folder), read_run(tmp_path / "other" / "a")])]
    assert len(set(names)) == 2


def test_the_record_holds_what_the_table_shows(make_run):
    compared = compare([read_run(make_run("a")), read_run(make_run("b", skill=0.1))])
    first, second = comparison_record(compared)
    assert first["difference"] is None
    assert second["weighted_f1"] - first["weighted_f1"] == pytest.approx(second["difference"]["difference"])


def test_what_cannot_be_compared_is_refused(make_run):
    run = read_run(make_run("a"))
    with pytest.raises(RunError, match="one run only"):
        compare([run])
    with pytest.raises(RunError, match="twice"):
        compare([run, run])
    other = make_run("b")
    for seed in (0, 1):
        file = other / f"seed-{seed}" / "predictions.jsonl"
        file.write_text(file.read_text(encoding="utf-8").replace('"c0"', '"z0"'), encoding="utf-8")
    with pytest.raises(RunError, match="not those of"):
        compare([run, read_run(other)])
