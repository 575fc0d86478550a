"""Recipes: the packaged ones against the tables of the paper's protocol, and what a recipe file may not say."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacl.errors import RecipeError
from sacl.experiment.data import corpus_of
from sacl.experiment.recipe import Recipe, dump_recipe, load_recipe, parse_recipe, parse_value, recipe_names, retuned
from sacl.experiment.sweep import grid_points, released_grid
from sacl.report.table import seed_table

# The settings of the released scripts; of the bracketed choices the first.
SETTINGS: dict[str, dict[str, Any]] = {
    "iemocap": {
        "model.layers": 2,
        "training.batch_size": 2,
        "training.accumulation": 16,
        "training.learning_rate": 1e-4,
        "objective.focal_gamma": 0,
        "objective.contrast_on": "hidden",
        "objective.contrastive_weight": 0.05,
        "objective.adversarial_contrastive_weight": 0.5,
        "objective.loss_divisor": 16,
        "objective.adversary.rate": 1.0,
        "objective.adversary.epsilon": 5,
        "objective.adversary.shares": {},
        "training.select": "loss",
        "data.validation": "by-seed",
    },
    "meld": {
        "model.layers": 1,
        "training.batch_size": 16,
        "training.accumulation": 2,
        "training.learning_rate": 1e-4,
        "objective.focal_gamma": 1,
        "objective.contrast_on": "log_probabilities",
        "objective.contrastive_weight": 0.1,
        "objective.adversarial_contrastive_weight": 0.05,
        "objective.loss_divisor": 1,
        "objective.adversary.rate": 1.0,
        "objective.adversary.epsilon": 5,
        "objective.adversary.shares": {"context": 0.1},
        "training.select": "loss",
        "data.validation": "given",
    },
    "emorynlp": {
        "model.layers": 1,
        "training.batch_size": 16,
        "training.accumulation": 2,
        "training.learning_rate": 5e-5,
        "objective.focal_gamma": 1,
        "objective.contrast_on": "log_probabilities",
        "objective.contrastive_weight": 0.05,
        "objective.adversarial_contrastive_weight": 0.1,
        "objective.loss_divisor": 1,
        "objective.adversary.rate": 0.1,
        "objective.adversary.epsilon": 0.5,
        "objective.adversary.shares": {"context": 0.9},
        "training.select": "weighted_f1",
        "data.validation": "given",
    },
}
EVERYWHERE: dict[str, Any] = {
    "model.kind": "dual_lstm",
    "model.hidden_size": 128,
    "model.dropout": 0.2,
    "model.bidirectional": True,
    "model.min_speaker_utterances": 2,
    "objective.reduction": "sum",
    "objective.contrastive": "nt_xent",
    "objective.similarity": "cosine",
    "objective.temperature": 0.1,
    "objective.contrastive_scale": "utterances",
    "objective.adversary.kind": "fgm",
    "objective.adversary.on": ["context", "speaker"],
    "objective.adversary.norm": "tensor",
    "objective.adversary.follows": "accumulated",
    "objective.adversary.keeps": "clean",
    "training.window": "released",
    "training.weight_decay": 2e-4,
    "training.epochs": 100,
    "training.patience": 20,
    "training.monitor_test": False,
    "training.double": False,
    "seeds": [0, 1, 2, 3, 4],
}
FREQUENCIES: dict[str, list[float]] = {
    "iemocap": [0.087178797, 0.145836136, 0.229786089, 0.148392305, 0.140051123, 0.24875555],
    "emorynlp": [0.221281599, 0.103703704, 0.084656085, 0.330041152, 0.061728395, 0.073015873, 0.125573192],
}
# Accuracy, W-F1, macro-F1 of five seeds; accuracy, W-F1 of one.
PUBLISHED = {
    "iemocap": ((69.08, 69.22, 68.42), (69.62, 69.70)),
    "meld": ((67.51, 66.45, 50.76), (67.89, 66.86)),
    "emorynlp": ((42.21, 39.65, 32.56), (43.19, 40.47)),
}
BY_CLASS = {
    "iemocap": {
        "happy": 56.91,
        "sad": 84.78,
        "neutral": 70.00,
        "angry": 64.09,
        "excited": 69.70,
        "frustrated": 65.02,
    },
    "meld": {
        "neutral": 80.17,
        "surprise": 58.77,
        "fear": 26.23,
        "sadness": 41.34,
        "joy": 64.98,
        "disgust": 31.47,
        "anger": 52.35,
    },
    "emorynlp": {
        "joyful": 54.78,
        "mad": 37.68,
        "peaceful": 11.66,
        "neutral": 55.42,
        "sad": 25.83,
        "powerful": 5.43,
        "scared": 37.11,
    },
}
TWINS = [(name, twin) for name in SETTINGS for twin in (name, f"{name}-released")]


def at(recipe: Recipe, key: str) -> Any:
    value: Any = recipe
    for part in key.split("."):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize("name", recipe_names())
def test_a_packaged_recipe_loads_under_its_own_name_and_survives_a_round_trip(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    (tmp_path / "again.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(str(tmp_path / "again.yaml")) == recipe


def test_every_data_set_of_the_table_has_its_recipe_and_its_released_twin() -> None:
    assert {twin for _, twin in TWINS} <= set(recipe_names())


@pytest.mark.parametrize(("name", "twin"), TWINS)
def test_settings_are_those_of_the_released_scripts(name: str, twin: str) -> None:
    recipe = load_recipe(twin)
    expected = EVERYWHERE | SETTINGS[name] | {"data.name": name}
    assert {key: at(recipe, key) for key in expected} == expected


@pytest.mark.parametrize(("name", "twin"), TWINS)
def test_the_twin_alone_pads_and_leaves_features_as_they_come(name: str, twin: str) -> None:
    recipe = load_recipe(twin)
    released = twin != name
    assert (recipe.model.padding, recipe.features.standardise) == (
        ("released", False) if released else ("packed", True)
    )
    ours = {"name", "description", "departures", "model", "features"}
    assert recipe.model_dump(exclude=ours) == load_recipe(name).model_dump(exclude=ours)
    assert recipe.departures


def test_class_weights_are_those_of_the_released_frequencies() -> None:
    for twin in ("iemocap", "iemocap-released"):
        weights = load_recipe(twin).objective.class_weights
        assert weights == pytest.approx([1 / f for f in FREQUENCIES["iemocap"]], rel=1e-12)
    for twin in ("emorynlp", "emorynlp-released"):
        weights = load_recipe(twin).objective.class_weights
        assert weights == pytest.approx([math.log(1 / f) for f in FREQUENCIES["emorynlp"]], rel=1e-12)
    for twin in ("meld", "meld-released"):
        assert load_recipe(twin).objective.class_weights == "none"


@pytest.mark.parametrize(("name", "twin"), TWINS)
def test_published_figures_are_those_of_the_paper(name: str, twin: str) -> None:
    published = load_recipe(twin).published
    assert published is not None
    assert published.one_seed is not None
    mean, one = published.mean, published.one_seed
    assert (mean.accuracy, mean.weighted_f1, mean.macro_f1) == PUBLISHED[name][0]
    assert (one.accuracy, one.weighted_f1) == PUBLISHED[name][1]
    assert mean.f1 == BY_CLASS[name]


def write(folder: Path, text: str | bytes) -> str:
    path = folder / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


PLAIN = "name: mine\ndescription: my own\ndata: {name: sample}\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (PLAIN + "trainning: {}\n", r"no setting 'trainning'; did you mean 'training'"),
        (PLAIN + "training: {epoch: 3}\n", r"'training\.epoch'; did you mean 'epochs'"),
        (PLAIN + "objective: {adversary: {epsilom: 3}}\n", r"'objective\.adversary\.epsilom'; did you mean 'epsilon'"),
        (PLAIN + "model: {wings: 2}\n", r"'model\.wings'; known are kind, hidden_size"),
        ("description: my own\ndata: {name: sample}\n", r"name: field required"),
        (PLAIN + "training: {epochs: three}\n", r"training\.epochs: .*integer, not 'three'"),
        (PLAIN + "training: {epochs: '3'}\n", r"training\.epochs: .*integer, not '3'"),
        (PLAIN + "training: {epochs: true}\n", r"training\.epochs: .*integer, not True"),
        (PLAIN + "training: {epochs: 2.5}\n", r"training\.epochs: .*integer, not 2\.5"),
        (PLAIN + "training: {epochs: 0}\n", r"training\.epochs: .*not 0"),
        (PLAIN + "training: {learning_rate: 0}\n", r"training\.learning_rate: .*greater than 0, not 0"),
        (PLAIN + "training: {learning_rate: .inf}\n", r"training\.learning_rate: .*not '\.inf'"),
        (PLAIN + "training: {learning_rate: 1e999}\n", r"training\.learning_rate: .*finite"),
        (PLAIN + "training: {double: no}\n", r"training\.double: .*boolean, not 'no'"),
        (PLAIN + "training: {device: tpu}\n", r"unknown device 'tpu'"),
        (PLAIN + "model: 3\n", r"model: .*not 3"),
        (PLAIN + "model:\n", r"model: .*not None"),
        (PLAIN + "seeds: []\n", r"seeds: .*at least 1"),
        (PLAIN + "seeds: [1, 1]\n", r"seeds: a seed stands twice"),
        (PLAIN + "seeds: [-1]\n", r"seeds\.0: .*not -1"),
        (PLAIN.replace("mine", "../mine"), r"name: a run's folder gets this name"),
        (PLAIN.replace("mine", "''"), r"name: a run's folder gets this name"),
        (PLAIN + "objective: {adversary: {shares: {input: 0.5}}}\n", r"`shares` names 'input', which `on` does not"),
        (PLAIN + "objective: {adversary: {shares: {context: 0.6, speaker: 0.6}}}\n", r"`shares` add up to 1\.2"),
        (PLAIN + "objective: {adversary: {'on': []}}\n", r"`on` is empty|`shares` names"),
        (PLAIN + "name: twice\n", r"line 4: .*'name' stands twice"),
        (PLAIN + "training: {epochs: 1, epochs: 2}\n", r"line 4: .*'epochs' stands twice"),
        (PLAIN + "a: &x [1]\nb: *x\n", r"line 4: .*anchors and aliases"),
        (PLAIN + "a: *x\n", r"line 4: .*anchors and aliases"),
        (PLAIN + "a: [1\n", r"it is no YAML"),
        (PLAIN + "\ttabs: 1\n", r"it is no YAML"),
        (PLAIN + "a: !!python/object/apply:os.getcwd []\n", r"it is no YAML"),
        (PLAIN + "a: !!bool maybe\n", r"it is no YAML"),
        (PLAIN + "a: !!int ''\n", r"it is no YAML"),
        (PLAIN + "a: !!timestamp x\n", r"it is no YAML"),
        (PLAIN + "? [a]\n: 1\n", r"it is no YAML"),
        (PLAIN + f"seeds: [{'9' * 6000}]\n", r"it is no YAML"),
        (PLAIN + "---\nname: other\n", r"it is no YAML"),
        ("", r"no mapping of settings"),
        ("# nothing\n", r"no mapping of settings"),
        ("- a\n- b\n", r"no mapping of settings"),
        ("just words", r"no mapping of settings"),
        (b"\xff\xfe\x00binary", r"cannot be read as UTF-8"),
        (b"\x00\x01\x02\x03", r"it is no YAML"),
    ],
)
def test_a_recipe_at_fault_is_told_in_one_line(text: str | bytes, told: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(RecipeError, match=told) as caught:
        load_recipe(path)
    assert path in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.timeout(60)  # read in full they would take hours
def test_billions_of_laughs_and_deep_nests_are_refused_at_once(tmp_path: Path) -> None:
    laughs = (
        PLAIN + "a0: &a0 [ha]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    )
    nested = [PLAIN + "a: " + "[" * 20_000, PLAIN + "a: " + "{b: " * 10_000, "- " * 20_000 + "a"]
    for text, told in ((laughs, "anchors and aliases"), *((text, "nested too deeply") for text in nested)):
        with pytest.raises(RecipeError, match=told):
            load_recipe(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("1E-4", 1e-4), (".5", 0.5), ("5.", 5.0), ("+2", 2), ("1e3", 1000.0), ("2.0e-4", 2e-4)],
)
def test_numbers_that_yaml_1_1_takes_for_text_are_numbers(text: str, value: float, tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, PLAIN + f"training: {{learning_rate: {text}}}\n"))
    assert recipe.training.learning_rate == value


@pytest.mark.parametrize("word", ["no", "yes", "on", "off", "NO", "y", "12:30", "0x10", "1_000", "2026-01-01", "~a"])
def test_words_that_yaml_1_1_takes_for_something_else_are_words(word: str, tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, PLAIN + f"departures: [{word}]\n")).departures == [word]


def test_a_number_with_a_leading_zero_is_no_octal(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, PLAIN + "seeds: [010, 08]\n")).seeds == [10, 8]


def test_the_key_on_is_the_word_on(tmp_path: Path) -> None:
    text = PLAIN + "objective: {adversary: {on: [speaker], shares: {}}}\n"
    assert load_recipe(write(tmp_path, text)).objective.adversary.on == ["speaker"]


WORDS = [
    "1e-4",
    "1e3",
    "no",
    "010",
    "0o7",
    "1_000",
    "12:30",
    "null",
    "~",
    "true",
    "",
    " a ",
    "a: b",
    "# x",
    "é🙂",
    "-1",
]


@given(
    st.lists(
        st.sampled_from(WORDS) | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])), max_size=5
    )
)
def test_any_text_survives_the_round_trip(texts: list[str]) -> None:
    content = {"name": "mine", "description": "a", "data": {"name": "x"}, "departures": texts}
    recipe = parse_recipe(content, "test")
    assert parse_recipe(parse_value(dump_recipe(recipe), "test"), "test") == recipe


@given(
    st.floats(1e-300, 1e300),
    st.integers(1, 10**12),
    st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=5, unique=True),
)
def test_any_number_survives_the_round_trip(rate: float, epochs: int, seeds: list[int]) -> None:
    content = {
        "name": "mine",
        "description": "a",
        "data": {"name": "x"},
        "training": {"learning_rate": rate, "epochs": epochs},
        "seeds": seeds,
    }
    recipe = parse_recipe(content, "test")
    assert parse_recipe(parse_value(dump_recipe(recipe), "test"), "test") == recipe


def test_overrides_are_read_like_the_file() -> None:
    recipe = load_recipe(
        "sample",
        [
            "training.learning_rate=1e-5",
            "training.double=true",
            "seeds=[7]",
            "objective.adversary.shares={context: 1}",
            "data.name=no",
            "features.pooling=null",
            "features.modalities=[a, b]",
            "objective.class_weights=train",
        ],
    )
    assert recipe.training.learning_rate == 1e-5
    assert recipe.training.double
    assert recipe.seeds == [7]
    assert recipe.objective.adversary.shares == {"context": 1}
    assert recipe.data.name == "no"
    assert recipe.features.modalities == ["a", "b"]
    assert recipe.objective.class_weights == "train"


def test_the_last_of_two_overrides_counts() -> None:
    assert load_recipe("sample", ["training.epochs=2", "training.epochs=3"]).training.epochs == 3


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("training.epochs", r"'training\.epochs' is no setting.*key=value"),
        ("=3", r"is no setting"),
        ("training.epochs=", r"training\.epochs: .*not None"),
        ("training.epoch=3", r"did you mean 'epochs'"),
        ("name.x=3", r"'name' is no section"),
        ("training.epochs.x=3", r"'epochs' is no section"),
        ("seeds=[1", r"it is no YAML"),
        ("seeds=[1, 1]", r"a seed stands twice"),
        (".=1", r"no setting"),
        ("training..epochs=1", r"no setting"),
    ],
)
def test_an_override_at_fault_is_told(override: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        load_recipe("sample", [override])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("meldd", r"there is no recipe 'meldd'\. Did you mean meld\?"),
        ("nothing-like-it", r"Use one of .*meld"),
        ("missing.yaml", r"missing\.yaml: there is no such file"),
        ("", r"there is no recipe ''"),
        ("../recipes/meld", r"there is no recipe"),
    ],
)
def test_an_unknown_recipe_is_told(name: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        load_recipe(name)


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").mkdir()
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(str(tmp_path / "a.yaml"))


def test_a_recipe_cannot_be_changed(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe()
    with pytest.raises(ValueError, match="frozen"):
        recipe.training.epochs = 3


def test_figures_published_for_one_data_set_do_not_follow_its_settings_to_another() -> None:
    other = load_recipe("meld", ["data.name=my-chats"])
    assert other.published is None
    assert other.description == "the settings of meld, on my-chats"
    assert load_recipe("meld", ["data.name=meld", "training.epochs=3"]).published is not None


@pytest.mark.parametrize("name", ["meld", "emorynlp"])
def test_a_recipe_says_which_other_is_tuned_for_minilm_and_never_switches(name: str) -> None:
    released, tuned = load_recipe(name), load_recipe(f"{name}-minilm")
    assert (retuned(released, "minilm"), retuned(released, "roberta-large"), retuned(tuned, "minilm")) == (
        tuned.name, None, None,
    )  # fmt: skip
    assert retuned(load_recipe(name, ["data.name=sample"]), "minilm") is None
    assert released.training.learning_rate < tuned.training.learning_rate
    assert (released.data, released.published) == (tuned.data, tuned.published)
    result = {
        "seed": 0, "epoch": 1, "test": {"accuracy": 1.0, "weighted_f1": 1.0, "macro_f1": 1.0},
        "valid": {"weighted_f1": 1.0}, "data": {"corpus": name, "source": {"name": "minilm"}},
    }  # fmt: skip
    assert any(tuned.name in note for note in seed_table(released, [result], "MiniLM").notes)
    assert not any(tuned.name in note for note in seed_table(tuned, [result], "MiniLM").notes)


@pytest.mark.parametrize(
    ("kind", "published"), [("bc_lstm", (65.87, 64.87)), ("dialogue_crn", (66.93, 65.77)), ("transformer", None)]
)
def test_another_model_has_its_own_published_row_or_none(kind: str, published: tuple[float, float] | None) -> None:
    recipe = load_recipe("meld", [f"model.kind={kind}"])
    found = None if recipe.published is None else recipe.published.mean
    assert (None if found is None else (found.accuracy, found.weighted_f1)) == published
    assert recipe.description == f"{kind}, with the settings of meld"
    assert load_recipe("meld", [f"model.kind={kind}", "data.name=sample"]).published is None


def test_other_labels_are_not_weighed_by_the_emotions_weights() -> None:
    assert isinstance(load_recipe("emorynlp").objective.class_weights, list)
    sentiment = load_recipe("emorynlp", ["data.labels=sentiment"])
    assert (sentiment.objective.class_weights, sentiment.published) == ("none", None)
    asked = load_recipe("emorynlp", ["data.labels=sentiment", "objective.class_weights=train"])
    assert asked.objective.class_weights == "train"


def test_the_released_grid_is_that_of_the_released_scripts() -> None:
    for name, epsilons in (("meld", [1, 5]), ("emorynlp", [0.5]), ("iemocap", [1, 5])):
        recipe = load_recipe(name)
        grid = released_grid(recipe)
        assert grid["objective.adversary.epsilon"] == epsilons
        assert {(s["context"], s["speaker"]) for s in grid["objective.adversary.shares"]} == {
            (a, b) for a in (0, 0.1) for b in (0, 0.1)
        }
        assert len(grid_points(recipe, Path("out"), grid)) == 432 * len(epsilons)


def test_one_session_may_be_left_out_and_other_labels_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr("sacl.experiment.data.load_corpus", lambda name, data, **options: asked.update(options))
    corpus_of(load_recipe("iemocap", ["data.test_session=2"]), seed=3)
    assert asked == {"validation": "by-seed", "seed": 3, "test_session": 2}
    asked.clear()
    corpus_of(load_recipe("meld", ["data.labels=sentiment"]))
    assert asked == {"labels": "sentiment"}
