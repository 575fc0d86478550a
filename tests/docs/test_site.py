"""The site builds without a warning, asks for nothing from elsewhere, and says of the code only what is so."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest

import sacl
from sacl.datasets import DATASETS
from sacl.experiment.recipe import BASELINES, load_recipe, recipe_names

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


class Asked(HTMLParser):
    """What a page has a browser fetch by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag in {"script", "img", "iframe", "source", "video", "audio", "link"}:
            self.addresses += [given[key] or "" for key in ("src", "href") if key in given]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("sphinx") is None and "CI" not in os.environ:
        pytest.skip("Sphinx is not installed: pip install 'sacl[docs]'")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q", "-d", out / "doctrees"]
    done = subprocess.run([*command, DOCS, out / "html"], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return out / "html"


@pytest.mark.slow
def test_a_page_fetches_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        asked = Asked()
        asked.feed(page.read_text(encoding="utf-8"))
        assert asked.addresses
        assert [address for address in asked.addresses if re.match(r"(\w+:)?//", address)] == []
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", style.read_text(encoding="utf-8")), style


@pytest.mark.slow
def test_equations_are_mathml_made_at_build_and_every_class_and_function_stands_in_the_reference(site: Path) -> None:
    method = (site / "method.html").read_text(encoding="utf-8")
    assert method.count("<math ") > 20
    assert "MathJax" not in method
    reference = (site / "reference" / "api.html").read_text(encoding="utf-8")
    for name in sacl.__all__:
        assert f'id="sacl.{name}"' in reference, name


@pytest.mark.slow
def test_the_search_index_finds_a_word_of_a_page(site: Path) -> None:
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert index.startswith("Search.setIndex(")  # a script, which a browser also loads from a file
    assert "torch-scatter" in index


def test_every_data_set_has_a_page() -> None:
    assert {path.stem for path in (DOCS / "data").glob("*.md")} == {*DATASETS, "index"}


def test_the_ten_questions_are_ten() -> None:
    assert len(re.findall(r"^## ", (DOCS / "questions.md").read_text(encoding="utf-8"), re.MULTILINE)) == 10


def rows(page: str) -> list[list[str]]:
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]


def test_published_figures_of_the_page_are_those_of_the_recipes() -> None:
    shown = {row[1].split()[-1].strip("`"): row[2] for row in rows("reproduce.md") if row[1].startswith("`sacl train ")}
    assert {"meld", "emorynlp", "iemocap", "iemocap-4", "mosei"} <= set(shown)
    for name, figures in shown.items():
        published = load_recipe(name).published
        if not figures:
            assert name.endswith("-minilm")
            continue
        assert published is not None
        mean = published.mean
        wanted = [mean.accuracy, mean.weighted_f1, mean.macro_f1]
        assert figures.split(" / ") == ["–" if value is None else f"{value:.2f}" for value in wanted]
    by_class = {row[0].lower(): row[1] for row in rows("reproduce.md") if len(row) == 2}
    for name in ("meld", "emorynlp", "iemocap"):
        published = load_recipe(name).published
        assert published is not None
        assert by_class[name] == ", ".join(f"{label} {value:.2f}" for label, value in published.mean.f1.items())
    for model, quoted in BASELINES.items():
        [row] = [row for row in rows("reproduce.md") if row[-1] == f"`--model {model}`"]
        ours = dict(zip(("meld", "iemocap", "emorynlp"), row[1:], strict=False))
        assert {name: ours[name] for name in quoted} == {n: f"{a:.2f} / {f:.2f}" for n, (a, f) in quoted.items()}


