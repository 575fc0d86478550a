"""The option `--ray [ADDRESS]`: the same work on Ray, where it outgrows one machine."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from sacl.cli import show

if TYPE_CHECKING:
    from sacl.experiment.tasks import RunTasks
    from sacl.rows import Columns

Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="[ADDRESS]",
        help="Work on Ray (pip install 'sacl[scale]'): the cluster whose head is at host:port, or auto, the one that "
        "runs on this machine; without an address RAY_ADDRESS, else one that is started here for the job.",
    ),
]


Workers = Annotated[
    int | None,
    typer.Option(min=2, help="With --ray: so many workers of Ray Train train each seed together, seed after seed."),
]


class RayCommand(TyperCommand):
    """A command whose option `--ray` may stand without a value, which Typer has no way to say."""

    def make_parser(self, ctx: Any) -> Any:
        """Typer's, to which the value is given."""
        parser = super().make_parser(ctx)
        parse = parser.parse_args
        parser.parse_args = lambda args: parse(with_address(args))  # type: ignore[method-assign]
        return parser


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


def tasks_on(ray: str | None, asha: bool = False, workers: int | None = None) -> RunTasks | None:
    """What trains the tasks of a study: Ray, or by default this machine.

    Raises:
        RunError: Ray is not installed, this is no address, or torchrun started this process beside others.
        RecipeError: pruning or workers without Ray.
    """
    if ray is None:
        from sacl.errors import RecipeError

        if workers is not None:
            raise RecipeError("they are Ray's", where="--workers", remedy="Add --ray, or use torchrun")
        if asha:
            raise RecipeError("it is Ray's to prune", where="--asha", remedy="Add --ray, or leave it out")
        return None
    from sacl.scale.cluster import require_ray
    from sacl.scale.studies import run_on_ray

    require_ray(ray)
    if workers is not None:
        from sacl.scale.training import train_together_on_ray

        return partial(train_together_on_ray, address=ray, workers=workers)
    return partial(run_on_ray, address=ray, asha=asha)


def predict_files(
    ray: str,
    model: str | None,
    pattern: str,
    out: str | None,
    *,
    format: str | None,
    input_format: str | None,
    columns: Columns,
    threshold: float | None,
    trust_code: bool,
) -> None:
    """`sacl predict --ray`: files of conversations, as many as a pattern names, into a folder of results.

    Raises:
        DataError: after all that can be read, if there was something that could not be.
    """
    from sacl.errors import DataError
    from sacl.scale.cluster import require_ray

    require_ray(ray)
    if out is None:
        raise DataError("results of many files need a folder", where="--ray", remedy="Name a new one with --out")
    if format not in (None, "jsonl", "csv", "parquet"):
        raise DataError(f"unknown format {format!r}", where="--format", remedy="On Ray: jsonl, csv or parquet")
    from sacl.recognizer import EmotionRecognizer
    from sacl.scale.prediction import MALFORMED_FILE, predict_on_ray

    with show.progress() as bars:
        done = predict_on_ray(
            EmotionRecognizer.from_pretrained(model, trust_code=trust_code),
            pattern,
            out,
            format=format or "jsonl",  # type: ignore[arg-type]
            input_format=input_format,
            columns=columns,
            threshold=threshold,
            trust_code=trust_code,
            address=ray,
            progress=bars,
        )
    told = f"{done.conversations} conversations of {done.utterances} utterances, from {done.files} files"
    before = f"; {done.already} parts were there already" if done.already else ""
    print(f"{out}/parts: {told}{before}")
    if done.malformed:
        sys.stdout.flush()
        raise DataError(
            f"{done.malformed} records could not be read, all others are done",
            where=f"{out}/{MALFORMED_FILE}",
            remedy="It says which they are, and why",
        )
