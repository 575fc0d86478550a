"""Fine-tuning: the best validation epoch is kept, the test split is out of reach, the same seed gives the same bits."""

from __future__ import annotations

import inspect
import json
import random
import runpy
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from sacl.conversation import Conversation, Corpus, LabelSet, Utterance
from sacl.datasets import load_corpus
from sacl.errors import DataError, FeatureError, NumericalError, RecipeError
from sacl.features import Encoder
from sacl.training import finetune as module
from sacl.training.finetune import CARD_FILE, Finetuned, FinetuneSettings, finetune

TINY = runpy.run_path(str(Path(__file__).parents[1] / "fixtures" / "tiny_encoder.py"))
QUICK = FinetuneSettings(learning_rate=1e-2, epochs=3, batch_size=16)


@pytest.fixture(scope="module", params=["Bert mean", "Bert first", "Roberta first"])
def any_base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    architecture, pooling = request.param.split()
    return Encoder.load(TINY["write_encoder"](tmp_path_factory.mktemp("base") / "base", architecture), pooling=pooling)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return Encoder.load(TINY["write_encoder"](tmp_path_factory.mktemp("base") / "base"), pooling="mean")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return load_corpus(TINY["write_corpus"](tmp_path_factory.mktemp("corpus") / "words"))


def tuned(base: Encoder, corpus: Corpus, settings: FinetuneSettings = QUICK, **options: Any) -> Finetuned:
    return finetune(base, corpus["train"], corpus["valid"], corpus.labels, settings, **options)


@pytest.fixture(scope="module")
def quick(base: Encoder, corpus: Corpus) -> Finetuned:
    return tuned(base, corpus, name="words", warnings=["a warning"])


def weights(encoder: Encoder) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_it_learns_to_name_the_emotion_of_an_utterance(any_base: Encoder, corpus: Corpus) -> None:
    before = weights(any_base)
    card = tuned(any_base, corpus, FinetuneSettings(learning_rate=1e-2, epochs=8, batch_size=8)).card
    majority = (
        100 * np.unique([u.emotion for u in corpus.utterances("valid") if u.emotion], return_counts=True)[1].max()
    )
    assert card["valid_accuracy"] > 90 > majority / card["seen"]["valid"]["labelled utterances"] + 20
    assert same(weights(any_base), before)  # the caller's encoder stays as it is


def test_the_head_reads_the_vectors_that_the_encoder_gives(any_base: Encoder) -> None:
    texts = ["we had cake", "stop", "", "it was the table the paper the noon"]
    classifier = module._Classifier(any_base, 3, dropout=0.0).eval()
    classifier.head = nn.Sequential(nn.Identity())
    with torch.no_grad():
        read = classifier(any_base._tokens(texts)).numpy()
    np.testing.assert_allclose(read, any_base.encode(texts), atol=1e-6)


def test_dropout_is_the_settings_everywhere(base: Encoder) -> None:
    classifier = module._Classifier(base, 3, dropout=0.25)
    rates = {m.p for m in classifier.modules() if isinstance(m, nn.Dropout)}
    assert rates == {0.25}
    tokens = base._tokens(["we had cake"])
    draws = [classifier.train()(tokens).detach() for _ in range(2)]
    assert not torch.equal(*draws)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(
    base: Encoder, corpus: Corpus, quick: Finetuned, tmp_path: Path
) -> None:
    torch.manual_seed(99)  # the caller's own generator does not matter, and is left alone
    state = torch.get_rng_state()
    again = tuned(base, corpus, name="words", warnings=["a warning"])
    assert torch.equal(torch.get_rng_state(), state)
    for name, result in (("one", quick), ("two", again)):
        result.save(tmp_path / name)
    files = sorted(file.name for file in (tmp_path / "one").iterdir())
    assert {"config.json", "model.safetensors", "tokenizer.json", CARD_FILE} <= set(files)
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    other = tuned(base, corpus, QUICK.model_copy(update={"seed": 1}))
    assert not same(weights(other.encoder), weights(quick.encoder))


