"""The sections of a report on where a model errs: confused pairs, length and position, shift, clusters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sacl.conversation import Conversation
from sacl.evaluation.analysis import ConfusedPair, Group, by_length, by_position, by_shift, confused_pairs
from sacl.evaluation.clustering import agreement, separation, tsne
from sacl.report import figures
from sacl.report.document import Drawing, Example, Part, Section
from sacl.report.runs import Run
from sacl.report.sections import confusion_drawing
from sacl.report.table import Table

PAIRS, PAIRS_SHOWN, EXAMPLES = 10, 3, 2
"""Rows of the table of confused pairs; of how many examples are shown, and how many each."""
MOST_POINTS = 3000
"""Of a t-SNE picture; more make it neither clearer nor quick."""


def confusion_section(run: Run, name: str, conversations: Sequence[Conversation] | None, why_not: str = "") -> Section:
    """Confusion matrix, most confused pairs, and examples of them where the texts are at hand.

    Args:
        run: the run.
        name: what ids begin with.
        conversations: the test conversations.
        why_not: what is said in place of the examples.
    """
    # Every seed's predictions, one after another: position i is utterance i modulo their number.
    labels = np.tile(run.gold, len(run.seeds))
    stacked = np.concatenate([s.probabilities for s in run.seeds])
    pairs = confused_pairs(labels, stacked, most=PAIRS, examples=EXAMPLES * len(run.seeds))
    rows = [
        [f"{run.labels[p.label]} as {run.labels[p.prediction]}", f"{p.count / len(run.seeds):.1f}", f"{p.share:.1f}"]
        for p in pairs
    ]
    table = Table("Most confused pairs", ["label, as predicted", "utterances a seed", "% of the label"], rows)
    parts: list[Part] = [confusion_drawing(run, name), table]
    if conversations is None:
        parts.append(f"No examples: {why_not}.")
    else:
        parts.append("Examples of the most frequent pairs, those that were got wrong with most certainty:")
        parts += [e for pair in pairs[:PAIRS_SHOWN] for e in _examples(run, pair, conversations)]
    return Section(f"{name}-confusions", "Confusion", parts)


def group_section(run: Run, name: str, conversations: Sequence[Conversation] | None, why_not: str = "") -> Section:
    """W-F1 by length of the conversation, by position in it, and with and without emotion shift."""
    lengths = np.bincount(run.conversations).tolist()
    parts: list[Part] = [
        _group_drawing(
            run,
            f"{name}-by-length",
            "utterances in the conversation",
            "W-F1 by length of the conversation",
            lambda predicted: by_length(run.gold, predicted, len(run.labels), lengths),
        ),
        _group_drawing(
            run,
            f"{name}-by-position",
            "position in the conversation",
            "W-F1 by position in the conversation",
            lambda predicted: by_position(run.gold, predicted, len(run.labels), lengths),
        ),
    ]
    if conversations is None:
        parts.append(f"Nothing on emotion shift, which needs the speakers: {why_not}.")
    else:
        speakers = [u.speaker for c in conversations for u in c.utterances]
        parts.append(
            _group_drawing(
                run,
                f"{name}-by-shift",
                "against the speaker's last label",
                "W-F1 where a speaker's emotion shifts from that of the same speaker's last utterance, where it stays, "
                "and where there is none before",
                lambda predicted: by_shift(run.gold, predicted, len(run.labels), lengths, speakers),
                ordered=False,
            )
        )
    return Section(f"{name}-groups", "Length, position, shift", parts)


def cluster_section(run: Run, name: str, hidden: np.ndarray | None, why_not: str = "") -> Section:
    """Clustering scores of every seed, and the t-SNE picture of the first seed's representations.

    Args:
        hidden: shape (utterances, width).
    """
    columns = ["ARI", "NMI", "AMI", "FMI", "silhouette", "Calinski-Harabasz", "Davies-Bouldin"]
    found = []
    for s in run.seeds:
        apart = separation(np.log(np.maximum(s.probabilities, 1e-6))) or {}
        keys = ("silhouette", "calinski_harabasz", "davies_bouldin")
        found.append([*agreement(run.gold, s.predicted).values(), *(apart.get(key, np.nan) for key in keys)])
    rows = [[f"seed {s.seed}", *map(_number, values)] for s, values in zip(run.seeds, found, strict=True)]
    if len(found) > 1:
        rows.append(["mean", *map(_number, np.mean(found, axis=0))])
    notes = [
        "ARI, NMI, AMI, FMI: predictions against labels, 1 is best. Silhouette, Calinski-Harabasz (higher is better) "
        "and Davies-Bouldin (lower is): log-probabilities after k-means with as many clusters as emotions.",
    ]
    table = Table("Clustering scores", ["seed", *columns], rows, notes)
    if hidden is None:
        return Section(f"{name}-clusters", "Representations", [table, f"No t-SNE picture: {why_not}."])
    return Section(f"{name}-clusters", "Representations", [_tsne_drawing(run, name, hidden), table])


def _tsne_drawing(run: Run, name: str, hidden: np.ndarray) -> Drawing:
    shown = np.flatnonzero(run.labelled)
    if len(shown) > MOST_POINTS:
        shown = np.sort(np.random.default_rng(0).choice(shown, MOST_POINTS, replace=False))
    drawn = figures.representations(tsne(hidden[shown]), run.gold[shown], run.labels)
    some = f"{len(shown)} of {int(run.labelled.sum())}" if len(shown) < run.labelled.sum() else f"all {len(shown)}"
    caption = (
        f"t-SNE of the hidden states of {some} test utterances, seed {run.seeds[0].seed}; a mark an utterance, its "
        "shape and colour the label. Distances between groups mean little."
    )
    return Drawing(
        f"{name}-tsne", drawn, caption, f"{caption} The clustering scores beside it say how far labels part."
    )


def _group_drawing(
    run: Run, name: str, xlabel: str, title: str, grouped: Callable[[np.ndarray], list[Group]], ordered: bool = True
) -> Drawing:
    """A figure of every seed's groups; which utterances a group holds does not depend on the predictions."""
    seeds = [grouped(s.predicted) for s in run.seeds]
    groups = seeds[0]
    values = np.array([[g.scores.weighted_f1 for g in seed] for seed in seeds])
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(len(groups))
    means = values.mean(axis=0)
    drawn = figures.groups(
        [g.name for g in groups],
        [g.utterances for g in groups],
        means.tolist(),
        spread.tolist(),
        xlabel,
        "W-F1 (percent)",
        ordered,
    )
    words = "; ".join(f"{g.name}: {m:.1f} ({g.utterances} utterances)" for g, m in zip(groups, means, strict=True))
    small = f", hollow where fewer than {figures.FEW}" if min(g.utterances for g in groups) < figures.FEW else ""
    over = ", mean and one standard deviation over seeds" if len(values) > 1 else ""
    return Drawing(name, drawn, f"{title}{over}; utterances in brackets{small}.", f"{title}, percent. {words}.")


def _examples(run: Run, pair: ConfusedPair, conversations: Sequence[Conversation]) -> list[Example]:
    """The utterances of a pair that were got wrong with most certainty, each once."""
    turns = [(c, i) for c in conversations for i in range(len(c))]
    found = []
    for position in dict.fromkeys(i % len(run.gold) for i in pair.examples):
        conversation, i = turns[position]
        said = [(u.speaker, "(no text)" if u.text is None else u.text) for u in conversation.utterances]
        found.append(
            Example(
                conversation.id,
                said[max(i - 2, 0) : i],
                *said[i],
                run.labels[pair.label],
                run.labels[pair.prediction],
                sum(int(s.predicted[position] == pair.prediction) for s in run.seeds),
            )
        )
    return found[:EXAMPLES]


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.1f}" if value >= 10 else f"{value:.3f}"
