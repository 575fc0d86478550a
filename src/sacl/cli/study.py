"""`sacl ablate` and `sacl sweep`: many runs, one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sacl.cli import show
from sacl.cli.data import Cache, DataFolder, Json, TrustCode
from sacl.cli.ray import Ray, tasks_on
from sacl.cli.report import compare
from sacl.cli.train import Features, Jobs, Model, RecipeName, Resume, Seeds, SetOptions, resolved

if TYPE_CHECKING:
    from sacl.experiment.tasks import RunTasks


def ablate(
    recipe: RecipeName,
    arms: Annotated[str | None, typer.Option(help="Names with commas between; by default all arms.")] = None,
    data: DataFolder = None,
    features: Features = None,
    seeds: Seeds = None,
    settings: SetOptions = None,
    model: Model = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the runs; by default runs/RECIPE-ablation.")] = None,
    resume: Resume = False,
    jobs: Jobs = None,
    ray: Ray = None,
    trust_code: TrustCode = False,
    cache: Cache = None,
    json: Json = False,
) -> None:
    """Train a recipe with parts of its objective taken away, and compare each arm with the whole.

    Arms: sacl, cross_entropy, soft_scl, adversarial_inputs, virtual_adversarial, random_context, cat,
    without_context_channel, without_speaker_channel, context_lstm_alone, paper, released_padding.
    """
    from sacl.errors import RecipeError
    from sacl.experiment.ablation import ablation_plans

    loaded = resolved(recipe, seeds, settings, model, trust_code)
    named = None if arms is None else list(dict.fromkeys(["sacl", *(name.strip() for name in arms.split(","))]))
    if named == ["sacl"]:
        raise RecipeError("there is no arm to compare with", where="--arms", remedy="Name one more, cross_entropy say")
    home = out or Path("runs") / f"{loaded.name}-ablation"
    plans = ablation_plans(loaded, home, named)
    _train_all(plans, data, features, cache, resume, jobs, tasks_on(ray), score_test=True)
    compare([folder for _, folder in plans], json)
    if not json:
        print(f"Every arm but `paper` has the recipe's classification loss: {_loss(loaded.objective)}.")
        print(f"As a page with figures: sacl report {home}/* --reference sacl --out {home}.html")


def sweep(
    recipe: RecipeName,
    grid: Annotated[
        list[str] | None, typer.Option(help="key=value,value; repeat for more keys. By default the released grids.")
    ] = None,
    data: DataFolder = None,
    features: Features = None,
    seeds: Seeds = None,
    settings: SetOptions = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the runs; by default runs/RECIPE-sweep.")] = None,
    resume: Resume = False,
    jobs: Jobs = None,
    ray: Ray = None,
    asha: Annotated[
        bool,
        typer.Option("--asha", help="Give up points that are behind, by successive halving; needs --ray."),
    ] = False,
    trust_code: TrustCode = False,
    cache: Cache = None,
    json: Json = False,
) -> None:
    """Train every combination of settings, and rank them by validation W-F1. The test split is not looked at.

    The best point's recipe is written to OUT/best.yaml. Points that --asha gives up are ranked behind the others.
    """
    from sacl.experiment.recipe import dump_recipe
    from sacl.experiment.run import write_aside
    from sacl.experiment.sweep import grid_points, parse_grid, pruned_after, ranked, released_grid

    loaded = resolved(recipe, seeds, settings, trust_code=trust_code)
    folder = out or Path("runs") / f"{loaded.name}-sweep"
    points = grid_points(loaded, folder, parse_grid(grid) if grid else released_grid(loaded))
    plans = [(point.recipe, point.folder) for point in points]
    results = _train_all(plans, data, features, cache, resume, jobs, tasks_on(ray, asha), score_test=False)
    given_up = {point.folder: pruned_after(seeds) for point, seeds in zip(points, results, strict=True)}
    order = ranked(points, results)
    best = order[0][0]
    write_aside(folder / "best.yaml", dump_recipe(best.recipe.model_copy(update={"name": f"{loaded.name}-best"})))
    if json:
        show.document(
            [
                {"settings": dict(p.settings), "valid_weighted_f1": mean, "deviation": deviation, "run": str(p.folder)}
                | ({"pruned": given_up[p.folder]} if asha else {})
                for p, mean, deviation in order
            ]
        )
        return
    from sacl.report.table import Table

    keys = list(best.settings)
    rows = [
        [str(i + 1), *(_word(point.settings[key]) for key in keys), f"{mean:.2f}", f"{deviation:.2f}"]
        for i, (point, mean, deviation) in enumerate(order)
    ]
    columns = ["rank", *(key.rpartition(".")[2] for key in keys), "valid W-F1", "deviation"]
    if asha:
        columns.append("given up after")
        for row, (point, _, _) in zip(rows, order, strict=True):
            row.append(", ".join(f"epoch {epoch}" for epoch in given_up[point.folder]))
    seeds_told = "one seed" if len(loaded.seeds) == 1 else f"mean and deviation over {len(loaded.seeds)} seeds"
    notes = [
        f"Validation split, percent; {seeds_told}. The best of {len(points)} is partly the luckiest.",
        f"Train it with: sacl train {folder / 'best.yaml'}" + " --trust-code" * best.recipe.model.is_own,
    ]
    show.table(Table(f"{loaded.name}: {len(points)} points of a grid", columns, rows, notes))


def _train_all(
    plans: list[Any],
    data: Path | None,
    features: Path | None,
    cache: Path | None,
    resume: bool,
    jobs: int | None,
    run_tasks: RunTasks | None,
    score_test: bool,
) -> list[list[dict[str, Any]]]:
    from sacl.errors import RunError
    from sacl.experiment.study import studies
    from sacl.experiment.tasks import Sources
    from sacl.training.processes import are_several

    if are_several():
        raise RunError(
            "torchrun started several processes, each of which would train all of it",
            where="torchrun",
            remedy="Start it without torchrun, perhaps with --ray; torchrun is for sacl train",
        )
    total = sum(len(recipe.seeds) for recipe, _ in plans)
    with show.progress() as progress:
        begun: dict[str, None] = {}

        def on_epoch(name: str, figures: dict[str, Any]) -> None:
            # A bar an arm and seed would fill the screen: one bar counts those that have begun.
            begun.setdefault(name)
            detail = f"{name}, epoch {figures['epoch']}: valid W-F1 {figures['valid_weighted_f1']:.2f}"
            progress(f"runs\t{detail}", len(begun), total)

        return studies(
            plans,
            Sources(data, features, cache),
            resume=resume,
            jobs=jobs,
            score_test=score_test,
            on_epoch=on_epoch,
            on_encode=progress,
            run_tasks=run_tasks,
        )


def _loss(objective: Any) -> str:
    """The classification loss in words."""
    name = f"focal, gamma {objective.focal_gamma:g}" if objective.focal_gamma else "cross-entropy"
    return f"{name}, {'no class weighted' if objective.class_weights == 'none' else 'classes weighted'}"


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
