"""What `sacl robustness --out` wrote, read back and checked, and its tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sacl.errors import RunError
from sacl.report.runs import Run
from sacl.report.table import Table


@dataclass(frozen=True, slots=True)
class Kind:
    """An attack or a corruption as a reader meets it: its name, what its strength counts, where strengths stand."""

    title: str
    axis: str
    scale: Literal["linear", "percent", "logarithmic", "turns"] = "linear"


ATTACKS = {
    "weights": Kind("Attack on the weights", "L2 norm of each tensor's change", "logarithmic"),
    "inputs": Kind("Attack on the inputs", "L2 norm of each vector's change", "logarithmic"),
}
CONTEXT = {
    "speakers-lost": Kind("Speakers lost", "turns without a speaker (percent)", "percent"),
    "turns-missing": Kind("Earlier turns missing", "turns seen, itself included", "turns"),
    "turns-shuffled": Kind("Turns out of order", "places moved, at most"),
}
TYPING = {"typing-errors": Kind("Typing errors", "letters hit (percent)", "percent")}
KINDS = ATTACKS | TYPING | CONTEXT
_KNOWN = {"none", *KINDS, *(f"{attack}-noise" for attack in ATTACKS)}


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)
    run: str
    seed: int
    attack: str
    strength: float = Field(ge=0)
    weighted_f1: float = Field(ge=0, le=100)


class _About(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)
    run: str
    name: str
    corpus: str
    seeds: list[int] = Field(min_length=1)
    weight_lengths: list[dict[str, float]] = []


class Measured(BaseModel):
    """The document of `sacl robustness`; other keys are left alone.

    Args:
        split, steps, draws: what was measured on, steps of the gradient ascent, draws of noise and of damage.
        axes: attack -> what its strength counts, in words.
        runs: the models: folder, the name that figures call it by, data set, seeds.
        records: a W-F1, percent, a run, seed, attack and strength; the clean ones are attack `none`.
        notes: what could not be done.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)
    split: Literal["train", "valid", "test"]
    steps: int = Field(ge=1)
    draws: int = Field(ge=1)
    axes: dict[str, str]
    runs: list[_About] = Field(min_length=1)
    records: list[_Record]
    notes: list[str] = []

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        found = {(r.run, r.seed, r.attack, r.strength) for r in self.records}
        known = {(about.run, seed) for about in self.runs for seed in about.seeds}
        if odd := {r.attack for r in self.records} - _KNOWN:
            raise ValueError(f"unknown attack {min(odd)!r}")
        if odd := {r.attack.removesuffix("-noise") for r in self.records} - {"none", *self.axes}:
            raise ValueError(f"what the strength of {min(odd)!r} counts is missing")
        if (
            len(found) < len(self.records)
            or {f[:2] for f in found} != known
            or len({a.run for a in self.runs}) < len(self.runs)
        ):
            raise ValueError("its records are not those of its runs and seeds, each once")
        if any(r.strength == 0 and r.attack != "none" for r in self.records):
            raise ValueError("an attack has no strength")
        if {f[:2] for f in found if f[2:] == ("none", 0)} != known:
            raise ValueError("a model's clean figure is missing")
        return self

    def strengths(self, attack: str) -> list[float]:
        """Of an attack, weakest first."""
        found = {r.strength for r in self.records if r.attack in (attack, f"{attack}-noise")}
        return sorted(found, reverse=KINDS[attack].scale == "turns")

    @cached_property
    def points(self) -> dict[tuple[str, str, float], list[float]]:
        """Run, attack, strength -> W-F1 of every seed that was measured so."""
        found: dict[tuple[str, str, float], list[float]] = {}
        for r in self.records:
            found.setdefault((r.run, r.attack, r.strength), []).append(r.weighted_f1)
        return found

    def values(self, run: str, attack: str, strength: float) -> list[float]:
        """One of `points`, empty where nothing was measured."""
        return self.points.get((run, attack, strength), [])

    @property
    def attacks(self) -> list[str]:
        """Those that were measured, noise left out."""
        found = {r.attack for r in self.records}
        return [attack for attack in KINDS if attack in found]


def read_robustness(path: Path) -> Measured:
    """The document in a file.

    Raises:
        RunError: it cannot be read, or is no such document.
    """
    remedy = "Give a file that `sacl robustness RUN ... --out FILE.json` wrote"
    try:
        return Measured.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RunError(f"it cannot be read ({error.strerror})", where=str(path), remedy=remedy) from None
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        what = f"{f'{name}: ' * bool(name)}{first['msg'].removeprefix('Value error, ')}"
        raise RunError(f"it is no document of `sacl robustness` ({what})", where=str(path), remedy=remedy) from None


