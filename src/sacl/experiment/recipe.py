"""A recipe: every setting of an experiment in one YAML file, the published numbers beside them."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator

from sacl.errors import RecipeError
from sacl.settings import FeatureSettings, ModelSettings, ObjectiveSettings, Settings, TrainingSettings

Percent = Annotated[float, Field(ge=0, le=100)]


class DataSettings(Settings):
    """What is trained on."""

    name: str
    """A known data set, or the path of a folder with train, valid and test as JSONL or CSV."""
    validation: Literal["given", "by-seed", "fixed"] = "given"
    """The validation split: as the data set gives it; drawn from the training conversations by the seed of the run;
    or the fixed one (`by-seed` and `fixed`: IEMOCAP only)."""
    labels: Literal["emotion", "sentiment"] = "emotion"
    """Emotions, or three-way sentiment (MELD and EmoryNLP only)."""
    test_session: Annotated[int, Field(ge=1, le=5)] | None = None
    """The session that is tested on, for leave-one-session-out (IEMOCAP's raw release only); by default the fifth."""


class Figures(Settings):
    """Published figures, in percent; what is not known is left out."""

    accuracy: Percent | None = None
    weighted_f1: Percent | None = None
    macro_f1: Percent | None = None
    f1: dict[str, Percent] = {}
    """By emotion."""


class Published(Settings):
    """The row that a recipe is to reproduce."""

    source: str
    """Paper and table."""
    encoder: str
    """What made the features. Another encoder gives other figures."""
    mean: Figures
    """Over seeds."""
    one_seed: Figures | None = None
    """The single run that was published beside the mean."""


class Recipe(Settings):
    """An experiment: data, features, model, objective, training, seeds.

    >>> from sacl import Recipe, load_recipe
    >>> recipe: Recipe = load_recipe("meld")
    >>> recipe.seeds, recipe.training.learning_rate
    ([0, 1, 2, 3, 4], 0.0001)
    """

    name: str
    """What it is asked for by; a run's folder gets this name."""
    description: str
    """What it trains, in a sentence."""
    data: DataSettings
    features: FeatureSettings = FeatureSettings()
    model: ModelSettings = ModelSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    training: TrainingSettings = TrainingSettings()
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)] = [0, 1, 2, 3, 4]
    """One run a seed; a table gives their mean and deviation."""
    published: Published | None = None
    """The row that it is to reproduce."""
    departures: list[str] = []
    """Where it leaves what its source did."""

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, name: str) -> str:
        if not re.fullmatch(r"\w[^/\\\s]{0,99}", name) or not name.isprintable():
            raise ValueError(
                "a run's folder gets this name: start it with a letter or digit, without blanks and slashes, at most "
                "100 characters"
            )
        return name

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed stands twice: name each once")
        return seeds


BASELINES = {
    "bc_lstm": {"meld": (65.87, 64.87), "iemocap": (63.08, 62.84), "emorynlp": (40.85, 36.84)},
    "dialogue_rnn": {"meld": (65.96, 65.30), "iemocap": (64.85, 64.65), "emorynlp": (43.66, 37.54)},
    "dialogue_crn": {"meld": (66.93, 65.77), "iemocap": (67.39, 67.53), "emorynlp": (41.04, 38.79)},
}
"""Accuracy and W-F1 that were published of baselines, by data set."""
QUOTED = "Hu et al. 2023, as later studies quote its baselines"


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _folder().iterdir() if entry.name.endswith(".yaml"))


LARGEST = 2**16
"""Bytes of a recipe's file, and of any YAML: PyYAML takes some 20 seconds for a megabyte that means no good."""


def load_recipe(name_or_path: str, overrides: list[str] | None = None, *, trust_code: bool = False) -> Recipe:
    """A recipe by name or from a file.

    Args:
        name_or_path: one of `recipe_names()`, or the path of a YAML file.
        overrides: settings on top of it, `training.epochs=3` say.
        trust_code: a file may name a model of one's own kind (`package.module:Class`), whose code runs when it is
            trained. One that is named in `overrides` needs no such word.

    Raises:
        RecipeError: no such recipe, YAML that cannot be read, an unknown setting, one out of range, or code that is
            not trusted.

    >>> from sacl import load_recipe
    >>> load_recipe("meld", ["training.epochs=3"]).training.epochs
    3
    """
    if name_or_path in recipe_names():
        text, where = (_folder() / f"{name_or_path}.yaml").read_text(encoding="utf-8"), f"recipe {name_or_path}"
    else:
        text, where = _read(name_or_path), name_or_path
    content = _parse(text, where)
    if not isinstance(content, dict):
        raise RecipeError("it is no mapping of settings", where=where, remedy="Start from one of the package's recipes")
    own = copy.deepcopy(content)
    for override in overrides or []:
        _override(content, override)
    _disown(content, own)
    recipe = parse_recipe(content, where)
    if recipe.model.is_own and not trust_code and not any(recipe.model.kind in given for given in overrides or []):
        raise RecipeError(
            f"it would run code from outside this package, {recipe.model.kind}",
            where=f"{where}, model.kind",
            remedy="If you know that code, trust it: trust_code=True, or --trust-code at the shell",
        )
    return recipe


