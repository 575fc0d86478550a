"""The figure of robustness: W-F1 by strength, a panel an attack or corruption, a curve a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sacl.report.drawing import COLUMN, DASHES, INK, MARKERS, PAGE, PALETTE, PAPER, axes, style


@dataclass(frozen=True, slots=True)
class Curve:
    """A model in a panel.

    Args:
        name: of the model.
        number: of the model, which gives colour and marker.
        control: the curve is that of the noise, and dashed.
        points: place on the axis, mean and deviation over seeds, from left to right.
    """

    name: str
    number: int
    control: bool
    points: Sequence[tuple[float, float, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    """An attack or corruption of the figure.

    Args:
        title, xlabel: what is done, and what its strength counts.
        ticks: place and text of every strength.
        curves: of the models.
        context: it damages the conversation around an utterance, and stands in the row of those that do.
    """

    title: str
    xlabel: str
    ticks: Sequence[tuple[float, str]]
    curves: Sequence[Curve]
    context: bool


def draw(panels: Sequence[Panel]) -> Any:
    """W-F1 by strength, a panel an attack or corruption, a curve a model: a band is one deviation, dashes are noise.

    More than three panels stand in two rows; those of a row share their vertical axis.
    """
    rows = _rows(panels)
    columns = max(len(row) for row in rows)
    with style():
        handles = _legend([curve for panel in panels for curve in panel.curves])
        width = COLUMN if columns == 1 else PAGE
        abreast = _abreast([handle.get_label() for handle in handles], width)
        lines = -(-len(handles) // abreast)
        figure, made = axes(width, 0.2 + 0.18 * lines + 1.9 * len(rows), columns, len(rows))
        grid = np.reshape(made, (len(rows), columns))
        for row, places in zip(rows, grid, strict=True):
            for panel, ax in zip(row, places, strict=False):
                _draw_panel(panel, ax)
                ax.set_ylim(*_range(row))
                ax.tick_params(labelleft=ax is places[0], left=ax is places[0])
            for ax in places[len(row) :]:
                ax.remove()
            places[0].set_ylabel("W-F1 (percent)")
            places[0].yaxis.get_major_locator().set_params(integer=True)
        figure.legend(handles=handles, loc="outside upper center", ncols=abreast, columnspacing=1.5)
        return figure


def _rows(panels: Sequence[Panel]) -> list[Sequence[Panel]]:
    inner, outer = [p for p in panels if not p.context], [p for p in panels if p.context]
    if len(panels) <= 3:
        return [panels]
    return [inner, outer] if len(inner) > 1 else [panels[:2], panels[2:]]


def _draw_panel(panel: Panel, ax: Any) -> None:
    for curve in panel.curves:
        x, means, deviations = np.array(curve.points).T
        color, marker = PALETTE[curve.number % len(PALETTE)], MARKERS[curve.number % len(MARKERS)]
        if curve.control:
            hollow = {"marker": marker, "markerfacecolor": PAPER, "markersize": 3, "markeredgewidth": 0.7}
            ax.plot(x[1:], means[1:], color=color, linestyle="none", zorder=2.1, **hollow)
            ax.plot(x, means, color=color, linestyle=DASHES, linewidth=0.9)
            continue
        ax.fill_between(x, means - deviations, means + deviations, color=color, alpha=0.18, linewidth=0)
        ax.plot(x, means, color=color, marker=marker, markeredgecolor=PAPER, markeredgewidth=0.4)
    places, texts = zip(*panel.ticks, strict=True)
    ax.set_title(panel.title, loc="left", fontsize=8, fontweight="bold", pad=4)
    ax.set_xlabel(panel.xlabel)
    ax.set_xticks(places, texts)
    ax.grid(axis="y")


def _range(row: Sequence[Panel]) -> tuple[float, float]:
    """From zero where much is lost; else what there is, ten points at least, so that nothing looks like much."""
    points = np.concatenate([np.array(curve.points) for panel in row for curve in panel.curves])
    low, high = float((points[:, 1] - points[:, 2]).min()), float((points[:, 1] + points[:, 2]).max())
    if low < high / 2:
        return 0, 1.05 * high
    room = max(0.05 * (high - low), (10 - (high - low)) / 2)
    return max(low - room, 0), high + room


def _legend(curves: Sequence[Curve]) -> list[Any]:
    """Every model once, and what is dashed."""
    from matplotlib.lines import Line2D

    names = {curve.number: curve.name for curve in curves}
    handles = [
        Line2D([], [], color=PALETTE[i % len(PALETTE)], marker=MARKERS[i % len(MARKERS)], label=name)
        for i, name in names.items()
    ]
    if any(curve.control for curve in curves):
        handles.append(Line2D([], [], color=INK, linestyle=DASHES, linewidth=0.9, label="noise, same norm"))
    return handles


def _abreast(names: Sequence[str], width: float) -> int:
    """How many names fit beside each other: a letter is some 0.065 inches wide, line and gaps half an inch."""
    widths = [0.5 + 0.065 * len(name) for name in names]
    return len(names) if sum(widths) < width else max(1, int(width / max(widths)))
