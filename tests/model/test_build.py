"""A model by its name: the package's own, one's own, and what is told when it cannot be had."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from sacl.conversation import LabelSet
from sacl.errors import ModelError, RecipeError
from sacl.experiment.recipe import load_recipe
from sacl.model.batch import ConversationItem, collate
from sacl.model.build import MODELS, build_model, model_class
from sacl.model.dual_lstm import DualLSTM
from sacl.settings import FeatureSettings, ModelSettings
from sacl.training import checkpoint
from sacl.training import trained as trained_module
from sacl.training.fit import Fit
from sacl.training.trained import TrainedModel

LABELS = LabelSet(("down", "level", "up"))

OWN = """
from pathlib import Path
import torch
from torch import nn
from sacl.model.dual_lstm import ModelOutput

Path(__file__).with_name("ran").touch()

class Mean(nn.Module):
    def __init__(self, input_size, classes, *, hidden_size, layers, dropout, bidirectional):
        super().__init__()
        self.inputs = nn.Identity()
        self.mix = nn.Linear(input_size, hidden_size)
        self.classifier = nn.Linear(hidden_size, classes)

    def forward(self, batch, generator=None):
        hidden = self.mix(self.inputs(batch.features)).relu()
        return ModelOutput(self.classifier(hidden).log_softmax(dim=1), hidden)

    def targets(self):
        return {"input": self.inputs, "context": self.mix}

class Silent(Mean):
    targets = None

class Stubborn(nn.Module):
    def __init__(self, input_size):
        super().__init__()

class Picky(nn.Module):
    def __init__(self, *sizes, **options):
        raise ValueError("no\\nnot today")

