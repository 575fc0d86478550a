"""Tables keep their cells in every format, whatever the cells hold."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from sacl.report.render import latex, markdown, text
from sacl.report.table import Table

CELLS = st.text(st.characters(exclude_categories=("C", "Z")), max_size=8)
TABLES = st.integers(1, 4).flatmap(
    lambda n: st.builds(
        Table,
        CELLS,
        st.lists(CELLS, min_size=n, max_size=n),
        st.lists(st.lists(CELLS, min_size=n, max_size=n), max_size=4),
        st.lists(CELLS, max_size=2),
    )
)
COMMANDS = re.compile(r"\\(text[a-z]+\{\}|ldots\{\}|[{}&%$#_])|\$\\pm\$|\$-\$")


@given(TABLES)
def test_latex_rows_hold_no_sign_that_latex_would_act_on(table):
    lines = latex(table).split("\n")
    rows = [row for row in lines[lines.index(r"\toprule") + 1 : lines.index(r"\bottomrule")] if row != r"\midrule"]
    assert len(rows) == len(table.rows) + 1
    for row in rows:
        assert row.endswith(r" \\")
        bare = COMMANDS.sub("", row.removesuffix(r"\\"))
        assert bare.count("&") == len(table.columns) - 1
        assert not re.search(r"[\\{}%$#_~^<>|\"]", bare)


@given(TABLES)
def test_markdown_rows_have_as_many_cells_as_columns(table):
    lines = [line for line in markdown(table).split("\n") if line.startswith("|")]
    assert len(lines) == len(table.rows) + 2
    for line in lines:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == len(table.columns) + 1


@given(TABLES)
def test_plain_text_cuts_nothing(table):
    shown = text(table)
    for cell in [table.title, *table.columns, *(cell for row in table.rows for cell in row), *table.notes]:
        assert cell in shown


def test_a_line_end_in_a_name_does_not_break_the_row():
    table = Table("t", ["a\nb", "c"], [["x\r\ny", "1"]])
    assert "| a b | c |" in markdown(table)
    assert "x y & 1 \\\\" in latex(table)


def test_latex_is_a_booktabs_float_with_caption_label_and_notes():
    made = latex(Table("F1 of 50 %", ["class", "F1"], [["joy", "64.98"]], ["with A & B"]), "tab:f1")
    assert made == (
        "\\begin{table}[t]\n\\centering\n\\caption{F1 of 50 \\%}\n\\label{tab:f1}\n\\begin{tabular}{lr}\n\\toprule\n"
        "class & F1 \\\\\n\\midrule\njoy & 64.98 \\\\\n\\bottomrule\n\\end{tabular}\n\n\\smallskip\n"
        "\\begin{minipage}{\\linewidth}\\footnotesize with A \\& B\\end{minipage}\n\\end{table}\n"
    )


def test_a_wide_latex_table_spans_the_page_and_breaks_its_heads():
    columns = ["run", *"abcde", "p (paired t)"]
    made = latex(Table("t", columns, [["x-1", *"12345", "0.05"]]))
    assert made.startswith("\\begin{table*}[t]\n")
    assert made.endswith("\\end{table*}\n")
    assert "\\tabcolsep" in made
    assert r"& \shortstack[r]{p \\ (paired t)} \\" in made
    narrow = latex(Table("t", columns[-2:], [["x", "0.05"]]))
    assert "table*" not in narrow
    assert "e & p (paired t)" in narrow


def test_a_hyphen_before_a_number_is_a_minus_in_latex_and_one_in_a_name_is_none():
    made = latex(Table("t", ["run", "difference", "interval"], [["seed-0", "-8.11", "-11.58 to -4.95"]]))
    assert r"seed-0 & $-$8.11 & $-$11.58 to $-$4.95 \\" in made


def test_rules_part_seeds_from_their_mean_and_both_from_what_was_published():
    names = ["seed 0", "seed 1", "mean", "deviation", "published, mean", "published, one seed"]
    lines = latex(Table("t", ["", "F1"], [[name, "1"] for name in names])).split("\n")
    body = [line.split(" &")[0] for line in lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]]
    assert body == [*names[:2], r"\midrule", *names[2:4], r"\midrule", *names[4:]]
    first = latex(Table("t", ["", "F1"], [["mean", "1"]]))
    assert first.count(r"\midrule") == 1