def test_our_figures_of_the_page_stand_where_they_were_measured() -> None:
    measured = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/experiments.md"))
    ours = " ".join(row[3] for row in rows("reproduce.md") if row[1].startswith("`sacl train "))
    found = re.findall(r"\d\d\.\d\d", ours)
    assert len(found) == 12
    assert [figure for figure in found if figure not in measured] == []
    arms = {row[0] for row in rows("experiments.md") if row[0].startswith("`") and len(row) == 10}
    shown = [row for row in rows("reproduce.md") if row[0] in arms]
    assert len(shown) == 7
    for name, _, *figures in shown:
        tables = [row for row in rows("experiments.md") if row[0] == name and len(row) == 10]
        wanted = [f"{row[3]} ± {row[4]}" if row[4] else row[3] for row in tables]
        assert figures == [*wanted, tables[0][1]], name


def test_what_is_said_of_speed_is_what_was_measured() -> None:
    measured = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")

    def figure(row: str) -> float:
        found = re.search(rf"^\| {row}[^|]*\| ([\d.]+)", measured, re.MULTILINE)
        assert found, row
        return float(found[1])

    conversations = figure("a conversation of 6 turns, 8 clients, read together")
    together, one_by_one = (figure(f"a live turn, 8 clients, {how}") for how in ("read together", "one after another"))
    said = {
        "README.md": [
            f"| {figure('the same, two threads, seconds'):.1f} s; the authors",
            f"| {figure('file to emotions, 1500 distinct utterances'):.0f} utterances a second",
            f"| {conversations:.0f} requests a second",
            f"| some {round(figure('peak memory of `sacl predict`'), -2):.0f} MiB",
        ],
        "docs/serving.md": [f"get {together:.0f} turns a second", f"\n  {one_by_one:.0f} ("],
    }
    for page, sentences in said.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        assert [sentence for sentence in sentences if sentence not in text] == [], page


def test_every_recipe_with_published_figures_is_told_how_to_run() -> None:
    page = (DOCS / "reproduce.md").read_text(encoding="utf-8")
    for name in recipe_names():
        if load_recipe(name).published:
            assert f"sacl train {name}" in page, name


def test_the_names_of_the_reference_are_the_public_ones() -> None:
    page = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    named = re.findall(r"^\.\. auto(?:class|function|exception):: (\w+)", page, re.MULTILINE)
    assert sorted(named) == sorted(sacl.__all__)


def documented() -> list[tuple[str, object]]:
    """Public names, and what of a public class is public and its own."""
    found: list[tuple[str, object]] = [(name, getattr(sacl, name)) for name in sacl.__all__]
    for name, thing in list(found):
        if inspect.isclass(thing):
            members = {n: m for n, m in vars(thing).items() if not n.startswith("_")}
            found += [
                (f"{name}.{n}", getattr(m, "__func__", m))
                for n, m in members.items()
                if callable(getattr(thing, n)) or isinstance(m, property)
            ]
    return found


@pytest.mark.parametrize(("name", "thing"), documented(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_docstring_names_its_arguments_and_what_it_raises(name: str, thing: object) -> None:
    text = inspect.getdoc(thing) or ""
    first, _, rest = text.partition("\n")
    assert first.endswith((".", ":")), f"{name}: its first line is no sentence: {first!r}"
    assert not rest or rest.startswith("\n"), f"{name}: its first line is not by itself"
    function = thing.fget if isinstance(thing, property) else thing
    if not inspect.isfunction(function):
        return
    asked = [p for p in inspect.signature(function).parameters if p not in ("self", "cls")]
    untold = [p for p in asked if not re.search(rf"(?<!\w)\*{{0,2}}{p}(?!\w)", text)]
    # One argument whose name says it all may go without a word; more may not.
    assert len(asked) < 2 or not untold, f"{name} says nothing of {', '.join(untold)}"
    if any(
        kind in str(annotation) for annotation in function.__annotations__.values() for kind in ("Tensor", "ndarray")
    ):
        assert re.search(r"[Ss]hape|scalar|\(\w+, \w+\)", text), f"{name} names no shape"
    source = inspect.getsource(function)
    raised = set(re.findall(r"raise (\w+Error)\(", source))
    assert not raised - set(re.findall(r"\w+Error", text)), f"{name} does not say that it raises {raised}"
