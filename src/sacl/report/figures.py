"""The figures of a report: one function each, plain numbers in, a matplotlib figure out, sized for a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sacl.report.drawing import BLUE, COLUMN, DASHES, HEAT, INK, MARKERS, ORANGE, PAGE, PALETTE, PAPER, axes, style

FEW = 30
"""Utterances below which a group's figure says little."""


def class_f1(
    labels: Sequence[str], means: Sequence[float], deviations: Sequence[float], published: Mapping[str, float]
) -> Any:
    """F1 by class, percent: ours as points with one deviation over seeds, the published figures as diamonds."""
    with style():
        figure, ax = axes(COLUMN, 0.75 + 0.26 * len(labels))
        rows = np.arange(len(labels))
        ax.errorbar(means, rows, xerr=deviations, fmt="o", color=BLUE, capsize=2.5, elinewidth=1, label="here")
        known = [i for i, label in enumerate(labels) if label in published]
        if known:
            shown = [published[labels[i]] for i in known]
            ax.plot(shown, known, "D", color=ORANGE, markerfacecolor="none", label="published")
            ours, theirs = ax.containers[0], ax.lines[-1]
            figure.legend(handles=[ours, theirs], loc="outside upper center", ncols=2, handletextpad=0.3)
        ax.set(yticks=rows, yticklabels=labels, xlabel="F1 (percent)", xlim=(0, 100), ylim=(len(labels) - 0.5, -0.5))
        ax.grid(axis="both")
        ax.tick_params(left=False)
        return figure


def learning_curves(
    seeds: Sequence[int], histories: Sequence[Sequence[Mapping[str, Any]]], selected: Sequence[int]
) -> Any:
    """Loss and validation W-F1 by epoch, a line a seed; rings mark the epochs that were selected."""
    with style():
        figure, (losses, scores) = axes(PAGE, 2.3, 2)
        for seed, history, best in zip(seeds, histories, selected, strict=True):
            epochs = [h["epoch"] for h in history]
            first = seed == seeds[0]
            for ax, key, color, dash, name in (
                (losses, "train_loss", INK, DASHES, "train"),
                (losses, "valid_loss", BLUE, "-", "validation"),
                (scores, "valid_weighted_f1", BLUE, "-", "validation"),
            ):
                values = [h[key] for h in history]
                ax.plot(
                    epochs,
                    values,
                    color=color,
                    linestyle=dash,
                    alpha=0.75,
                    linewidth=0.9,
                    label=name if first else None,
                )
                if name == "validation":
                    ring = {"markersize": 6, "markerfacecolor": "none", "markeredgecolor": ORANGE, "mew": 1.3}
                    ax.plot(
                        [best], [values[best - 1]], "o", zorder=5, label="selected epoch" if first else None, **ring
                    )
        losses.set(xlabel="epoch", ylabel="loss (mean over batches)", ylim=(0, None))
        scores.set(xlabel="epoch", ylabel="validation W-F1 (percent)")
        losses.legend()
        for ax in (losses, scores):
            ax.grid(axis="y")
            ax.xaxis.get_major_locator().set_params(integer=True)
        return figure


def confusion(labels: Sequence[str], matrix: np.ndarray) -> Any:
    """Row-normalised confusion, percent in every cell.

    Args:
        labels: the emotions.
        matrix: shape (emotions, emotions), counts or mean counts by label (row) and prediction (column).
    """
    from matplotlib.patches import Rectangle

    support = matrix.sum(axis=1)
    shares = matrix / np.maximum(support, 1e-12)[:, None]
    n = len(labels)
    with style():
        figure, ax = axes(max(COLUMN, 0.4 * n), max(COLUMN, 0.4 * n) * 0.92)
        for i, j in np.ndindex(n, n):
            # The colour's opacity is the share: one hue from the page's own colour on, light page or dark.
            ax.add_patch(Rectangle((j, i), 1, 1, facecolor=HEAT, alpha=float(shares[i, j]), linewidth=0))
            if support[i] > 0:
                color = "#ffffff" if shares[i, j] > 0.85 else INK
                weight = "bold" if i == j else "normal"
                ax.text(
                    j + 0.5,
                    i + 0.5,
                    f"{100 * shares[i, j]:.0f}",
                    ha="center",
                    va="center",
                    color=color,
                    weight=weight,
                    size=7.5,
                )
        middles = np.arange(n) + 0.5
        ax.set(
            xlim=(0, n),
            ylim=(n, 0),
            xticks=middles,
            yticks=middles,
            xlabel="predicted (percent of the row)",
            ylabel="labelled (utterances)",
        )
        ax.set_xticklabels(labels, rotation=40, ha="right", rotation_mode="anchor")
        ax.set_yticklabels([f"{label} ({round(float(count))})" for label, count in zip(labels, support, strict=True)])
        ax.tick_params(length=0)
        ax.set_aspect("equal")
        for spine in ax.spines.values():
            spine.set_visible(True)
        return figure


