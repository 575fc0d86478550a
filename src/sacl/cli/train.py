"""`sacl train`, `sacl evaluate` and `sacl demo`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sacl.cli import show
from sacl.cli.data import Cache, DataFolder, Json, TrustCode
from sacl.cli.ray import Ray, Workers, tasks_on

if TYPE_CHECKING:
    from sacl.experiment.recipe import Recipe
    from sacl.training.processes import Processes

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE|FILE.yaml", help="A recipe's name, or a file.")]
Features = Annotated[Path | None, typer.Option("--features", help="Folder of vectors (see `sacl encode --out`).")]
Seeds = Annotated[str | None, typer.Option(help="0-4, or 0,2,5; by default the recipe's.")]
SetOptions = Annotated[list[str] | None, typer.Option("--set", help="One setting: training.epochs=3.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="linear, bc_lstm, dialogue_rnn, dialogue_crn or transformer, trained with the classification loss alone; "
        "or your own, package.module:Class, with the recipe's objective.",
    ),
]
MOST_SEEDS = 1000
Resume = Annotated[bool, typer.Option("--resume", help="Continue what was cut off.")]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Seeds at a time; by default one a core, on Ray as many as there is room for.")
]


def train(
    recipe: RecipeName,
    data: DataFolder = None,
    features: Features = None,
    seeds: Seeds = None,
    settings: SetOptions = None,
    model: Model = None,
    out: Annotated[Path | None, typer.Option(help="Run directory; by default runs/RECIPE.")] = None,
    resume: Resume = False,
    jobs: Jobs = None,
    ray: Ray = None,
    workers: Workers = None,
    monitor_test: Annotated[
        bool, typer.Option("--monitor-test", help="Score the test split every epoch too; never selects.")
    ] = False,
    trust_code: TrustCode = False,
    cache: Cache = None,
    json: Json = False,
) -> None:
    """Train a recipe, seed by seed, and score each seed's selected epoch on the test split, once.

    Recipes that come with the package: emorynlp, iemocap, meld, each with a -released twin, two with one for MiniLM's
    features, -minilm; iemocap-4, mosei; sample.

    Started by torchrun, several processes train each seed together: torchrun --nproc-per-node 2 -m sacl train RECIPE.
    """
    from sacl.experiment.together import restarted
    from sacl.training.processes import joined

    monitor = ["training.monitor_test=true"] if monitor_test else []
    loaded = resolved(recipe, seeds, [*_alone(model), *(settings or []), *monitor], model, trust_code)
    run_tasks = tasks_on(ray, workers=workers)
    folder = out or Path("runs") / loaded.name
    with joined(loaded.training.device) as processes:
        results = _train(
            loaded,
            folder,
            processes,
            data=data,
            features=features,
            cache=cache,
            resume=resume or restarted(folder),
            jobs=jobs,
            run_tasks=run_tasks,
            processes=workers or 1,
        )
    if results is None:
        return
    _show_results(loaded, results, folder, json)
    if not json:
        _show_models(folder)


def _train(recipe: Recipe, folder: Path, together: Processes | None, **options: Any) -> list[dict[str, Any]] | None:
    """The seeds' results; None in any process but the first of several, which tells of them."""
    from sacl.experiment.recipe import retuned
    from sacl.experiment.tasks import Sources
    from sacl.experiment.together import follow, leading

    sources = Sources(options["data"], options["features"], options["cache"])
    if together is not None and not together.first:
        follow(recipe, folder, sources, together)
        return None
    other = retuned(recipe, recipe.features.encoder) if sources.features is None else None
    if other is not None:
        show.console(stderr=True).print(
            f"sacl: {recipe.name} has settings tuned for other features than {recipe.features.encoder}'s; for these "
            f"there is the recipe {other}"
        )
    if together is not None:
        options |= {"run_tasks": leading(together), "processes": together.size}
    return _study(recipe, folder, **options)


def resolved(
    recipe: str, seeds: str | None, settings: list[str] | None, model: str | None = None, trust_code: bool = False
) -> Recipe:
    """The recipe with the settings, seeds and model given at the shell."""
    from sacl.experiment.recipe import load_recipe

    overrides = list(settings or [])
    if seeds is not None:
        overrides.append(f"seeds={parsed_seeds(seeds)}")
    if model is not None:
        overrides.append(f"model.kind='{model}'")
    return load_recipe(recipe, overrides, trust_code=trust_code)


