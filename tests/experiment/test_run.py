"""A run: what its folder holds, that the same bits come out again, and that test data cannot reach the model."""

from __future__ import annotations

import ast
import json
import platform
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import grimp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sacl
from sacl import aside
from sacl.conversation import Corpus
from sacl.datasets import DATASETS, iemocap, load_corpus
from sacl.errors import DataError, NumericalError, RecipeError, RunError, SaclError
from sacl.experiment import study as of_study
from sacl.experiment.data import load_run_data
from sacl.experiment.evaluate import evaluate_run
from sacl.experiment.lock import HOLDER_FILE, LOCK_FILE, held
from sacl.experiment.recipe import Recipe, load_recipe
from sacl.experiment.run import read_result, write_aside
from sacl.experiment.study import study
from sacl.features.store import write_store
from sacl.metrics import score

MakeRecipe = Callable[..., Recipe]
WriteCorpus = Callable[..., Path]
MONITORED = "test_weighted_f1 (not used to select)"


Contents = Callable[[Path], dict[str, Any]]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_run_folder_holds_what_its_docstring_says(
    contents: Contents, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    results = study(make_recipe(), tmp_path / "run", jobs=1)
    names = {f"seed-{s}/{n}" for s in (0, 1) for n in ("metrics.jsonl", "model.safetensors", "predictions.jsonl")}
    assert set(contents(tmp_path / "run")) == {"recipe.yaml", *names, "seed-0/result.json", "seed-1/result.json"}
    assert load_recipe(str(tmp_path / "run" / "recipe.yaml")) == make_recipe()
    assert [read_result(tmp_path / "run" / f"seed-{s}") for s in (0, 1)] == results
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["data"]["fingerprint"] == load_corpus(make_recipe().data.name).fingerprint()
    assert set(record["versions"]) >= {"sacl", "torch", "numpy"}


def test_metrics_tell_every_epoch_and_the_result_names_the_selected_one(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    told: list[tuple[str, int]] = []
    results = study(make_recipe(), tmp_path / "run", jobs=1, on_epoch=lambda name, f: told.append((name, f["epoch"])))
    assert told == [(f"tiny, seed {seed}", epoch) for seed in (0, 1) for epoch in range(1, 6)]
    for result in results:
        history = lines(tmp_path / "run" / f"seed-{result['seed']}" / "metrics.jsonl")
        losses = [round(figures["valid_loss"], 4) for figures in history]
        assert result["epoch"] == losses.index(min(losses)) + 1
        assert result["epochs"] == len(history) == 5
        assert result["valid"]["loss"] == history[result["epoch"] - 1]["valid_loss"]


def test_predictions_stand_for_every_test_utterance_and_give_the_scores(
    make_recipe: MakeRecipe, tiny: Path, tmp_path: Path
) -> None:
    [result] = study(make_recipe({"seeds": [3]}), tmp_path / "run")
    predictions = lines(tmp_path / "run" / "seed-3" / "predictions.jsonl")
    corpus = load_corpus(str(tiny))
    expected = [(c.id, u.id, u.emotion) for c in corpus["test"] for u in c.utterances]
    assert [(p["conversation"], p["utterance"], p["emotion"]) for p in predictions] == expected
    for p in predictions:
        assert list(p["probabilities"]) == list(corpus.labels)
        assert sum(p["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert p["predicted"] == max(p["probabilities"], key=p["probabilities"].__getitem__)
    known = [p for p in predictions if p["emotion"] is not None]
    index = corpus.labels.names.index
    scores = score(
        np.array([index(p["emotion"]) for p in known]),
        np.array([index(p["predicted"]) for p in known]),
        len(corpus.labels),
    )
    assert scores.weighted_f1 == pytest.approx(result["test"]["weighted_f1"])
    assert scores.support == tuple(result["test"]["support"])


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(
    contents: Contents, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        study(make_recipe(), tmp_path / name, jobs=1)
    a, b = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert a == b
    assert a["seed-0/model.safetensors"] != a["seed-1/model.safetensors"]


def test_seeds_side_by_side_give_the_same_files_as_one_after_another(
    contents: Contents, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    told: set[tuple[str, int]] = set()
    study(make_recipe(), tmp_path / "one", jobs=1)
    study(make_recipe(), tmp_path / "two", jobs=2, on_epoch=lambda name, f: told.add((name, f["epoch"])))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(told) <= 10


def test_threads_and_algorithms_are_left_as_they_were(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    import torch

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    study(make_recipe({"training.threads": 2, "training.epochs": 1, "seeds": [0]}), tmp_path / "run")
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


def test_pytorchs_own_generator_is_neither_read_nor_moved(
    contents: Contents, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    import torch

    states = []
    for name, seed in (("a", 1), ("b", 2)):
        torch.manual_seed(seed)
        np.random.seed(seed)
        before = torch.get_rng_state()
        study(make_recipe({"seeds": [0]}), tmp_path / name)
        states.append(bool((torch.get_rng_state() == before).all()))
    assert states == [True, True]
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


# What the test split cannot do


def spoil_test(folder: Path) -> None:
    """Other labels, texts, vectors, speakers and lengths in the test split, of the same emotions."""
    turns = [
        {"speaker": f"S{i}", "text": f"nonsense {i}", "vector": [1e4 * (i + 1)] * 6, "emotion": "glad"}
        for i in range(9)
    ]
    (folder / "test.jsonl").write_text(json.dumps({"id": "x", "utterances": turns}) + "\n", encoding="utf-8")


@pytest.mark.parametrize("select", ["loss", "weighted_f1"])
def test_another_test_split_changes_neither_the_model_nor_any_metric(
    contents: Contents, select: str, make_recipe: MakeRecipe, tiny: Path, tmp_path: Path
) -> None:
    recipe = make_recipe({"training.select": select, "seeds": [0], "objective.class_weights": "train"})
    study(recipe, tmp_path / "a")
    spoil_test(tiny)
    study(recipe, tmp_path / "b")
    a, b = contents(tmp_path / "a" / "seed-0"), contents(tmp_path / "b" / "seed-0")
    assert a["model.safetensors"] == b["model.safetensors"]
    assert a["metrics.jsonl"] == b["metrics.jsonl"]
    assert a["result.json"] != b["result.json"]


def test_another_validation_label_does_change_the_figures(make_recipe: MakeRecipe, tiny: Path, tmp_path: Path) -> None:
    """The check above can fail: validation, which does select, is seen by the same comparison."""
    recipe = make_recipe({"seeds": [0]})
    study(recipe, tmp_path / "a")
    shutil.copy(tiny / "test.jsonl", tiny / "valid.jsonl")
    study(recipe, tmp_path / "b")
    metrics = [(tmp_path / name / "seed-0" / "metrics.jsonl").read_bytes() for name in "ab"]
    assert metrics[0] != metrics[1]


def test_monitoring_test_adds_a_column_and_changes_nothing_else(
    contents: Contents, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    study(make_recipe({"seeds": [0]}), tmp_path / "a")
    study(make_recipe({"seeds": [0], "training.monitor_test": True}), tmp_path / "b")
    a, b = contents(tmp_path / "a" / "seed-0"), contents(tmp_path / "b" / "seed-0")
    with_column, without = lines(tmp_path / "b/seed-0/metrics.jsonl"), lines(tmp_path / "a/seed-0/metrics.jsonl")
    assert all(0 <= figures.pop(MONITORED) <= 100 for figures in with_column)
    assert with_column == without
    for files in (a, b):
        del files["metrics.jsonl"]
        files["result.json"] = [line for line in files["result.json"] if b'"metrics.jsonl"' not in line]  # its digest
    assert a == b


def test_nothing_that_trains_or_selects_can_import_what_reads_data() -> None:
    graph = grimp.build_graph("sacl", cache_dir=None)
    readers = [f"sacl.{name}" for name in ("datasets", "experiment", "formats", "evaluation", "cli", "recognizer")]
    for reader in (name for name in readers if name in graph.modules):
        for trainer in ("sacl.training", "sacl.model", "sacl.losses"):
            chains = graph.find_shortest_chains(trainer, reader, as_packages=True)
            assert not chains, f"{trainer} reaches {reader}: {chains}"


def test_fit_and_selection_never_name_a_split_beyond_train_and_valid() -> None:
    for name in ("fit.py", "selection.py", "loop.py"):
        tree = ast.parse((Path(sacl.__file__).parent / "training" / name).read_text(encoding="utf-8"))
        words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert "test" not in words


# Data


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """IEMOCAP in the form of its release, with other counts: four dialogues a session, three turns each."""
    for session in range(1, 6):
        for k in range(4):
            id = f"Ses{session:02}F_impro{k:02}"
            turns = [(f"{id}_{s}00{i}", code) for i, (s, code) in enumerate([("F", "hap"), ("M", "sad"), ("F", "ang")])]
            dialog = tmp_path / "release" / f"Session{session}" / "dialog"
            for folder, text in (
                ("EmoEvaluation", "".join(f"[{i}.0 - {i}.9]\t{t}\t{c}\t[2, 2, 2]\n" for i, (t, c) in enumerate(turns))),
                ("transcriptions", "".join(f"{t} [00{i}.0-00{i}.9]: Turn {t}.\n" for i, (t, _) in enumerate(turns))),
            ):
                (dialog / folder).mkdir(parents=True, exist_ok=True)
                (dialog / folder / f"{id}.txt").write_text(text, encoding="utf-8")
    info = replace(DATASETS["iemocap"], read=partial(iemocap.read, expected=None))
    monkeypatch.setitem(DATASETS, "iemocap", info)
    return tmp_path / "release"


def numbered(corpus: Corpus) -> tuple[np.ndarray, dict[tuple[str, str], float]]:
    """A vector of one number an utterance, and which utterance has which."""
    turns = [(c.id, u.id) for split in corpus.splits.values() for c in split for u in c.utterances]
    return np.arange(len(turns), dtype=np.float32)[:, None], {turn: float(i) for i, turn in enumerate(turns)}


def test_each_seed_draws_its_validation_split_and_finds_every_vector(release: Path, tmp_path: Path) -> None:
    recipe = load_recipe("iemocap")
    given_split = load_corpus("iemocap", release, validation="fixed")
    vectors, number = numbered(given_split)
    write_store(tmp_path / "features", given_split, {"text": vectors}, {"name": "numbers"})
    drawn = set()
    for seed in range(5):
        run = load_run_data(recipe, seed, data=release, features=tmp_path / "features")
        drawn.add(frozenset(c.id for c in run.corpus["valid"]))
        seen = []
        for split in ("train", "valid", "test"):
            conversations, arrays = run.split(split)
            for conversation, array in zip(conversations, arrays, strict=True):
                assert array[:, 0].tolist() == [number[conversation.id, u.id] for u in conversation.utterances]
                seen.append(conversation.id)
        assert sorted(seen) == sorted(c.id for split in given_split.splits.values() for c in split)
        assert {c.id[:5] for c in run.corpus["test"]} == {"Ses05"}
    assert len(drawn) == 5


def test_a_study_trains_each_seed_on_its_own_split_and_scores_it_again(release: Path, tmp_path: Path) -> None:
    small = ["model.hidden_size=4", "training.epochs=2", "seeds=[0, 1]"]
    recipe = load_recipe("iemocap", small)
    given_split = load_corpus("iemocap", release, validation="fixed")
    vectors = np.random.default_rng(0).normal(size=(len(list(given_split.utterances())), 5))
    write_store(tmp_path / "features", given_split, {"text": vectors}, {"name": "noise"})
    results = study(recipe, tmp_path / "run", data=release, features=tmp_path / "features", jobs=1)
    assert results[0]["data"]["fingerprint"] != results[1]["data"]["fingerprint"]
    assert json.loads(json.dumps(evaluate_run(tmp_path / "run"))) == results


@pytest.mark.parametrize("policy", ["by-seed", "fixed"])
def test_a_split_is_not_drawn_where_the_data_set_gives_one(policy: str, make_recipe: MakeRecipe) -> None:
    with pytest.raises(RecipeError, match=rf"data\.validation is '{policy}'.*Set data\.validation=given"):
        load_run_data(make_recipe({"data.validation": policy}), 0)


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_split_that_lacks_is_named(split: str, make_recipe: MakeRecipe, tiny: Path, tmp_path: Path) -> None:
    (tiny / f"{split}.jsonl").unlink()
    with pytest.raises(DataError, match=f"no split '{split}'"):
        study(make_recipe(), tmp_path / "run")


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_split_without_labels_is_refused_before_training(
    split: str, make_recipe: MakeRecipe, tiny: Path, tmp_path: Path
) -> None:
    turns = [{"speaker": "A", "vector": [0] * 6}]
    (tiny / f"{split}.jsonl").write_text(json.dumps({"id": "x", "utterances": turns}) + "\n")
    with pytest.raises(DataError, match=f"split {split}: no utterance is labelled"):
        study(make_recipe(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Failures


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"data.name": "nowhere"}, "no such data set"),
        ({"objective.class_weights": [1.0]}, "holds 1 numbers for 3 emotions"),
        ({"features.modalities": ["audio"]}, "no modality 'audio'"),
        ({"training.device": "cuda:99"}, "PyTorch has no device 'cuda:99'"),
        ({"training.device": "cuda:x"}, "PyTorch has no device 'cuda:x'"),
        ({"training.learning_rate": 1e30}, "not finite"),
    ],
)
def test_what_fails_before_the_first_epoch_leaves_nothing(
    settings: dict[str, Any], told: str, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(SaclError, match=told):
        study(make_recipe({"seeds": [0], **settings}), run)
    assert not run.exists()
    study(make_recipe({"seeds": [0]}), run)


def test_a_failure_removes_nothing_of_the_users(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty"):
        study(make_recipe(), tmp_path / "run")
    with pytest.raises(DataError):
        study(make_recipe({"data.name": "nowhere"}), tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_who_begins_while_a_failure_is_cleared_away_keeps_the_folder(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"

    def removed(path: Path) -> None:
        aside.removed(path)
        if path.name == LOCK_FILE:
            monkeypatch.setattr(platform, "node", lambda: "elsewhere")
            other.enter_context(held(run))

    monkeypatch.setattr(of_study, "removed", removed)
    with ExitStack() as other:
        with pytest.raises(SaclError, match="not finite"):
            study(make_recipe({"seeds": [0], "training.learning_rate": 1e30}), run)
        assert {path.name for path in run.iterdir()} == {LOCK_FILE, HOLDER_FILE}
        with pytest.raises(RunError, match=r"another process works on this run: process \d+ on elsewhere"):
            study(make_recipe({"seeds": [0]}), run)


def test_a_class_absent_from_training_has_no_weight(make_recipe: MakeRecipe, tiny: Path, tmp_path: Path) -> None:
    (tiny / "labels.txt").write_text("calm\ncross\nglad\nbored\n")
    with pytest.raises(DataError, match="labelled 'bored'"):
        study(make_recipe({"objective.class_weights": "train", "seeds": [0]}), tmp_path / "run")


def test_a_run_goes_on_where_an_epoch_had_no_update(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    """One micro-batch an epoch never updates under the released window; that is no failure."""
    [result] = study(make_recipe({"seeds": [0], "training.batch_size": 100}), tmp_path / "run")
    assert result["epoch"] == 1


def test_a_file_where_the_folder_should_be_is_told(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(RunError, match="cannot be written"):
        study(make_recipe(), tmp_path / "run")
    assert (tmp_path / "run").read_text() == "a file"


def test_a_loss_that_explodes_later_keeps_the_last_epoch(
    contents: Contents, make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sacl.training.fit import Fit

    epoch = Fit._epoch

    def third_fails(fit: Fit) -> dict[str, Any]:
        if len(fit.history) == 2:
            raise NumericalError("the loss is nan")
        return epoch(fit)

    monkeypatch.setattr(Fit, "_epoch", third_fails)
    with pytest.raises(NumericalError):
        study(make_recipe({"seeds": [0]}), tmp_path / "run")
    assert (tmp_path / "run" / "seed-0" / "checkpoint.safetensors").exists()
    monkeypatch.undo()
    study(make_recipe({"seeds": [0]}), tmp_path / "run", resume=True)
    study(make_recipe({"seeds": [0]}), tmp_path / "whole")
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda s: st.lists(s) | st.dictionaries(st.text(), s),
    )
)
@settings(max_examples=50)
def test_a_damaged_result_is_told(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    folder = tmp_path_factory.mktemp("seed")
    (folder / "result.json").write_text(json.dumps(content))
    with pytest.raises(RunError):
        read_result(folder)


def test_a_figure_that_no_float_can_hold_is_a_damaged_result(tmp_path: Path) -> None:
    result = dict.fromkeys(("seed", "epoch", "labels", "test", "data")) | {"format_version": 1}
    (tmp_path / "result.json").write_text(json.dumps(result | {"valid": {"weighted_f1": 10**400}}))
    with pytest.raises(RunError, match="damaged"):
        read_result(tmp_path)


def test_writing_aside_leaves_the_old_file_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_aside(tmp_path / "a", "old")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_aside(tmp_path / "a", "new")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a": "old"}


# Scored again


def test_evaluate_gives_the_figures_of_the_run(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    results = study(make_recipe(), tmp_path / "run", jobs=1)
    assert json.loads(json.dumps(evaluate_run(tmp_path / "run"))) == results
    for scored in evaluate_run(tmp_path / "run", "valid"):
        assert scored["valid"]["weighted_f1"] == pytest.approx(results[scored["seed"]]["valid"]["weighted_f1"])
        assert scored["valid"]["loss"] == pytest.approx(results[scored["seed"]]["valid"]["loss"])


def test_evaluate_refuses_data_that_have_changed(make_recipe: MakeRecipe, tiny: Path, tmp_path: Path) -> None:
    study(make_recipe({"seeds": [0]}), tmp_path / "run")
    spoil_test(tiny)
    with pytest.raises(RunError, match="not those that it was trained on"):
        evaluate_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("run.json", "[1, 2]"),
        ("run.json", "{"),
        ("run.json", "3"),
        ("run.json", "\udcff"),
        ("recipe.yaml", "{"),
        ("recipe.yaml", "[]"),
        ("seed-0/result.json", '{"format_version": 1}'),
        ("seed-0/result.json", "[]"),
        ("seed-0/result.json", '{"format_version": 2}'),
        ("seed-0/model.safetensors", "no model"),
        ("seed-0/model.safetensors", ""),
    ],
)
def test_a_corrupt_run_is_told(file: str, text: str, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    study(make_recipe({"seeds": [0]}), tmp_path / "run")
    (tmp_path / "run" / file).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(SaclError, match="run"):
        evaluate_run(tmp_path / "run")
