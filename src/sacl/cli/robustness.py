"""`sacl robustness`: trained models under attack, and on damaged conversations."""

from __future__ import annotations

import json as json_
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sacl.cli import show
from sacl.cli.data import Cache, DataFolder, Json

if TYPE_CHECKING:
    from sacl.experiment.data import RunData
    from sacl.training.trained import TrainedModel

Progress = Callable[[str, int, int], None]
PACKED_BATCH = 64
"""Conversations a batch where padding cannot tell: larger ones are no faster."""
DRAWS = 3
"""Of noise and of damage; figures are their means."""


class Attack(StrEnum):
    """What `--attack` takes."""

    weights = "weights"
    inputs = "inputs"
    corruptions = "corruptions"
    all = "all"


def robustness(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories.")],
    attack: Annotated[Attack, typer.Option(help="What is done to the models.")] = Attack.all,
    steps: Annotated[
        int, typer.Option(min=1, help="Of the gradient ascent; at least 10 for a figure to publish.")
    ] = 10,
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "test",
    seeds: Annotated[str | None, typer.Option(help="0-4, or 0,2,5; by default every seed of a run.")] = None,
    data: DataFolder = None,
    cache: Cache = None,
    trust_code: Annotated[bool, typer.Option("--trust-code", help="Run the code of a model of your own kind.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write what was measured into a JSON file too, for `sacl report --robustness`.")
    ] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw it too: a .pdf, .svg or .png.")] = None,
    json: Json = False,
) -> None:
    """W-F1 of trained models against the strength of white-box attacks, and of damage to the conversations.

    Attacks on the weights and on the inputs follow the true labels' loss; noise of the same length stands beside them.
    Damage: speakers lost, earlier turns missing, turns shuffled, typing errors (the texts are encoded again).
    """
    from sacl.evaluation.robustness import ATTACKS
    from sacl.experiment.evaluate import load_seed
    from sacl.experiment.run import write_aside
    from sacl.experiment.study import open_study
    from sacl.report import robustness as reports
    from sacl.report.runs import short_names

    _require_writable(out, figure)
    chosen = list(dict.fromkeys(runs))
    recipes = {run: open_study(run)[0] for run in chosen}
    wanted = {run: _seeds(seeds, recipes[run].seeds, run, trust_code) for run in chosen}
    document: dict[str, Any] = {"split": split, "steps": steps, "draws": DRAWS, "axes": ATTACKS}
    document |= {"runs": [], "records": [], "notes": []}
    with show.progress() as progress:
        for run, name in zip(chosen, short_names(chosen), strict=True):
            about: dict[str, Any] = {"run": str(run), "name": name, "recipe": recipes[run].name}
            about |= {"seeds": wanted[run], "weight_lengths": []}
            for seed in wanted[run]:
                told = partial(_told, progress, f"{name}, seed {seed}")
                trained, given = load_seed(run, seed, data=data, cache=cache, trust_code=trust_code, progress=told)
                records, lengths, notes = _attacked(trained, given, recipes[run], split, attack, steps, cache, told)
                document["records"] += [{"run": str(run), "seed": seed, **record} for record in records]
                about["corpus"] = given.corpus.name
                about["weight_lengths"].append(lengths)
                document["notes"] += [f"{run}: {note}" for note in notes if f"{run}: {note}" not in document["notes"]]
            document["runs"].append(about)
    if out is not None:
        write_aside(out, json_.dumps(document, indent=1))
    measured = reports.Measured.model_validate(document)
    if figure is not None:
        from sacl.report.drawing import save
        from sacl.report.robustness_section import robustness_figure

        save(robustness_figure(measured), figure)
    if json:
        show.document(document)
        return
    for table in reports.robustness_tables(measured):
        show.table(table)


