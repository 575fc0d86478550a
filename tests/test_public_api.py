"""What `import sacl` offers, and what it costs."""

from __future__ import annotations

import ast
import builtins
import doctest
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import sacl

HEAVY = ("torch", "numpy", "pydantic", "transformers", "sklearn", "scipy", "rich", "yaml")


@pytest.mark.parametrize("name", sacl.__all__)
def test_a_public_name_imports_and_says_what_it_is(name: str) -> None:
    thing = getattr(sacl, name)
    assert (inspect.getdoc(thing) or "").strip()
    # A dataclass without a docstring of its own is given its signature for one.
    assert not (inspect.getdoc(thing) or "").startswith(f"{name}(")


@pytest.mark.parametrize("name", [n for n in sacl.__all__ if inspect.isclass(getattr(sacl, n))])
def test_a_public_method_says_what_it_does(name: str) -> None:
    cls = getattr(sacl, name)
    own = {n: m for n, m in vars(cls).items() if not n.startswith("_") and callable(getattr(cls, n))}
    assert [n for n in own if not inspect.getdoc(getattr(cls, n))] == []


def examples(thing: object) -> str:
    """The code of a docstring, of a class's methods too. That it runs is pytest's to say: doctests are on for src."""
    found = doctest.DocTestFinder(recurse=True).find(thing, globs={})
    lines = [example for test in found for example in test.examples if doctest.SKIP not in example.options]
    return "".join(example.source for example in lines)


def taken_from_elsewhere(code: str) -> set[str]:
    """Names that code uses and neither makes, imports nor has from Python."""
    nodes = list(ast.walk(ast.parse(code)))
    used = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    made = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    made |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    imports = [alias for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names]
    return used - made - {alias.asname or alias.name for alias in imports} - set(vars(builtins))


@pytest.mark.parametrize("name", sacl.__all__)
def test_a_public_name_has_an_example_that_runs_as_it_is_copied(name: str) -> None:
    thing = getattr(sacl, name)
    code = examples(thing)
    # A kind of error is shown by what raises it, or else by the error that all are kinds of.
    kind_of_error = inspect.isclass(thing) and issubclass(thing, sacl.SaclError) and thing is not sacl.SaclError
    assert kind_of_error or name in {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
    assert taken_from_elsewhere(code) == set()


def test_a_name_that_an_example_takes_from_elsewhere_is_found() -> None:
    assert taken_from_elsewhere("import a\nb = a.c(len(d))\n[e for e in b]") == {"d"}


def settings_of(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        if inspect.isclass(field.annotation) and issubclass(field.annotation, BaseModel):
            yield from settings_of(field.annotation, f"{path}{name}.")
        else:
            yield f"{path}{name}", field


def test_every_setting_of_a_recipe_says_what_it_does() -> None:
    fields = dict(settings_of(sacl.Recipe))
    assert {"training.epochs", "objective.adversary.epsilon"} <= set(fields)
    assert [name for name, field in fields.items() if not (field.description or "").strip().endswith(".")] == []


def test_every_verb_and_option_of_the_command_has_a_help() -> None:
    import typer

    from sacl.cli import app

    silent, seen = [], 0

    def look(path: str, verb: Any) -> None:
        nonlocal seen
        silent.extend([path] if not (verb.help or "").strip() else [])
        for option in verb.params:
            seen += 1
            if not (getattr(option, "help", "") or "").strip():
                silent.append(f"{path} {option.name}")
        for name, inner in getattr(verb, "commands", {}).items():
            silent.extend([f"{path} {name}, cut in the list"] if inner.get_short_help_str(66).endswith("...") else [])
            look(f"{path} {name}", inner)

    look("sacl", typer.main.get_command(app))
    assert seen > 100
    assert silent == []


def test_the_names_for_a_type_checker_are_those_at_run_time() -> None:
    tree = ast.parse(Path(sacl.__file__).read_text(encoding="utf-8"))
    [checked] = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    seen = {(n.module, alias.name) for n in checked.body if isinstance(n, ast.ImportFrom) for alias in n.names}
    assert seen == {(module, name) for name, module in sacl._MODULE_OF.items()}
    assert sorted(sacl.__all__) == sorted(sacl._MODULE_OF)
    assert len(set(sacl.__all__)) == len(sacl.__all__)


def test_dir_lists_what_all_names_and_an_unknown_name_is_an_attribute_error() -> None:
    assert set(sacl.__all__) <= set(dir(sacl))
    with pytest.raises(AttributeError, match="'sacl' has no attribute 'nothing'"):
        sacl.nothing  # noqa: B018


def test_the_version_is_the_installed_ones() -> None:
    from importlib.metadata import version

    assert sacl.__version__ == version("sacl")


def loaded_after(code: str) -> set[str]:
    """Which heavy libraries a fresh interpreter has loaded once the code is through."""
    ask = f"import sys\n{code}\nprint([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    return set(ast.literal_eval(done.stderr.splitlines()[-1]))


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_after("import sacl; sacl.__all__, sacl.__version__") == set()


def loaded_after_command(arguments: str) -> set[str]:
    main = "from sacl.cli import main\ntry: main()\nexcept SystemExit as stop: assert not stop.code"
    return loaded_after(f"sys.argv = {['sacl', *arguments.split()]!r}\n{main}")


def test_help_loads_nothing_heavy() -> None:
    assert loaded_after_command("--help") <= {"rich"}


@pytest.mark.parametrize("arguments", ["--version", "train --help", "predict --help", "data --help"])
def test_help_of_a_verb_loads_no_more_than_typer_does(arguments: str) -> None:
    assert loaded_after_command(arguments) <= {"rich", "pydantic"}


def test_the_data_list_loads_no_torch() -> None:
    assert not loaded_after_command("data list") & {"torch", "transformers", "sklearn", "scipy"}
