"""The page is one file that asks for nothing, shows what people typed as text, and can be read by machines."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from typer.testing import CliRunner

from sacl.cli import app
from sacl.errors import RunError, SaclError
from sacl.report.document import Drawing
from sacl.report.drawing import svg
from sacl.report.report import chapters, html_report, save_figures, text_report
from sacl.report.runs import read_run

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Tags with their attributes, text, and what was left open."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def pages(write_run, tmp_path_factory):
    """One run, and two compared."""
    parent = tmp_path_factory.mktemp("runs")
    runs = [read_run(write_run(parent, "a")), read_run(write_run(parent, "b", skill=0.2))]
    return [html_report(some, chapters(some)) for some in (runs[:1], runs)]


def test_a_page_loads_nothing_and_runs_nothing(pages):
    for text in pages:
        page = Page(text)
        assert page.open == []
        names = {tag for tag, _ in page.tags}
        assert not names & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
        for _, attributes in page.tags:
            assert not any(name.startswith("on") for name in attributes)
            for name in ("src", "href", "xlink:href", "action", "srcset"):
                assert attributes.get(name, "#").startswith("#")
        assert not re.findall(r"@import|url\((?!#)", text)


def test_what_people_typed_is_text(pages):
    for text in pages:
        words = "".join(Page(text).words)
        assert "<script>alert(" in words
        assert "<cross & $loud$>" in words
        assert "<b>S" in words


def test_ids_are_distinct_and_every_link_leads_somewhere(pages):
    for text in pages:
        tags = Page(text).tags
        ids = Counter(a["id"] for _, a in tags if "id" in a)
        assert [i for i, n in ids.items() if n > 1] == []
        links = {
            v[1:]
            for _, a in tags
            for k, v in a.items()
            if k in ("href", "xlink:href", "aria-labelledby") and v[:1] == "#"
        }
        links |= set(re.findall(r"url\(#([^)]+)\)", text))
        assert links <= set(ids)


def test_figures_and_tables_can_be_read_aloud(pages):
    for text in pages:
        tags = Page(text).tags
        drawings = [a for tag, a in tags if tag == "svg"]
        assert len(drawings) >= 7
        assert all(a["role"] == "img" and len(a["aria-label"]) > 30 for a in drawings)
        assert all("scope" in a for tag, a in tags if tag == "th")
        assert sum(tag == "caption" for tag, _ in tags) == sum(tag == "table" for tag, _ in tags) > 4
        levels = [int(tag[1]) for tag, _ in tags if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert all(b - a <= 1 for a, b in pairwise(levels))


def test_the_same_run_gives_the_same_bytes(make_run, tmp_path):
    run = read_run(make_run("a"))
    made = [chapters([run]) for _ in range(2)]
    assert html_report([run], made[0]) == html_report([run], made[1])
    for i, one in enumerate(made):
        save_figures(one, tmp_path / str(i))
    files = sorted(p.name for p in (tmp_path / "0").iterdir())
    assert {"run-1-confusion.pdf", "run-1-confusion.svg"} <= set(files)
    assert all((tmp_path / "0" / f).read_bytes() == (tmp_path / "1" / f).read_bytes() for f in files)


def test_what_cannot_be_read_again_is_left_out_with_the_reason(make_run):
    run = read_run(make_run("a", data={"name": "./gone"}))
    text = html_report([run], chapters([run]))
    assert "No examples: gone: there is no such data set" in text
    assert "No t-SNE picture: " in text
    assert "<blockquote>" not in text


def test_a_single_seed_and_no_published_row_are_a_report_too(make_run):
    run = read_run(make_run("a", seeds=(4,), published=None))
    assert "ublished" not in html_report([run], chapters([run], representations=False)).split("</style>")[1]
    assert "deviation" not in text_report([run], "text")


def test_published_figures_never_stand_without_their_encoder(make_run):
    run = read_run(make_run("a"))
    for format in ("md", "latex", "text"):
        for table in text_report([run], format).split("F1 by class, percent"):
            assert "published" in table
            assert "another encoder" in table


def test_an_svg_follows_the_pages_colours_and_keeps_its_words(make_run):
    run = read_run(make_run("a"))
    for chapter in chapters([run], representations=False):
        for part in (p for s in chapter.sections for p in s.parts if isinstance(p, Drawing)):
            text = svg(part.figure, "x", 'a "b" <c>')
            assert 'aria-label="a &quot;b&quot; &lt;c&gt;"' in text
            assert "currentColor" in text
            assert "<text" in text
            assert "#1b1b1b" not in text


def run_command(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_command_writes_the_page_beside_the_run_and_text_to_stdout(make_run):
    folder = make_run("a")
    assert run_command("report", folder, "--no-tsne").exit_code == 0
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    for format, sign in (("md", "| seed 0 |"), ("latex", r"\toprule"), ("text", "seed 0  ")):
        done = run_command("report", folder, "--format", format)
        assert done.exit_code == 0
        assert sign in done.output


def test_the_command_leaves_no_half_written_file(make_run, tmp_path):
    folder = make_run("a")
    done = run_command("report", folder, "--format", "md", "--out", tmp_path / "nowhere" / "x.md")
    assert isinstance(done.exception, RunError)
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "x.md").write_text("before", encoding="utf-8")
    (folder / "seed-0" / "result.json").unlink()
    assert isinstance(run_command("report", folder, "--format", "md", "--out", tmp_path / "x.md").exception, RunError)
    assert (tmp_path / "x.md").read_text(encoding="utf-8") == "before"


def test_without_the_extra_one_line_says_what_to_install(make_run, monkeypatch):
    folder = make_run("a")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "matplotlib" else found(name, *a))
    done = run_command("report", folder)
    assert isinstance(done.exception, SaclError)
    assert str(done.exception).endswith("Install it with: pip install 'sacl[report]'")
    assert not (folder / "report.html").exists()
    assert run_command("report", folder, "--format", "text").exit_code == 0


def test_several_runs_need_a_name_for_the_page(make_run, tmp_path):
    a, b = make_run("a"), make_run("b")
    assert isinstance(run_command("report", a, b).exception, RunError)
    assert isinstance(run_command("report", a, "--format", "pdf").exception, RunError)
    done = run_command("report", a, b, "--no-tsne", "--out", tmp_path / "both.html", "--figures", tmp_path / "figures")
    assert done.exit_code == 0
    assert (tmp_path / "figures" / "comparison-differences.pdf").exists()


def test_compare_and_score_print_tables_or_one_json_document(make_run, own_data):
    import json

    a, b = make_run("a"), make_run("b")
    assert "published" in run_command("compare", a, b).output
    assert [r["name"] for r in json.loads(run_command("compare", a, b, "--json").output)] == ["a", "b"]
    predictions = a / "seed-0" / "predictions.jsonl"
    assert "glad" in run_command("score", predictions, "--data", own_data).output
    record = json.loads(run_command("score", predictions, "--data", own_data, "--json").output)
    assert record["corpus"] == own_data.name