def _require_writable(out: Path | None, figure: Path | None) -> None:
    """What cannot be written is to be told before the work, not after it."""
    from sacl.errors import RunError
    from sacl.report.drawing import SUFFIXES, need

    for path in (out, figure):
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            raise RunError(
                "it is no file that can be written", where=str(path), remedy="Name a file in a folder that exists"
            )
    if figure is not None:
        if figure.suffix not in SUFFIXES:
            raise RunError(
                f"a figure is no {figure.suffix or 'file without suffix'}",
                where=str(figure),
                remedy=f"Name a file that ends in {' or '.join(SUFFIXES)}",
            )
        need("matplotlib", where="sacl robustness --figure")


def _attacked(
    trained: TrainedModel,
    given: RunData,
    recipe: Any,
    split: str,
    attack: Attack,
    steps: int,
    cache: Path | None,
    progress: Progress,
) -> tuple[list[dict[str, Any]], dict[str, float], list[str]]:
    """Records of one model, the lengths of the tensors under attack, and what could not be done."""
    from sacl.evaluation import robustness as r
    from sacl.experiment.run import reproducible, torch_threads

    size = recipe.training.batch_size if trained.settings.padding == "released" else PACKED_BATCH
    conversations, vectors = given.split(split)
    items = trained.items(conversations, vectors)
    batched = r.batching(trained.model, trained.settings, size)
    batches, lengths, notes = batched(items), r.weight_lengths(trained.model), []
    with reproducible(torch_threads(recipe)):
        records = [r.measure(trained.model, batches)]
        if attack in (Attack.weights, Attack.all):
            if lengths:
                records += r.attack_weights(trained.model, batches, steps=steps, draws=DRAWS, progress=progress)
            else:
                notes.append("its model names no weights to attack")
        if attack in (Attack.inputs, Attack.all):
            records += r.attack_inputs(trained.model, batches, steps=steps, draws=DRAWS, progress=progress)
        if attack in (Attack.corruptions, Attack.all):
            records += r.corrupt(trained.model, items, batched, draws=DRAWS, progress=progress)
            if trained.encoder is None or any(u.text is None for c in conversations for u in c.utterances):
                notes.append("typing errors need texts and their encoder, and it was trained on given vectors")
            else:
                records += _mistyped(trained, conversations, batched, cache, progress)
    return records, lengths, notes


def _mistyped(
    trained: TrainedModel, conversations: Sequence[Any], batched: Any, cache: Path | None, progress: Progress
) -> list[dict[str, Any]]:
    from sacl.conversation import Corpus
    from sacl.evaluation.corruptions import mistyped
    from sacl.evaluation.robustness import TYPING_ERRORS, measure
    from sacl.features.corpus import encode_corpus
    from sacl.features.encoder import Encoder

    encoder = Encoder.from_identity(trained.encoder or {})
    records = []
    for rate in TYPING_ERRORS:
        damaged = Corpus("with typing errors", trained.labels, {"damaged": mistyped(conversations, rate)})
        # Kept in the cache, so that the other seeds and models need not encode the same again.
        vectors = encode_corpus(damaged, encoder, cache, progress).rows("damaged")
        records.append(
            measure(trained.model, batched(trained.items(damaged["damaged"], vectors)), "typing-errors", rate)
        )
    return records


def _seeds(text: str | None, trained: list[int], run: Path, trust_code: bool) -> list[int]:
    """The seeds asked for, each complete and its model whole: what is not is told before hours of work, not after."""
    from sacl.cli.train import parsed_seeds
    from sacl.errors import RunError
    from sacl.experiment.run import read_result
    from sacl.experiment.study import seed_folder
    from sacl.training.trained import TrainedModel

    wanted = trained if text is None else parsed_seeds(text)
    absent = [seed for seed in wanted if seed not in trained]
    if absent:
        raise RunError(
            f"it has no seed {absent[0]}", where=str(run), remedy=f"Name seeds of {', '.join(map(str, trained))}"
        )
    for seed in wanted:
        read_result(seed_folder(run, seed))
        TrainedModel.load(seed_folder(run, seed), trust_code=trust_code)
    return wanted


def _told(progress: Progress, who: str, what: str, done: int, total: int) -> None:
    progress(f"{who}: {what}", done, total)
