"""Parts of pages that are made from the code, so that nothing is written twice.

A page asks for one with a line `<!-- made: NAME ARGUMENT -->`; see `PARTS`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from sacl.datasets import DATASETS
from sacl.datasets.download import NOT_FETCHED
from sacl.experiment.recipe import Figures, Recipe, load_recipe, recipe_names

ASKED = re.compile(r"^<!-- made: (\S+) ?(.*?) -->$", re.MULTILINE)


def filled(page: str) -> str:
    """The page with its parts in place."""
    return ASKED.sub(lambda asked: PARTS[asked[1]](*asked[2].split()), page)


def dataset(name: str) -> str:
    """A data set's card, how to get it, and the recipes that train on it."""
    info = DATASETS[name]
    title, _, card = info.card.partition("\n")
    rest = title.removeprefix(f"{info.title}: ")
    parts = [f"# {info.title}", rest[:1].upper() + rest[1:] if rest != title else title, card.strip()]
    get = f"`sacl data fetch {name}` downloads it, every file checked against its SHA-256."
    if name in NOT_FETCHED:
        get = ". ".join(told[:1].upper() + told[1:] for told in NOT_FETCHED[name]) + "."
    parts += ["## Getting it", f"{get} `sacl data show {name}` prints this card and the counts on your machine."]
    recipes = [recipe for recipe in map(load_recipe, recipe_names()) if recipe.data.name == name]
    if recipes:
        parts += ["## Recipes", *recipe_table(recipes)]
    return "\n\n".join(parts) + "\n"


def datasets() -> str:
    """All data sets in a table, each with its page."""
    rows = ["| name | data set | emotions | conversations | utterances |", "|---|---|---|---|---|"]
    for info in DATASETS.values():
        counts = [(f"{c:,}", f"{u:,}") for c, u in (info.expected or {}).values()]
        sizes = [" / ".join(size) for size in zip(*counts, strict=True)] or ["", ""]
        rows.append(f"| `{info.name}` | [{info.title}]({info.name}.md) | {len(info.labels)} | {' | '.join(sizes)} |")
    return "\n".join(rows) + "\n"


def recipe_table(recipes: list[Recipe]) -> Iterator[str]:
    """What a recipe is, what was published for it, and where it leaves its source."""
    for recipe in recipes:
        lines = [f"`{recipe.name}`", f": {recipe.description}."]
        if recipe.published:
            lines.append(
                f"\n  Published (accuracy / W-F1 / macro-F1): {figures(recipe.published.mean)}, mean. "
                f"Encoder: {recipe.published.encoder}. Source: {recipe.published.source}."
            )
        if recipe.departures:
            lines.append("\n  Departures:\n" + "\n".join(f"  - {told}" for told in recipe.departures))
        yield "\n".join(lines)


def recipe(name: str) -> str:
    """One recipe."""
    return "\n".join(recipe_table([load_recipe(name)]))


def figures(found: Figures) -> str:
    """Accuracy / W-F1 / macro-F1, a dash for what was not published."""
    return " / ".join(
        "–" if value is None else f"{value:.2f}" for value in (found.accuracy, found.weighted_f1, found.macro_f1)
    )


def point(name: str) -> str:
    """A setting as the released recipes and the arm `paper` have it, and this library's recipe for MELD."""
    released, paper, ours = _values(name)
    return f"`{name}`: released {released}; paper {paper}; recipe `meld` {ours}.\n"


def points() -> str:
    """All that a page asks for by `point`, in a table; each row leads to its heading."""
    page = (Path(__file__).parent / "released-and-paper.md").read_text(encoding="utf-8")
    rows = ["| point | setting | released | paper |", "|---|---|---|---|"]
    for section in page.split("\n## ")[1:]:
        title = section.partition("\n")[0]
        link = f"[{title}](#{re.sub(r'[^a-z0-9 -]', '', title.lower()).replace(' ', '-')})"
        for name in [asked[2] for asked in ASKED.finditer(section) if asked[1] == "point"]:
            released, paper, _ = _values(name)
            rows.append(f"| {link} | `{name}` | {released} | {paper} |")
    return "\n".join(rows) + "\n"


