"""The robustness of models as a section of a report: the figure, and the tables behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sacl.errors import RunError
from sacl.report.document import Drawing, Part, Section
from sacl.report.robustness import ATTACKS, CONTEXT, KINDS, Measured, deviation, how, robustness_tables, split_name
from sacl.report.robustness_figure import Curve, Panel, draw


def robustness_figure(measured: Measured) -> Any:
    """Every attack and corruption that was measured, a panel each.

    Raises:
        RunError: nothing could be attacked.
    """
    if not measured.attacks:
        raise RunError(
            f"there is nothing to draw ({'; '.join(measured.notes) or 'nothing was attacked'})",
            where="sacl robustness",
            remedy="Choose another --attack",
        )
    return draw([_panel(measured, attack) for attack in measured.attacks])


def robustness_section(measured: Measured) -> Section:
    """The figure, and the tables behind it."""
    seeds = ", ".join(f"{about.name} {len(about.seeds)}" for about in measured.runs)
    several = any(len(about.seeds) > 1 for about in measured.runs)
    caption = [
        f"W-F1 on the {split_name(measured)} against what is done to the models and to their conversations. The "
        "leftmost point of every panel is the clean figure.",
        f"Lines: mean over seeds (their number: {seeds}){'; bands: one standard deviation' * several}.",
    ]
    caption += [how(measured)] * bool(set(measured.attacks) & set(ATTACKS))
    if len(measured.attacks) > 3:
        caption.append("Each row has a vertical axis of its own, which need not begin at zero.")
    words = []
    for attack in measured.attacks:
        hardest = measured.strengths(attack)[-1]
        for about in measured.runs:
            clean = measured.values(about.run, "none", 0)
            if found := measured.values(about.run, attack, hardest):
                fall = f"{np.mean(clean):.1f} clean, {np.mean(found):.1f} at {hardest:g}"
                words.append(f"{KINDS[attack].title}, {about.name}: {fall}")
    description = f"W-F1, percent, by strength. {'; '.join(words)}."
    parts: list[Part] = list(robustness_tables(measured, spread=True))
    if measured.attacks:
        parts.insert(0, Drawing("robustness", robustness_figure(measured), " ".join(caption), description))
    return Section("robustness", "Robustness", parts)


def _panel(measured: Measured, attack: str) -> Panel:
    """A curve a run, its noise with it where there is some, the clean figure leftmost."""
    kind, strengths = KINDS[attack], measured.strengths(attack)
    places = _places(strengths, kind.scale)
    curves = []
    for number, about in enumerate(measured.runs):
        clean = (places[0], measured.values(about.run, "none", 0))
        for what in (attack, f"{attack}-noise"):
            found = [(x, measured.values(about.run, what, s)) for x, s in zip(places[1:], strengths, strict=True)]
            known = [(x, values) for x, values in found if values]
            if known:
                points = [(x, float(np.mean(v)), deviation(v)) for x, v in (clean, *known)]
                curves.append(Curve(about.name, number, what != attack, points))
    unit = [f"{100 * s:g}" if kind.scale == "percent" else f"{s:g}" for s in strengths]
    ticks = list(zip(places, ["all" if kind.scale == "turns" else "0", *unit], strict=True))
    return Panel(kind.title, kind.axis, ticks, curves, attack in CONTEXT)


def _places(strengths: Sequence[float], scale: str) -> list[float]:
    """Where strength 0 and the others stand on the axis: even for ratios where they are spread by ratios."""
    if scale == "logarithmic":
        # Linear up to the least strength, logarithmic far above it, and smooth between.
        least = min(s for s in strengths if s > 0)
        return [math.asinh(s / least) for s in (0, *strengths)]
    if scale == "turns":
        return [-math.log2(strengths[0]) - 1, *(-math.log2(s) for s in strengths)]
    return [0, *strengths]