class NoModule:
    pass
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """A folder that one works in, with a module of one's own; imported afresh by every test."""
    (tmp_path / "my_erc").mkdir()
    (tmp_path / "my_erc" / "nets.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in [n for n in sys.modules if n.partition(".")[0] == "my_erc"]:
        del sys.modules[name]


def items(conversations: int = 4, turns: int = 6) -> list[ConversationItem]:
    rng = np.random.default_rng(0)
    return [
        ConversationItem(
            str(i),
            torch.from_numpy(rng.normal(size=(turns, 5))).float(),
            rng.integers(0, 2, turns),
            np.arange(turns) % 3,
        )
        for i in range(conversations)
    ]


def trained(kind: str) -> TrainedModel:
    settings = ModelSettings(kind=kind, hidden_size=8)
    return TrainedModel(build_model(settings, 5, 3), settings, LABELS, 5, FeatureSettings(), None, None, {})


def fit(*overrides: str) -> Fit:
    recipe = load_recipe("meld", ["model.hidden_size=8", "training.epochs=1", "training.accumulation=1", *overrides])
    training = recipe.training.model_copy(update={"batch_size": 2})
    return Fit(
        lambda: build_model(recipe.model, 5, 3), items(), items(), LABELS, recipe.model, recipe.objective, training, 0
    )


def test_the_setting_tells_of_every_model_of_the_package() -> None:
    described = ModelSettings.model_fields["kind"].description or ""
    assert [kind for kind in MODELS if kind not in described] == []
    assert MODELS[ModelSettings().kind] is DualLSTM


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_is_built_as_the_settings_say(kind: str) -> None:
    settings = ModelSettings(
        kind=kind, hidden_size=16, layers=2, dropout=0.4, bidirectional=False, min_speaker_utterances=1
    )
    torch.manual_seed(0)
    built = build_model(settings, 5, 3)
    torch.manual_seed(0)
    expected = MODELS[kind](5, 3, hidden_size=16, layers=2, dropout=0.4, bidirectional=False)
    assert type(built) is type(expected)
    assert built.dropout == 0.4
    batch = collate(items())
    assert torch.equal(built.eval()(batch).log_probabilities, expected.eval()(batch).log_probabilities)


@pytest.mark.parametrize("kind", MODELS)
def test_a_saved_model_gives_the_same_scores(kind: str, tmp_path: Path) -> None:
    before = trained(kind)
    before.save(tmp_path / "model.safetensors")
    after = TrainedModel.load(tmp_path)
    assert after.settings == before.settings
    for a, b in zip(before.log_probabilities(items()), after.log_probabilities(items()), strict=True):
        assert np.array_equal(a, b)


def test_the_bytes_of_a_model_are_its_file_and_are_read_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed while it reads would leave it for ever."""
    before = trained("dual_lstm")
    before.save(tmp_path / "model.safetensors")
    content = before.to_bytes()
    assert content == (tmp_path / "model.safetensors").read_bytes()
    aside, seen = tmp_path / "aside", list[Path]()
    aside.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(aside))
    whole = checkpoint.load
    monkeypatch.setattr(trained_module, "load", lambda *given: (seen.extend(aside.iterdir()), whole(*given))[1])
    after = TrainedModel.from_bytes(content)
    assert seen == list(aside.iterdir()) == []
    for a, b in zip(before.log_probabilities(items()), after.log_probabilities(items()), strict=True):
        assert np.array_equal(a, b)
    with pytest.raises(ModelError, match="damaged"):
        TrainedModel.from_bytes(content[:-1])


def test_a_model_of_ones_own_is_found_in_the_current_folder(own: Path) -> None:
    built = build_model(ModelSettings(kind="my_erc.nets:Mean", hidden_size=7), 5, 3)
    assert type(built).__name__ == "Mean"
    assert built(collate(items())).hidden.shape == (24, 7)


@pytest.mark.parametrize("on", ["input", "context", "input, context"])
def test_a_model_of_ones_own_trains_against_an_adversary(own: Path, on: str) -> None:
    run = fit("model.kind=my_erc.nets:Mean", f"objective.adversary.on=[{on}]", "objective.adversary.shares={}")
    before = [p.detach().clone() for p in run.model.parameters()]
    run.run()
    assert not any(torch.equal(a, b) for a, b in zip(run.model.parameters(), before, strict=True))


def test_a_saved_model_runs_no_code_of_others_unless_it_is_trusted(own: Path) -> None:
    before = trained("my_erc.nets:Mean")
    before.save(own / "model.safetensors")
    del sys.modules["my_erc.nets"]
    (own / "my_erc" / "ran").unlink()
    with pytest.raises(ModelError, match=r"my_erc\.nets:Mean.*trust_code=True.*--trust-code"):
        TrainedModel.load(own)
    assert "my_erc.nets" not in sys.modules
    assert not (own / "my_erc" / "ran").exists()
    after = TrainedModel.load(own, trust_code=True)
    assert (own / "my_erc" / "ran").exists()
    for a, b in zip(before.log_probabilities(items()), after.log_probabilities(items()), strict=True):
        assert np.array_equal(a, b)


def test_a_trusted_model_whose_code_is_gone_names_its_file(own: Path) -> None:
    trained("my_erc.nets:Mean").save(own / "model.safetensors")
    del sys.modules["my_erc.nets"]
    (own / "my_erc" / "nets.py").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors.*there is no module my_erc\.nets"):
        TrainedModel.load(own, trust_code=True)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("dialoge_rnn", "Use dialogue_rnn, or your own"),
        ("BC-LSTM", "Use bc_lstm, or"),
        ("xyz", "Use one of dual_lstm, linear, bc_lstm, dialogue_rnn, dialogue_crn, transformer"),
        ("my_erc.nets.Mean", "package.module:Class"),
        ("", "Use one of"),
        (":Mean", "names no class"),
        ("my_erc.nets:", "names no class"),
        ("my_erc.nets:Mean:x", "names no class"),
        ("../my_erc:Mean", "names no class"),
        (".nets:Mean", "names no class"),
        ("my_erc.nets:Median", "my_erc.nets has no class Median"),
        ("my_erc.nets:NoModule", "holds no torch.nn.Module named NoModule"),
        ("my_erc.nets:ModelOutput", "holds no torch.nn.Module named ModelOutput"),
        ("my_erc.nests:Mean", "there is no module my_erc.nests"),
        ("nowhere.nets:Mean", "there is no module nowhere"),
        ("my_erc.nets:Stubborn", r"cannot be built \(.*unexpected keyword"),
        ("my_erc.nets:Picky", r"cannot be built \(no\)"),
        ("my_erc.nets:Silent", r"has no method targets\(\)"),
    ],
)
def test_a_model_that_cannot_be_had_is_told_in_one_line(own: Path, kind: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told) as caught:
        build_model(ModelSettings(kind=kind), 5, 3)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"model.kind {kind}")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("x = 1\ny = 1 / 0\n", r"broken\.py, line 2: importing it fails with ZeroDivisionError: division by zero"),
        ("def f(:\n", r"importing it fails with SyntaxError: .*\(broken\.py, line 1\)"),
        ("import no_such_library_here\n", r"broken\.py, line 1: .*No module named 'no_such_library_here'"),
        ("import sys\nsys.exit('usage')\n", r"broken\.py, line 2: importing it fails with SystemExit: usage"),
        ("raise RuntimeError\n", r"line 1: importing it fails with RuntimeError"),
        ("from my_erc.nets import Nothing\n", "fails with ImportError"),
    ],
)
def test_code_that_fails_on_import_is_told_with_its_place(own: Path, content: str, told: str) -> None:
    (own / "my_erc" / "broken.py").write_text(content)
    with pytest.raises(RecipeError, match=told) as caught:
        model_class("my_erc.broken:Mean")
    assert "\n" not in str(caught.value)


def test_the_packages_own_models_need_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    build_model(ModelSettings(kind="transformer"), 5, 3)
    assert sys.path == before


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        ("bc_lstm", ["objective.adversary.on=[context]"]),
        ("transformer", ["objective.adversary.on=[context]"]),
        ("linear", ["objective.adversary.on=[input]", "objective.adversary.shares={}"]),
    ],
)
def test_a_recipe_that_perturbs_what_a_model_has_not_says_what_to_set(kind: str, remedy: list[str]) -> None:
    with pytest.raises(RecipeError, match=r"no target '(speaker|context)'") as caught:
        fit(f"model.kind={kind}")
    assert "\n" not in str(caught.value)
    assert " ".join(f"--set '{setting}'" for setting in remedy) in str(caught.value)
    assert "--set objective.adversary.kind=none" in str(caught.value)
    # What it says works.
    assert fit(f"model.kind={kind}", *remedy).run().epoch == 1
    assert fit(f"model.kind={kind}", "objective.adversary.kind=none").run().epoch == 1


@pytest.mark.parametrize("kind", ["dual_lstm", "dialogue_rnn", "dialogue_crn"])
def test_a_recipe_of_context_and_speaker_suits_every_model_with_both(kind: str) -> None:
    assert fit(f"model.kind={kind}").run().epoch == 1


def test_a_frozen_target_of_ones_own_model_is_told_in_one_line(own: Path) -> None:
    text = OWN.replace('return {"input": self.inputs, "context": self.mix}', "return {'context': [self.mix.bias]}")
    text = text.replace("self.classifier =", "self.mix.bias.requires_grad_(False); self.classifier =")
    (own / "my_erc" / "nets.py").write_text(text)
    with pytest.raises(RecipeError, match="frozen parameter") as caught:
        fit("model.kind=my_erc.nets:Mean", "objective.adversary.on=[context]")
    assert "--set 'objective" not in str(caught.value)