def groups(
    names: Sequence[str],
    counts: Sequence[int],
    means: Sequence[float],
    deviations: Sequence[float],
    xlabel: str,
    ylabel: str,
    ordered: bool = True,
) -> Any:
    """A measure by group of utterances, mean and one deviation over seeds.

    A line joins groups that have an order; a group of fewer than `FEW` utterances is hollow.
    """
    with style():
        figure, ax = axes(COLUMN, 2.1)
        places = np.arange(len(names))
        line = {"fmt": "o-" if ordered else "o", "linewidth": 0.8}
        ax.errorbar(places, means, yerr=deviations, color=BLUE, capsize=2.5, elinewidth=1, **line)
        few = np.array(counts) < FEW
        ax.plot(places[few], np.array(means)[few], "o", color=BLUE, markerfacecolor=PAPER, zorder=5)
        ax.set(xlabel=xlabel, ylabel=ylabel, xticks=places, xlim=(-0.5, len(names) - 0.5))
        ax.set_xticklabels(
            [f"{name.replace(' and more', '+')}\n({count})" for name, count in zip(names, counts, strict=True)]
        )
        ax.grid(axis="y")
        return figure


def representations(points: np.ndarray, gold: np.ndarray, labels: Sequence[str]) -> Any:
    """The t-SNE picture: a marker and a colour an emotion.

    Args:
        points: shape (utterances, 2).
        gold: shape (utterances,), index of the label.
        labels: the emotions.
    """
    with style():
        figure, ax = axes(COLUMN, 3.5)
        # Frequent emotions lie below, so that rare ones are seen.
        for i in sorted(range(len(labels)), key=lambda i: -int((gold == i).sum())):
            mine, marker = points[gold == i], MARKERS[i % len(MARKERS)]
            ax.plot(
                mine[:, 0], mine[:, 1], marker, color=PALETTE[_color(labels[i], i)],
                markersize=3.8 if marker == "*" else 2.6, markeredgewidth=0, alpha=0.75, label=labels[i],
            )  # fmt: skip
        ax.set(xticks=[], yticks=[], xlabel="t-SNE 1 (no unit)", ylabel="t-SNE 2 (no unit)")
        figure.legend(loc="outside lower center", ncols=4, markerscale=2, handletextpad=0.1, columnspacing=1)
        return figure


def differences(
    names: Sequence[str], values: Sequence[float], lows: Sequence[float], highs: Sequence[float], reference: str
) -> Any:
    """Difference of W-F1 to the reference run: point and 95 % bootstrap interval over test conversations."""
    with style():
        figure, ax = axes(COLUMN, 0.75 + 0.3 * len(names))
        rows = np.arange(len(names))
        errors = [np.subtract(values, lows), np.subtract(highs, values)]
        ax.axvline(0, color=INK, linewidth=0.8)
        ax.errorbar(values, rows, xerr=np.maximum(errors, 0), fmt="o", color=BLUE, capsize=2.5, elinewidth=1)
        ax.set(
            yticks=rows,
            yticklabels=names,
            ylim=(len(names) - 0.5, -0.5),
            xlabel=f"W-F1 minus that of {reference} (points)",
        )
        ax.grid(axis="x")
        ax.tick_params(left=False)
        return figure


def _color(label: str, i: int) -> int:
    """Neutral is grey; the others take the rest in turn."""
    return len(PALETTE) - 1 if label == "neutral" else i % (len(PALETTE) - 1)