def test_a_pooler_that_the_base_lacks_is_made_up_by_the_seed(base: Encoder, corpus: Corpus, tmp_path: Path) -> None:
    """Nothing reads it, but transformers writes it down."""
    folder = Path(shutil.copytree(base.folder, tmp_path / "bare"))
    tensors = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if "pooler" not in name}
    assert len(kept) < len(tensors)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    once = QUICK.model_copy(update={"epochs": 1})
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        results.append(weights(tuned(Encoder.load(folder, pooling="mean"), corpus, once).encoder))
    assert same(*results)


def test_the_first_epoch_of_best_validation_accuracy_is_kept(
    base: Encoder, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies = [50.0, 70.0, 60.0, 70.0, 10.0]
    seen: list[dict[str, Tensor]] = []

    def validated(classifier: Any, *_: Any) -> dict[str, float]:
        seen.append({name: tensor.clone() for name, tensor in classifier.encoder.state_dict().items()})
        return {"valid_accuracy": accuracies[len(seen) - 1], "valid_weighted_f1": 99.0 * (len(seen) == 5)}

    monkeypatch.setattr(module, "_validated", validated)
    result = tuned(base, corpus, QUICK.model_copy(update={"epochs": 5}))
    assert (result.card["epoch"], result.card["valid_accuracy"]) == (2, 70.0)
    assert [figures["valid_accuracy"] for figures in result.card["epochs"]] == accuracies
    assert same(weights(result.encoder), seen[1])
    assert not same(seen[1], seen[3])


def test_an_epochs_figures_are_those_of_its_predictions(
    base: Encoder, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oracle reads one utterance at a time, in the corpus's order."""
    right: list[float] = []
    measured = module._validated

    def spied(classifier: Any, examples: Any, *rest: Any) -> dict[str, float]:
        figures = measured(classifier, examples, *rest)
        turns = [u for u in corpus.utterances("valid") if u.emotion is not None]
        names = []
        with torch.no_grad():
            for turn in turns:
                scores = classifier.eval()(base._tokens([turn.text]))
                names.append(corpus.labels.names[int(scores.argmax())])
        right.append(100 * sum(n == u.emotion for n, u in zip(names, turns, strict=True)) / len(turns))
        return figures

    monkeypatch.setattr(module, "_validated", spied)
    card = tuned(base, corpus).card
    assert [figures["valid_accuracy"] for figures in card["epochs"]] == pytest.approx(right)
    assert len(set(right)) > 1


def test_the_test_split_is_out_of_reach() -> None:
    """What it is given is training and validation; no argument can carry a corpus with a test split."""
    parameters = inspect.signature(finetune, eval_str=True).parameters
    conversations = [name for name, p in parameters.items() if p.annotation == Sequence[Conversation]]
    assert conversations == ["train", "valid"]
    assert not [name for name, p in parameters.items() if p.annotation is Corpus]


def test_validation_chooses_and_teaches_nothing(base: Encoder, corpus: Corpus, quick: Finetuned) -> None:
    other = [
        Conversation(c.id, [Utterance(u.speaker, u.text, "glad", u.id) for u in c.utterances]) for c in corpus["valid"]
    ]
    card = finetune(base, corpus["train"], other, corpus.labels, QUICK).card
    losses = [[figures["train_loss"] for figures in c["epochs"]] for c in (card, quick.card)]
    assert losses[0] == losses[1]
    assert card["epochs"] != quick.card["epochs"]


def test_utterances_without_a_label_are_left_out(base: Encoder, corpus: Corpus, quick: Finetuned) -> None:
    assert any(u.emotion is None for u in corpus.utterances("train"))
    bare = {
        split: [
            Conversation(c.id, [u for u in c.utterances if u.emotion is not None])
            for c in corpus[split]
            if any(u.emotion for u in c.utterances)
        ]
        for split in ("train", "valid")
    }
    result = finetune(base, bare["train"], bare["valid"], corpus.labels, QUICK)
    assert same(weights(result.encoder), weights(quick.encoder))
    assert result.card["epochs"] == quick.card["epochs"]


def test_the_learning_rate_rises_over_the_warm_up_and_falls_to_nothing(base: Encoder, corpus: Corpus) -> None:
    steps: list[dict[str, Any]] = []
    hook = register_optimizer_step_pre_hook(lambda optimizer, *_: steps.append(dict(optimizer.param_groups[0])))
    settings = QUICK.model_copy(update={"epochs": 4, "warmup": 0.25, "learning_rate": 0.001})
    try:
        card = tuned(base, corpus, settings).card
    finally:
        hook.remove()
    total = 4 * -(-card["seen"]["train"]["labelled utterances"] // 16)
    warm = total // 4
    expected = [i / warm if i < warm else (total - i) / (total - warm) for i in range(total)]
    assert [step["lr"] for step in steps] == pytest.approx([0.001 * share for share in expected])
    assert {(step["betas"], step["weight_decay"], step["decoupled_weight_decay"]) for step in steps} == {
        ((0.9, 0.98), 0.1, True)
    }


def test_a_batch_holds_texts_of_like_length_and_an_epoch_every_text_once() -> None:
    lengths = random.Random(0).choices(range(1, 80), k=1000)
    torch.manual_seed(0)
    batches, others = (list(module._batches(lengths, 8)) for _ in range(2))
    assert sorted(row for batch in batches for row in batch) == list(range(1000))
    assert sorted(map(len, batches)) == [8] * 125
    assert batches != others
    padded = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)
    assert padded < 1.2 * sum(lengths)
    # Longer and shorter batches take turns.
    longest = [max(lengths[row] for row in batch) for batch in batches]
    assert longest != sorted(longest)


def test_the_folder_is_a_transformers_model_with_the_same_vectors(
    quick: Finetuned, base: Encoder, tmp_path: Path
) -> None:
    from transformers import AutoModel, AutoTokenizer

    saved = quick.save(tmp_path / "encoder")
    texts = ["we had cake", "stop it", ""]
    vectors = saved.encode(texts)
    assert vectors.tobytes() == quick.encoder.encode(texts).tobytes()
    assert np.abs(vectors - base.encode(texts)).max() > 0.01
    assert (saved.pooling, saved.max_tokens) == (base.pooling, base.max_tokens)
    assert Encoder.from_identity(saved.identity).encode(texts).tobytes() == vectors.tobytes()
    AutoModel.from_pretrained(tmp_path / "encoder")
    assert AutoTokenizer.from_pretrained(tmp_path / "encoder")("stop")["input_ids"][0] == 2
    config = (tmp_path / "encoder" / "config.json").read_text()
    assert json.loads(config)["sacl_pooling"] == "mean"
    assert str(base.folder) not in config
    assert not [name for name in load_file(tmp_path / "encoder" / "model.safetensors") if name.startswith("head")]


def test_others_may_read_the_weights_as_they_may_the_configuration(quick: Finetuned, tmp_path: Path) -> None:
    quick.save(tmp_path / "encoder")
    modes = {name: (tmp_path / "encoder" / name).stat().st_mode for name in ("model.safetensors", "config.json")}
    assert modes["model.safetensors"] == modes["config.json"]


def test_the_card_says_what_was_seen_and_how(quick: Finetuned, base: Encoder, corpus: Corpus, tmp_path: Path) -> None:
    quick.save(tmp_path / "encoder")
    card = json.loads((tmp_path / "encoder" / CARD_FILE).read_text())
    assert card.pop("files").keys() >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert card == quick.card
    assert card["base"]["sha256"] == base.identity["sha256"]
    assert (card["corpus"], card["labels"], card["warnings"]) == ("words", ["glad", "cross", "calm"], ["a warning"])
    for split, purpose in (("train", "weights"), ("valid", "choice of the epoch")):
        labelled = sum(u.emotion is not None for u in corpus.utterances(split))
        conversations = len(corpus[split])
        assert card["seen"][split] == {
            "conversations": conversations, "labelled utterances": labelled, "for": purpose
        }  # fmt: skip
    assert set(card["seen"]) == {"train", "valid"}
    assert FinetuneSettings(**card["settings"]) == QUICK
    assert [figures["epoch"] for figures in card["epochs"]] == [1, 2, 3]
    assert card["valid_accuracy"] == max(figures["valid_accuracy"] for figures in card["epochs"])
    assert card["threads"] == torch.get_num_threads()


def test_progress_ends_at_the_total_and_tells_the_accuracy(base: Encoder, corpus: Corpus) -> None:
    told: list[tuple[str, int, int]] = []
    card = tuned(base, corpus, progress=lambda *step: told.append(step)).card
    assert [done for _, done, _ in told] == list(range(1, told[-1][2] + 1))
    assert told[0][0] == "fine-tune"
    assert told[-1][0] == f"fine-tune\tepoch 2: valid accuracy {card['epochs'][1]['valid_accuracy']:.2f}"


def test_a_folder_that_holds_something_is_left_alone(quick: Finetuned, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    quick.save(tmp_path / "empty")
    before = (tmp_path / "empty" / "model.safetensors").read_bytes()
    (tmp_path / "file").write_text("mine")
    for name in ("empty", "file"):
        with pytest.raises(FeatureError, match="something is there already"):
            quick.save(tmp_path / name)
    assert (tmp_path / "empty" / "model.safetensors").read_bytes() == before
    with pytest.raises(FeatureError, match="cannot be written"):
        quick.save(tmp_path / "file" / "place")
    with pytest.raises(FeatureError, match="cannot be looked into"):
        quick.save(tmp_path / ("long" * 100))


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_save_that_is_cut_off_leaves_nothing(
    error: Any, quick: Finetuned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(shutil, "copyfile", fail)
    with pytest.raises((KeyboardInterrupt, FeatureError)):
        quick.save(tmp_path / "encoder")
    assert list(tmp_path.iterdir()) == []


def chat(*turns: tuple[str | None, str | None]) -> list[Conversation]:
    vector = np.zeros(3, np.float32)
    return [Conversation("c", [Utterance("A", text, emotion, vector=vector) for text, emotion in turns])]


GOOD = [("we had cake", "glad"), ("stop", "cross")]


@pytest.mark.parametrize(
    ("train", "valid", "error", "told"),
    [
        ([("cake", None)], GOOD, DataError, "split train: no utterance is labelled"),
        (GOOD, [("cake", None)], DataError, "split valid: no utterance is labelled"),
        ([("cake", "glad"), ("sunny", "glad")], GOOD, DataError, "no utterance is labelled 'cross'"),
        ([*GOOD, (None, "glad")], GOOD, FeatureError, "split train, conversation c, utterance 2: it has no text"),
        (GOOD, [(None, "glad")], FeatureError, "split valid, conversation c, utterance 0: it has no text"),
        (GOOD, [("cake", "bored")], DataError, "unknown emotion 'bored'"),
    ],
)
def test_data_at_fault_are_told_in_one_line(
    base: Encoder, train: Any, valid: Any, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told) as caught:
        finetune(base, chat(*train), chat(*valid), LabelSet(("glad", "cross")), QUICK)
    assert "\n" not in str(caught.value)


def test_a_single_emotion_is_nothing_to_learn(base: Encoder) -> None:
    with pytest.raises(DataError, match="single emotion"):
        finetune(base, chat(("cake", "glad")), chat(("cake", "glad")), LabelSet(("glad",)), QUICK)


def test_an_unlabelled_turn_needs_no_text(base: Encoder) -> None:
    labels = LabelSet(("glad", "cross"))
    assert finetune(base, chat(*GOOD, (None, None)), chat(*GOOD), labels, QUICK).card["epoch"] >= 1


def test_a_loss_that_is_not_finite_is_told_with_its_place(base: Encoder, corpus: Corpus) -> None:
    with pytest.raises(NumericalError, match=r"epoch \d+, update \d+: .* Lower the learning rate"):
        tuned(base, corpus, QUICK.model_copy(update={"learning_rate": 1e30}))


@pytest.mark.parametrize("device", ["cuda:99", "toaster"])
def test_a_device_that_is_not_there_is_refused(base: Encoder, corpus: Corpus, device: str) -> None:
    with pytest.raises(RecipeError, match=f"no device '{device}'") as caught:
        tuned(base, corpus, QUICK.model_copy(update={"device": device}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "setting",
    [{"learning_rate": 0}, {"learning_rate": float("nan")}, {"epochs": 0}, {"dropout": 1.0}, {"warmup": 1.0}, {"x": 1}],
)
def test_a_setting_out_of_range_is_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FinetuneSettings(**setting)


def test_the_defaults_are_cosmics_for_meld() -> None:
    assert FinetuneSettings().model_dump() == {
        "learning_rate": 1e-5, "epochs": 30, "dropout": 0.1, "batch_size": 32, "warmup": 0.06, "weight_decay": 0.1,
        "seed": 0, "device": "cpu",
    }  # fmt: skip