def _values(name: str) -> tuple[str, str, str]:
    """Of a setting: in the released recipes, in the arm `paper`, in the recipe `meld`."""
    from sacl.experiment.ablation import ARMS

    def value(recipe: str) -> str:
        found: Any = load_recipe(recipe)
        for part in name.split("."):
            found = getattr(found, part)
        return "numbers" if isinstance(found, list) and len(found) > 3 else f"`{_yaml(found)}`"

    merged: dict[str, list[str]] = {}
    for title in ("IEMOCAP", "MELD", "EmoryNLP"):
        merged.setdefault(value(f"{title.lower()}-released"), []).append(title)
    told = [shown if len(merged) == 1 else f"{shown} ({', '.join(titles)})" for shown, titles in merged.items()]
    paper = f"`{_yaml(ARMS['paper'][name])}`" if name in ARMS["paper"] else "not said"
    return ", ".join(told), paper, value("meld")


def settings(section: str) -> str:
    """A section of a recipe: every setting, what it takes, its default and what it does."""
    model: Any = Recipe
    for name in section.split(".") if section != "recipe" else []:
        model = model.model_fields[name].annotation
    rows = ["| setting | takes | default | |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            continue
        default = "required" if field.is_required() else f"`{_yaml(field.default)}`"
        about = " ".join((field.description or "").split()).replace("|", r"\|")
        rows.append(f"| `{name}` | {_takes(field)} | {default} | {about} |")
    return "\n".join(rows) + "\n"


def _takes(field: Any) -> str:
    """The kind of a setting in words: the schema knows choices and ranges."""
    schema = TypeAdapter(field.rebuild_annotation()).json_schema()
    options = [schema, *schema.get("anyOf", [])]
    kinds = []
    for option in options:
        if "enum" in option:
            kinds.append(", ".join(f"`{_yaml(value)}`" for value in option["enum"]))
        elif option.get("type") == "array":
            kinds.append("a list")
        elif option.get("type") == "object" or "$ref" in option:
            kinds.append("a mapping")
        elif option.get("type") in ("number", "integer"):
            kinds.append(("a number" if option["type"] == "number" else "a whole number") + _range(option))
        elif option.get("type") == "boolean":
            kinds.append("`true`, `false`")
        elif option.get("type") == "string":
            kinds.append("text")
        elif option.get("type") == "null":
            kinds.append("`null`")
    return " or ".join(kinds)


def _range(schema: Mapping[str, Any]) -> str:
    if (schema.get("minimum"), schema.get("maximum")) == (0, 1):
        return ", 0 to 1"
    signs = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    return "".join(f", {word} {schema[key]:g}" for key, word in signs.items() if key in schema)


def _yaml(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_yaml(v)}" for k, v in value.items()) + "}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def command() -> str:
    """The help of every verb, as the command prints it."""
    import click
    import typer

    from sacl.cli import app

    os.environ["COLUMNS"] = "80"
    root: Any = typer.main.get_command(app)
    shown = []

    def show(path: list[str], verb: Any, parent: Any) -> None:
        context = verb.make_context(path[-1], [], parent=parent, resilient_parsing=True)
        text = click.unstyle(verb.get_help(context)).rstrip()
        shown.append(f"{'#' * len(path)} `{' '.join(path)}`\n\n```text\n{text}\n```")
        for name in getattr(verb, "commands", {}):
            show([*path, name], verb.commands[name], context)

    for name in root.commands:
        show(["sacl", name], root.commands[name], root.make_context("sacl", [], resilient_parsing=True))
    return "\n\n".join(shown) + "\n"


PARTS: dict[str, Callable[..., str]] = {
    "dataset": dataset,
    "datasets": datasets,
    "recipe": recipe,
    "point": point,
    "points": points,
    "settings": settings,
    "command": command,
}
"""Name -> what makes the part, given the words of the argument."""
