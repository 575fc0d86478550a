"""Emotions over time: a row an emotion, a bar a turn, as inline SVG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from sacl.serve.page.parts import hue, safe, symbol
from sacl.serve.page.view import PAGE, View

MOST_BARS = 160
"""In a longer conversation a bar is the mean of several turns."""


def over_time(view: View) -> str:
    """A figure of the conversation that is shown: how probable each emotion was, turn after turn.

    Rows are told apart by their names; a row is only as colourful as it need not be.
    """
    turns = view.talk.turns
    if len(turns) < 2:
        return ""
    names = list(turns[0].probabilities)
    table = np.array([list(turn.probabilities.values()) for turn in turns])
    often = Counter(turn.likeliest for turn in turns)
    size = -(-len(turns) // MOST_BARS)
    starts = range(0, len(turns), size)
    means = np.stack([table[start : start + size].mean(0) for start in starts])
    leads = means.argmax(1)
    shown = (min(view.positions()), max(view.positions()) + 1) if view.pages > 1 else None
    rows = []
    for k, name in sorted(enumerate(names), key=lambda pair: -often[pair[1]]):
        peak = int(table[:, k].argmax())
        told = f"{name}: most probable in {often[name]} of {len(turns)} turns; highest in turn {peak + 1}, "
        told += f"{100 * table[peak, k]:.0f} percent"
        rows.append(
            f'<div class="row {hue(name)}"><span class="name">{symbol(name)}<span>{safe(name)}</span></span>'
            f"{_bars(means[:, k], leads == k, told, shown, size)}"
            f'<span class="often" aria-hidden="true">{often[name]}</span></div>'
        )
    each = "a bar is a turn" if size == 1 else f"a bar is the mean of {size} turns"
    page = f" The band is the page that is shown, {PAGE} turns." if shown else ""
    return (
        f'<h3>Over time</h3><p class="hint">How probable each emotion was; {each}, full where that emotion leads. '
        f'The number says in how many turns.{page}</p><div class="plot">{"".join(rows)}'
        f'<div class="row axis" aria-hidden="true"><span></span><span class="ends"><span>turn 1</span>'
        f"<span>turn {len(turns)}</span></span><span></span></div></div>"
    )


def _bars(
    heights: Sequence[float] | np.ndarray, leading: np.ndarray, told: str, shown: tuple[int, int] | None, size: int
) -> str:
    band = ""
    if shown is not None:
        band = f'<rect class="band" x="{shown[0] / size:.2f}" width="{(shown[1] - shown[0]) / size:.2f}" height="1"/>'
    return (
        f'<svg viewBox="0 0 {len(heights)} 1" preserveAspectRatio="none" role="img" aria-label="{safe(told)}">{band}'
        f'<path class="faint" d="{_path(heights, np.flatnonzero(~leading))}"/>'
        f'<path class="full" d="{_path(heights, np.flatnonzero(leading))}"/></svg>'
    )


def _path(heights: Sequence[float] | np.ndarray, columns: Iterable[int]) -> str:
    return "".join(f"M{i + 0.1:.1f} 1v-{max(heights[i], 0.03):.3f}h.8V1z" for i in columns)
