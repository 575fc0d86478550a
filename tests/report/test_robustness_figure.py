"""The figure of robustness: a panel an attack, a curve a model with its marker, the clean figure leftmost."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from sacl.report.robustness import Measured
from sacl.report.robustness_section import robustness_figure, robustness_section

pytest.importorskip("matplotlib")
ALL = {
    "weights": (0.25, 0.5, 1, 2, 5),
    "inputs": (0.25, 0.5, 1, 2, 5),
    "typing-errors": (0.05, 0.1, 0.2),
    "speakers-lost": (0.25, 0.5, 1),
    "turns-missing": (8, 4, 2, 1),
    "turns-shuffled": (1, 2, 4, 8),
}
TITLES = {
    "weights": "Attack on the weights",
    "inputs": "Attack on the inputs",
    "typing-errors": "Typing errors",
    "speakers-lost": "Speakers lost",
    "turns-missing": "Earlier turns missing",
    "turns-shuffled": "Turns out of order",
}


def measured(attacks=tuple(ALL), models=("sacl", "plain"), seeds=(0, 1, 2), clean=60.0, fall=9.0):
    """Every model loses `fall` points a step under an attack, a tenth of it under noise."""
    draw = np.random.default_rng(0)
    records = []
    for model in models:
        for seed in seeds:
            points = [("none", 0, clean)]
            for attack in attacks:
                points += [(attack, s, clean - fall * (i + 1)) for i, s in enumerate(ALL[attack])]
                if attack in ("weights", "inputs"):
                    points += [(f"{attack}-noise", s, clean - fall * i / 10) for i, s in enumerate(ALL[attack])]
            records += [
                {"run": model, "seed": seed, "attack": a, "strength": s, "weighted_f1": max(f + draw.normal(), 0)}
                for a, s, f in points
            ]
    runs = [{"run": m, "name": m, "corpus": "own", "seeds": list(seeds)} for m in models]
    axes = dict.fromkeys(ALL, "strength")
    return Measured.model_validate(
        {"split": "test", "steps": 10, "draws": 3, "axes": axes, "runs": runs, "records": records}
    )


def shown(figure):
    """Title -> axes."""
    return {ax.get_title(loc="left"): ax for ax in figure.axes}


@pytest.mark.parametrize(
    "attacks",
    [
        ("weights",),
        ("weights", "inputs"),
        ("weights", "inputs", "typing-errors"),
        ("typing-errors", "speakers-lost", "turns-missing", "turns-shuffled"),
        ("weights", "inputs", "speakers-lost", "turns-missing", "turns-shuffled"),
        tuple(ALL),
    ],
    ids=len,
)
def test_every_attack_has_one_panel_whose_axis_holds_its_strengths(attacks):
    panels = shown(robustness_figure(measured(attacks)))
    assert set(panels) == {TITLES[attack] for attack in attacks}
    for attack in attacks:
        ax = panels[TITLES[attack]]
        unit = 100 if attack in ("typing-errors", "speakers-lost") else 1
        clean = "all" if attack == "turns-missing" else "0"
        assert [t.get_text() for t in ax.get_xticklabels()] == [clean, *(f"{unit * s:g}" for s in ALL[attack])]
        assert all(a < b for a, b in pairwise(ax.get_xticks()))
        assert ax.get_xlabel()


def test_curves_are_means_from_the_clean_figure_on_and_bands_one_deviation():
    found = measured()
    ax = shown(robustness_figure(found))["Attack on the weights"]
    curves = [line for line in ax.lines if line.get_linestyle() == "-"]
    assert len(curves) == len(ax.collections) == 2
    for model, curve, band in zip(("sacl", "plain"), curves, ax.collections, strict=True):
        values = [found.values(model, "none", 0), *(found.values(model, "weights", s) for s in ALL["weights"])]
        assert np.allclose(curve.get_ydata(), np.mean(values, axis=1))
        corners = band.get_paths()[0].vertices
        for x, y, d in zip(curve.get_xdata(), np.mean(values, axis=1), np.std(values, axis=1, ddof=1), strict=True):
            edges = corners[np.isclose(corners[:, 0], x), 1]
            assert np.isclose(edges.min(), y - d)
            assert np.isclose(edges.max(), y + d)


def test_models_differ_in_colour_and_in_marker_and_noise_is_dashed_in_the_colour_of_its_model():
    models = [f"m{i}" for i in range(7)]
    ax = shown(robustness_figure(measured(models=models)))["Attack on the inputs"]
    solid = [line for line in ax.lines if line.get_linestyle() == "-"]
    dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert len({line.get_color() for line in solid}) == len({line.get_marker() for line in solid}) == 7
    assert [line.get_color() for line in dashed] == [line.get_color() for line in solid]


def test_every_model_is_named_once_and_long_names_stay_inside():
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    for models in (("sacl", "plain"), [f"ablation/a-rather-long-name-of-a-run-{i}" for i in range(9)]):
        for attacks in (tuple(ALL), ("inputs",)):
            figure = robustness_figure(measured(attacks, models=models))
            (legend,) = figure.legends
            assert [t.get_text() for t in legend.get_texts()] == [*models, "noise, same norm"]
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            box = legend.get_window_extent()
            assert box.x0 >= 0
            assert box.x1 <= figure.bbox.x1
            for ax in figure.axes:
                assert ax.get_window_extent().y1 <= box.y0 + 1
                assert ax.get_window_extent().height > 80


def test_without_an_attack_nothing_is_said_of_noise():
    figure = robustness_figure(measured(("typing-errors",)))
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["sacl", "plain"]
    section = robustness_section(measured(("typing-errors",)))
    assert "oise" not in section.parts[0].caption
    assert "white-box" not in section.parts[0].caption


def test_a_row_shares_its_axis_which_begins_at_zero_where_much_is_lost_and_never_makes_much_of_little():
    found = measured(fall=9.0)
    limits = [ax.get_ylim() for ax in robustness_figure(found).axes]
    assert len(set(limits)) <= 2
    assert limits[0][0] == 0
    little = robustness_figure(measured(("speakers-lost",), fall=0.1)).axes[0].get_ylim()
    assert little[1] - little[0] >= 10
    nothing = robustness_figure(measured(("speakers-lost",), clean=0.0, fall=0.0)).axes[0].get_ylim()
    assert nothing[0] == 0
    assert nothing[1] > 0


def test_one_seed_has_no_band_to_speak_of_and_the_caption_claims_none():
    (figure, *_) = robustness_section(measured(seeds=[4])).parts
    assert "band" not in figure.caption
    assert "band" in robustness_section(measured()).parts[0].caption


def test_who_cannot_see_the_figure_is_told_how_far_each_model_falls():
    description = robustness_section(measured(("weights",), models=["sacl"], seeds=[0])).parts[0].description
    found = measured(("weights",), models=["sacl"], seeds=[0])
    clean, hardest = found.values("sacl", "none", 0)[0], found.values("sacl", "weights", 5)[0]
    assert f"Attack on the weights, sacl: {clean:.1f} clean, {hardest:.1f} at 5" in description
