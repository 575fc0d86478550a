"""Tables of a run: figures counted by hand, the published row beside those of the test split alone."""

from __future__ import annotations

from typing import Any

import pytest

from sacl.experiment.recipe import Recipe, load_recipe
from sacl.report.table import class_table, encoder_name, seed_table

MELD = load_recipe("meld")
OWN = load_recipe("sample")


def result(seed: int, accuracy: float, recipe: Recipe = MELD) -> dict[str, Any]:
    labels = list(recipe.published.mean.f1) if recipe.published is not None else ["calm", "glad"]
    figures = {
        "accuracy": accuracy,
        "weighted_f1": accuracy - 10,
        "macro_f1": accuracy - 20,
        "f1": [accuracy / 2] * len(labels),
        "support": list(range(len(labels))),
    }
    valid = {"weighted_f1": accuracy + 1}
    return {
        "seed": seed,
        "epoch": 7 + seed,
        "labels": labels,
        "test": figures,
        "valid": figures | valid,
        "data": {"corpus": "tiny", "source": {"name": "minilm"}},
    }


RESULTS = [result(0, 60.0), result(1, 62.0), result(2, 67.0)]


def test_mean_and_sample_deviation_stand_under_the_seeds() -> None:
    table = seed_table(MELD, RESULTS, "MiniLM")
    assert table.rows[:3] == [
        ["seed 0", "60.00", "50.00", "40.00", "61.00", "7"],
        ["seed 1", "62.00", "52.00", "42.00", "63.00", "8"],
        ["seed 2", "67.00", "57.00", "47.00", "68.00", "9"],
    ]
    # (60 + 62 + 67) / 3 = 63; squares of -3, -1, 4 add up to 26; the root of 26 / 2 is 3.606.
    assert table.rows[3] == ["mean", "63.00", "53.00", "43.00", "64.00", ""]
    assert table.rows[4] == ["deviation", "3.61", "3.61", "3.61", "3.61", ""]


def test_the_published_row_names_its_encoder_and_leaves_blank_what_is_not_known() -> None:
    table = seed_table(MELD, RESULTS, "MiniLM")
    assert table.rows[5:] == [
        ["published, mean", "67.51", "66.45", "50.76", "", ""],
        ["published, one seed", "67.89", "66.86", "", "", ""],
    ]
    assert table.notes[0] == "Features here: MiniLM."
    assert "RoBERTa-large" in table.notes[1]
    assert "Other features give other figures" in table.notes[1]


def test_the_published_test_figures_do_not_stand_beside_another_split() -> None:
    for table in (seed_table(MELD, RESULTS, "MiniLM", "valid"), class_table(MELD, RESULTS, "valid")):
        assert not any("published" in cell for row in [table.columns, *table.rows] for cell in row)
        assert not any("Published" in note for note in table.notes)
    assert seed_table(MELD, RESULTS, "MiniLM", "valid").title == "tiny, recipe meld: valid split, percent"


def test_one_seed_has_no_deviation() -> None:
    assert [row[0] for row in seed_table(OWN, [result(0, 50.0, OWN)], "x").rows] == ["seed 0"]
    table = class_table(OWN, [result(0, 50.0, OWN)])
    assert (table.columns, table.rows) == (
        ["F1 by class", "utterances", "F1"],
        [["calm", "0", "25.00"], ["glad", "1", "25.00"]],
    )


def test_every_class_stands_with_support_mean_deviation_and_published_figure() -> None:
    table = class_table(MELD, RESULTS)
    assert table.columns == ["F1 by class", "utterances", "mean", "deviation", "published"]
    assert table.rows[0] == ["neutral", "0", "31.50", "1.80", "80.17"]
    assert [row[-1] for row in table.rows] == ["80.17", "58.77", "26.23", "41.34", "64.98", "31.47", "52.35"]


@pytest.mark.parametrize("recipe", [MELD, OWN])
@pytest.mark.parametrize("n", [1, 3])
def test_every_row_has_a_cell_a_column(recipe: Recipe, n: int) -> None:
    results = [result(seed, 50.0 + seed, recipe) for seed in range(n)]
    for table in (seed_table(recipe, results, "x"), class_table(recipe, results)):
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_minilm_is_named_for_what_it_is() -> None:
    assert encoder_name({"name": "minilm"}) == "MiniLM (all-MiniLM-L6-v2, frozen, 384 numbers an utterance)"
    assert encoder_name({"name": "roberta-large"}) == "roberta-large"
    assert encoder_name({}) == "unknown"
