"""What `import sacl` offers, and what it costs."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

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
