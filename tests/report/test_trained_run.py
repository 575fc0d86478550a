"""A report on what training really leaves, from the study to the picture of its representations."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sacl.errors import SaclError
from sacl.experiment.recipe import load_recipe
from sacl.experiment.study import seed_folder, study
from sacl.report.report import chapters, html_report
from sacl.report.runs import read_run
from sacl.report.sources import conversations_of, representations_of
from sacl.training.trained import TrainedModel


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on conversations that are given as vectors, so that no encoder is needed."""
    data, generator = tmp_path_factory.mktemp("vectors-of-a-trained-run"), np.random.default_rng(0)
    for split, count in (("train", 6), ("valid", 3), ("test", 5)):
        with (data / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            for c in range(count):
                turns = [
                    {
                        "speaker": "AB"[i % 2],
                        "emotion": "glad" if x > 0 else "calm",
                        "vector": [x, *generator.normal(size=3)],
                    }
                    for i, x in enumerate(generator.normal(size=4 + c % 3))
                ]
                file.write(json.dumps({"id": f"{split}-{c}", "utterances": turns}) + "\n")
    settings = [
        f"data.name={data}",
        "seeds=[0, 1]",
        "training.epochs=2",
        "model.hidden_size=4",
        "training.batch_size=2",
    ]
    folder = tmp_path_factory.mktemp("runs") / "trained"
    study(load_recipe("sample", settings), folder, jobs=1)
    return folder


def test_representations_are_those_behind_the_predictions(trained):
    run = read_run(trained)
    model = TrainedModel.load(seed_folder(trained, 0)).model
    import torch

    scores = model.classifier(torch.relu(torch.from_numpy(representations_of(run)))).softmax(dim=1)
    assert np.allclose(scores.detach().numpy(), run.seeds[0].probabilities, atol=2e-6)


def test_speakers_and_labels_are_those_of_the_predictions(trained):
    run = read_run(trained)
    turns = [(c.id, u.id, u.emotion) for c in conversations_of(run) for u in c.utterances]
    assert [turn[:2] for turn in turns] == list(run.keys)
    assert [turn[2] for turn in turns] == [run.labels[i] for i in run.gold]


def test_the_page_of_a_trained_run_has_every_figure(trained):
    run = read_run(trained)
    text = html_report([run], chapters([run]))
    for name in (
        "class-f1",
        "learning-curves",
        "confusion",
        "by-length",
        "by-position",
        "by-shift",
        "reliability",
        "tsne",
    ):
        assert f'<svg id="run-1-{name}"' in text


def test_data_that_have_changed_since_are_not_shown(trained):
    run = read_run(trained)
    test = next(iter((trained.parent.parent).glob("vectors-of-a-trained-run*"))) / "test.jsonl"
    before = test.read_text(encoding="utf-8")
    test.write_text(before.replace("glad", "x").replace("calm", "glad").replace('"x"', '"calm"'), encoding="utf-8")
    try:
        with pytest.raises(SaclError, match="not the one that the run was tested on"):
            conversations_of(run)
        with pytest.raises(SaclError, match="not those that it was trained on"):
            representations_of(run)
    finally:
        test.write_text(before, encoding="utf-8")