def _alone(model: str | None) -> list[str]:
    """Settings that train a baseline as it was published; what is set by hand comes after them, and holds."""
    from sacl.experiment.ablation import ARMS

    if model is None:
        return []
    from sacl.model.build import MODELS

    changes = ARMS["cross_entropy"] if model in MODELS and model != "dual_lstm" else {}
    return [f"{key}={value}" for key, value in changes.items()]


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "test",
    data: DataFolder = None,
    trust_code: TrustCode = False,
    cache: Cache = None,
    json: Json = False,
) -> None:
    """Score the models of a run on a split again, from their files."""
    from sacl.experiment.evaluate import evaluate_run
    from sacl.experiment.study import open_study

    recipe, _ = open_study(run)
    with show.progress() as progress:
        results = evaluate_run(run, split, data=data, cache=cache, trust_code=trust_code, progress=progress)
    _show_results(recipe, results, run, json, split)


def demo(
    out: Annotated[Path, typer.Option(help="Run directory; what an earlier demo left there is replaced.")] = Path(
        "runs/demo"
    ),
    epochs: Annotated[int | None, typer.Option(min=1, help="Stop after so many epochs.")] = None,
) -> None:
    """Train on the sample corpus, show the table, then read a conversation the model has not seen."""
    from sacl.aside import beside, removed
    from sacl.datasets import load_corpus
    from sacl.experiment.lock import require_free
    from sacl.experiment.recipe import load_recipe
    from sacl.experiment.study import RECIPE_FILE
    from sacl.recognizer import EmotionRecognizer

    # A name of its own, so that a run of the recipe `sample` is never taken for an earlier demo.
    recipe = load_recipe("sample", ["name=demo", "seeds=[0, 1]", *([f"training.epochs={epochs}"] if epochs else [])])
    screen = show.console()
    screen.print(f"{recipe.description}:\n150 conversations to learn from, 60 to be tested on.\n")
    # Nothing but a demo's own run is removed; `study` refuses to write into any other.
    if (out / RECIPE_FILE).exists() and load_recipe(str(out / RECIPE_FILE), trust_code=True).name == recipe.name:
        require_free(out)
        # Renamed before it is deleted: what were half of it would be taken for somebody else's.
        removed(out.rename(beside(out)))
    results = _study(recipe, out)
    _show_results(recipe, results, out, False)
    conversation = load_corpus("sample")["test"][0]
    show.conversation(
        f"{conversation.id}, from the test split", EmotionRecognizer.from_pretrained(out).predict(conversation)
    )
    _show_models(out)


def _study(recipe: Any, folder: Path, **options: Any) -> list[dict[str, Any]]:
    from sacl.experiment.study import study

    with show.progress() as progress:

        def on_epoch(name: str, figures: dict[str, Any]) -> None:
            progress(f"{name}\tvalid W-F1 {figures['valid_weighted_f1']:.2f}", figures["epoch"], recipe.training.epochs)

        return study(recipe, folder, on_epoch=on_epoch, on_encode=progress, **options)


def _show_results(
    recipe: Any, results: Sequence[dict[str, Any]], folder: Path, json: bool, split: str = "test"
) -> None:
    from sacl.report.compare import intervals
    from sacl.report.runs import read_run
    from sacl.report.sections import interval_table
    from sacl.report.table import class_table, encoder_name, seed_table

    run = read_run(folder) if split == "test" else None
    found = {} if run is None else intervals(run)
    if json:
        content = {"recipe": recipe.model_dump(), "run": str(folder), "split": split, "seeds": list(results)}
        show.document(content | {"intervals": {key: {"low": i.low, "high": i.high} for key, i in found.items()}})
        return
    show.table(seed_table(recipe, results, encoder_name(results[0]["data"]["source"]), split))
    if run is not None:
        show.table(interval_table(run, found, beside=False))
    show.table(class_table(recipe, results, split))


def _show_models(folder: Path) -> None:
    show.console().print("The models are there. Try the best on a file with a line `Speaker: text` a turn:")
    started = sys.argv[0]
    # `make demo` runs it in an environment that is not activated.
    command = started if shutil.which("sacl") is None and Path(started).name == "sacl" else "sacl"
    print(f"    {command} predict {folder} FILE")


def parsed_seeds(text: str) -> list[int]:
    """`0-4` or `0,2,5` -> seeds."""
    from sacl.errors import RecipeError

    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise RecipeError(f"{text!r} names no seeds", where="--seeds", remedy="Write 0-4, or 0,2,5")
        if len(part) > 40 or int(last or first) - int(first) >= MOST_SEEDS:
            raise RecipeError(f"{text!r} asks for too many seeds", where="--seeds", remedy=f"At most {MOST_SEEDS}")
        seeds += range(int(first), int(last or first) + 1)
    if len(set(seeds)) < len(seeds) or not seeds:
        raise RecipeError(f"{text!r} names a seed twice, or none", where="--seeds", remedy="Write 0-4, or 0,2,5")
    return seeds