def require_measured(measured: Measured, runs: Sequence[Run], path: Path) -> None:
    """Refuses figures that are not those of the runs beside which they would stand.

    A run is known by its folder, or by the folder's name where it has moved since; the clean test W-F1 says whether it
    is the same training.

    Raises:
        RunError: none of the runs was measured, or one was trained again since.
    """
    pairs = [(run, about) for run in runs for about in measured.runs if _same_folder(run, about)]
    if not pairs:
        ends = [(run, f"/{run.folder.resolve().as_posix()}") for run in runs]
        pairs = [(run, about) for run, path in ends for about in measured.runs if path.endswith(f"/{about.name}")]
    again = f"sacl robustness {' '.join(str(run.folder) for run in runs)} --out {path}"
    if not pairs:
        raise RunError(
            f"it measures {', '.join(about.run for about in measured.runs)} and none of the runs of this report",
            where=str(path),
            remedy=f"Measure them: {again}",
        )
    for run, about in pairs if measured.split == "test" else []:
        clean = {r.seed: r.weighted_f1 for r in measured.records if (r.run, r.attack) == (about.run, "none")}
        for result in run.results:
            there = result["test"]["weighted_f1"]
            if abs(clean.get(result["seed"], there) - there) > 0.05:
                raise RunError(
                    f"seed {result['seed']} of {run.folder} has a clean W-F1 of {clean[result['seed']]:.2f} there and "
                    f"of {there:.2f} in its run: it is another training",
                    where=str(path),
                    remedy=f"Measure it again: {again}",
                )


def robustness_tables(measured: Measured, spread: bool = False) -> Iterator[Table]:
    """One table an attack: a row a run, noise under the attack, a column a strength; means over seeds.

    Args:
        spread: the deviation over seeds stands in the cells too.
    """
    over = "Mean and deviation" if spread and any(len(about.seeds) > 1 for about in measured.runs) else "Mean"
    seeds = ", ".join(f"{about.name} {len(about.seeds)}" for about in measured.runs)
    for attack in measured.attacks:
        strengths = measured.strengths(attack)
        rows = []
        for about in measured.runs:
            clean = measured.values(about.run, "none", 0)
            for kind in (attack, f"{attack}-noise"):
                found = [measured.values(about.run, kind, strength) for strength in strengths]
                if any(found):
                    name = about.name if kind == attack else f"{about.name}, noise"
                    rows.append([name, *(_cell(values, spread) for values in (clean, *found))])
        title = f"{KINDS[attack].title}: W-F1 on the {split_name(measured)}, percent, by {measured.axes[attack]}"
        notes = [f"{over} over seeds (their number): {seeds}.", *([how(measured)] if attack in ATTACKS else [])]
        notes += _lengths(measured) if attack == "weights" else []
        yield Table(title, ["run", "clean", *(f"{strength:g}" for strength in strengths)], rows, notes)
    if measured.notes:
        yield Table("not done", ["why"], [[note] for note in measured.notes])


def how(measured: Measured) -> str:
    """How attacks were made, for captions and notes."""
    return (
        f"Attacks: white-box, {measured.steps} steps of projected gradient ascent on the loss of the true labels. "
        f"Noise of the same norm is the control, mean of {measured.draws} draws."
    )


def split_name(measured: Measured) -> str:
    """What was measured on."""
    return f"{measured.split} split of {', '.join(dict.fromkeys(about.corpus for about in measured.runs))}"


def _same_folder(run: Run, about: _About) -> bool:
    return run.folder.resolve() == Path(about.run).resolve()


def deviation(values: Sequence[float]) -> float:
    """Over seeds; 0 of one seed."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _lengths(measured: Measured) -> list[str]:
    """The perturbed tensors' own norms, to read strengths by."""
    norms = {about.name: [x for seed in about.weight_lengths for x in seed.values()] for about in measured.runs}
    told = [f"{name} {min(known):.1f} to {max(known):.1f}" for name, known in norms.items() if known]
    return [f"Norms of these tensors themselves: {', '.join(told)}."] if told else []


def _cell(values: Sequence[float], spread: bool) -> str:
    if not values:
        return ""
    return f"{np.mean(values):.2f}" + (f" ± {deviation(values):.2f}" if spread and len(values) > 1 else "")