def _disown(content: dict[str, Any], own: dict[str, Any]) -> None:
    """What was published, and what the recipe says of itself, holds for its own data and its own model."""
    data, kind = content.get("data"), _section_of(content, "model").get("kind", "dual_lstm")
    if data != own.get("data") and isinstance(data, dict):
        content.pop("published", None)
        content["description"] = f"the settings of {content.get('name')}, on {data.get('name')}"
        weights = _section_of(content, "objective")
        if data.get("labels") != _section_of(own, "data").get("labels") and isinstance(
            weights.get("class_weights"), list
        ):
            weights["class_weights"] = "none"  # they weigh other labels
    elif kind != _section_of(own, "model").get("kind", "dual_lstm"):
        content.pop("published", None)
        content["description"] = f"{kind}, with the settings of {content.get('name')}"
        row = BASELINES.get(str(kind), {}).get(_section_of(content, "data").get("name", ""))
        if row is not None:
            mean = {"accuracy": row[0], "weighted_f1": row[1]}
            content["published"] = {"source": QUOTED, "encoder": "RoBERTa-large, fine-tuned", "mean": mean}


def _section_of(content: dict[str, Any], name: str) -> dict[str, Any]:
    section = content.get(name)
    return section if isinstance(section, dict) else {}


def parse_recipe(content: dict[str, Any], where: str) -> Recipe:
    """Plain data -> Recipe; `where` goes into the RecipeError that a wrong setting raises."""
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(*_explained(error.errors()[0]), where=where) from None
    except RecursionError:
        raise RecipeError("it is nested too deeply", where=where, remedy="Write plain sections") from None


def with_settings(content: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a recipe's content with settings changed: `{"training.epochs": 3}`."""
    content = copy.deepcopy(content)
    for key, value in settings.items():
        _put(content, key, copy.deepcopy(value), key)
    return content


def dump_recipe(recipe: Recipe) -> str:
    """A recipe as YAML that `load_recipe` reads back the same."""
    return yaml.dump(recipe.model_dump(), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def retuned(recipe: Recipe, encoder: str) -> str | None:
    """The name of the recipe for the same data with settings tuned for an encoder's features, if there is one."""
    name = f"{recipe.name}-{encoder}"
    return name if name in recipe_names() and load_recipe(name).data == recipe.data else None


def parse_value(text: str, where: str) -> Any:
    """One value in YAML, read as in a recipe: `1e-4` is a number, `no` a word."""
    return _parse(text, where)


def _folder() -> Traversable:
    return files("sacl.experiment") / "recipes"


def _read(name: str) -> str:
    path = Path(name)
    if path.suffix not in {".yaml", ".yml"}:
        close = difflib.get_close_matches(name, recipe_names(), 1)
        raise RecipeError(
            f"there is no recipe {name!r}",
            remedy=f"Did you mean {close[0]}?" if close else f"Use one of {', '.join(recipe_names())}, or a .yaml file",
        )
    try:
        if path.stat().st_size > LARGEST:
            raise RecipeError(f"it is larger than {LARGEST >> 10} KiB", where=name, remedy="Give a recipe")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError("there is no such file", where=name, remedy="Check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"it cannot be read as UTF-8 text ({error})", where=name, remedy="Check the file") from None


class _Loader(yaml.SafeLoader):
    """YAML 1.2's reading of plain words, where YAML 1.1 takes `1e-4` for text and `no` for false.

    Anchors, aliases and repeated keys are refused: a recipe needs none, and a few lines of them fill the memory.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(None, None, "anchors and aliases are not read", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(None, None, f"the key {key.value!r} stands twice", key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":float", ":int", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


# PyYAML reads 010 as 8.
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))


class _Dumper(yaml.SafeDumper):
    """Quotes whatever text YAML 1.1 or `_Loader` would take for something else."""


for _first, _resolvers in _Loader.yaml_implicit_resolvers.items():
    for _resolver in _resolvers:
        _Dumper.add_implicit_resolver(_resolver[0], _resolver[1], [_first])


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise RecipeError(f"it is no YAML: {error.problem}", where=where + line, remedy="Mend that line") from None
    # `!!bool x` is a KeyError, "\UFFFFFFFF" an OverflowError
    except (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
        raise RecipeError(f"it is no YAML: {str(error).splitlines()[0]}", where=where, remedy="Mend the file") from None
    except RecursionError:
        raise RecipeError("it is nested too deeply", where=where, remedy="Write plain sections") from None


def _override(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"{override!r} is no setting", where="--set", remedy="Write key=value, training.epochs=3 say")
    _put(content, key, parse_value(value, f"--set {override}"), f"--set {override}")


def _put(content: dict[str, Any], key: str, value: Any, where: str) -> None:
    *sections, last = key.split(".")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise RecipeError(f"{section!r} is no section", where=where, remedy="Check the key")
    content[last] = value


def _explained(error: Any) -> tuple[str]:
    """Pydantic's finding in one sentence, with the setting's full name."""
    *sections, last = [str(part) for part in error["loc"]] or [""]
    name = ".".join([*sections, last])
    if error["type"] == "extra_forbidden":
        known = list(_section(sections))
        close = difflib.get_close_matches(last, known, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
        return (f"there is no setting {name!r}; {hint}",)
    message = error["msg"].removeprefix("Value error, ")
    given = "" if error["type"] in {"missing", "value_error"} else f", not {error['input']!r:.60}"
    return (f"{name}: {message[:1].lower()}{message[1:]}{given}",)


def _section(names: list[str]) -> dict[str, Any]:
    """Fields of the section that the names lead to."""
    fields: dict[str, Any] = dict(Recipe.model_fields)
    for name in names:
        kinds = [fields[name].annotation, *getattr(fields[name].annotation, "__args__", ())] if name in fields else []
        model = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)
        fields = dict(model.model_fields) if model else {}
    return fields
