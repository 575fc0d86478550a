"""The option `--ray [ADDRESS]`: the same work on Ray, where it outgrows one machine."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from sacl.experiment.study import RunTasks

Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="[ADDRESS]",
        help="Work on Ray (pip install 'sacl[scale]'): the cluster whose head is at host:port; without an address the "
        "one of this machine, which is started if need be.",
    ),
]


class RayCommand(TyperCommand):
    """A command whose option `--ray` may stand without a value, which Typer has no way to say."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As Typer does, with the value filled in."""
        return super().parse_args(ctx, with_address(args))


def with_address(words: list[str]) -> list[str]:
    """The same words, with `--ray=local` for a `--ray` that no address follows.

    >>> with_address(["--ray", "sample", "--ray", "head:6379"])
    ['--ray=local', 'sample', '--ray', 'head:6379']
    """
    from sacl.scale.cluster import ADDRESS, LOCAL

    end = words.index("--") if "--" in words else len(words)
    followed = [*words[1:end], ""][:end]
    return [
        f"--ray={LOCAL}" if word == "--ray" and not ADDRESS.fullmatch(after) else word
        for word, after in zip(words[:end], followed, strict=True)
    ] + words[end:]


def tasks_on(ray: str | None, asha: bool = False) -> RunTasks | None:
    """What trains the tasks of a study: Ray, or by default this machine.

    Raises:
        RunError: Ray is not installed, or this is no address. RecipeError: pruning without Ray.
    """
    if ray is None:
        from sacl.errors import RecipeError

        if asha:
            raise RecipeError("it is Ray's to prune", where="--asha", remedy="Add --ray, or leave it out")
        return None
    from sacl.scale.cluster import require_ray
    from sacl.scale.studies import run_on_ray

    require_ray(ray)
    return partial(run_on_ray, address=ray, asha=asha)
