"""Released checkpoints: read with weights only, and scored as the released code scored them."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from sacl.conversation import LabelSet
from sacl.errors import ModelError
from sacl.model.batch import ConversationItem, collate
from sacl.training.released import import_released
from sacl.training.trained import TrainedModel

REFERENCE = Path(__file__).parents[1] / "parity" / "reference"


def recorded(padding: str, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(REFERENCE / padding / f"{name}.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return tensors, {key: json.loads(value) for key, value in file.metadata().items()}


def state(name: str = "meld_like") -> OrderedDict[str, Tensor]:
    tensors, _ = recorded("packed", name)
    return OrderedDict((k.removeprefix("state/"), t) for k, t in tensors.items() if k.startswith("state/"))


def labels(count: int) -> LabelSet:
    return LabelSet(tuple(f"emotion {i}" for i in range(count)))


def items(tensors: dict[str, Tensor]) -> list[ConversationItem]:
    features, speakers, felt, lengths = (tensors[f"micro0/{k}"] for k in ("features", "speakers", "labels", "lengths"))
    ends = np.cumsum(lengths.numpy())
    return [
        ConversationItem(str(i), features[a:b], speakers[a:b].numpy(), felt[a:b].numpy())
        for i, (a, b) in enumerate(zip([0, *ends[:-1]], ends, strict=True))
    ]


@pytest.mark.parametrize("padding", ["packed", "released"])
@pytest.mark.parametrize("name", ["iemocap_like", "meld_like", "emorynlp_like"])
def test_an_imported_checkpoint_scores_as_the_released_code_did(tmp_path: Path, padding: Any, name: str) -> None:
    tensors, settings = recorded(padding, name)
    path = tmp_path / "best.pkl"
    torch.save(OrderedDict((k.removeprefix("state/"), t) for k, t in tensors.items() if k.startswith("state/")), path)
    model = import_released(path, labels(settings["n_classes"]), padding=padding)
    assert (model.settings.layers, model.settings.hidden_size) == (settings["layers"], settings["hidden_size"])
    assert (model.input_size, model.settings.padding) == (settings["input_size"], padding)
    with torch.no_grad():
        found = model.model(collate(items(tensors), padding=model.settings.padding)).log_probabilities
    torch.testing.assert_close(found, tensors["micro0/log_prob"], rtol=0, atol=1e-9)
    model.save(tmp_path / "model.safetensors")
    single = np.concatenate(TrainedModel.load(tmp_path).log_probabilities(items(tensors)))
    np.testing.assert_allclose(single, found.float().numpy(), rtol=0, atol=1e-6)


def test_every_parameter_is_kept_bit_for_bit(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "a.pt")
    found = import_released(tmp_path / "a.pt", labels(7)).model.state_dict()
    renamed = {"rnn.": "context_lstm.", "rnn_parties.": "speaker_lstm.", "cognition_net.smax_fc.": "classifier."}
    assert len(found) == len(state())
    for name, tensor in state().items():
        prefix = next(p for p in renamed if name.startswith(p))
        assert torch.equal(found[renamed[prefix] + name.removeprefix(prefix)], tensor)


def test_old_files_safetensors_and_single_precision_are_read(tmp_path: Path) -> None:
    expected = import_released(_saved(tmp_path / "new.bin", state()), labels(7)).model.state_dict()
    torch.save(state(), tmp_path / "old.pkl", _use_new_zipfile_serialization=False)
    save_file(dict(state()), tmp_path / "plain.safetensors")
    for name in ("old.pkl", "plain.safetensors"):
        found = import_released(tmp_path / name, labels(7)).model.state_dict()
        assert all(torch.equal(found[k], expected[k]) for k in expected)
    single = import_released(_saved(tmp_path / "s.pt", {k: t.float() for k, t in state().items()}), labels(7))
    assert {t.dtype for t in single.model.state_dict().values()} == {torch.float32}


def _saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


class Evil:
    def __reduce__(self) -> Any:
        return (os.system, (f"touch {os.environ['SACL_CANARY']}",))


@pytest.mark.parametrize("content", [Evil(), {**state(), "x": Evil()}, [Evil()]])
def test_a_checkpoint_that_would_run_something_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any
) -> None:
    monkeypatch.setenv("SACL_CANARY", str(tmp_path / "canary"))
    path = _saved(tmp_path / "evil.pkl", content)
    with pytest.raises(ModelError, match=r"evil\.pkl: it holds more than weights"):
        import_released(path, labels(7))
    assert not (tmp_path / "canary").exists()


def changed(**tensors: Any) -> dict[str, Any]:
    return {**state(), **{name.replace("__", "."): tensor for name, tensor in tensors.items()}}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([1, 2], "it holds a list, not a state dict"),
        ({}, "context_lstm.weight_ih_l0: a parameter is missing"),
        (changed(epoch=torch.ones(1)), "unknown parameter 'epoch' in a released checkpoint"),
        (changed(epoch=3), "'epoch' is no tensor of numbers"),
        (changed(rnn__bias_ih_l0=torch.full_like(state()["rnn.bias_ih_l0"], torch.nan)), "not finite"),
        (changed(rnn__bias_ih_l0=torch.ones(3).double()), "its tensors do not fit together .*bias_ih_l0"),
        (changed(rnn__weight_ih_l0=torch.ones(2, 2).double()), "its tensors are those of no LSTM"),
        (changed(rnn__weight_ih_l0=torch.ones(1).double().expand(4 * 10**6, 10**6)), "not finite|not contiguous"),
        (changed(rnn__bias_ih_l0=torch.ones(4)), "different precision"),
        ({k: t for k, t in state().items() if k != "rnn_parties.weight_hh_l0"}, "do not fit together .*speaker_lstm"),
        ({k: t for k, t in state().items() if "smax_fc.bias" not in k}, "classifier.bias: a parameter is missing"),
    ],
)
def test_what_is_no_released_checkpoint_is_refused_in_one_line(tmp_path: Path, content: Any, found: str) -> None:
    with pytest.raises(ModelError, match=found) as error:
        import_released(_saved(tmp_path / "x.pkl", content), labels(7))
    assert "\n" not in str(error.value)


def test_another_number_of_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="it tells 7 emotions apart, and 2 labels are given"):
        import_released(_saved(tmp_path / "x.pkl", state()), labels(2))


@pytest.mark.parametrize(
    "content", [b"", b"junk", b"\x80\x04N.", b"\x80\x04}\x8c\x01aK\x01s.", b"PK\x03\x04" + bytes(100)]
)
@pytest.mark.parametrize("name", ["x.pkl", "x.safetensors"])
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError):
        import_released(tmp_path / name, labels(7))


def test_a_checkpoint_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = _saved(tmp_path / "x.pkl", state()).read_bytes()
    for length in range(0, len(whole), len(whole) // 40):
        (tmp_path / "cut.pkl").write_bytes(whole[:length])
        with pytest.raises(ModelError):
            import_released(tmp_path / "cut.pkl", labels(7))


def test_a_part_that_is_marked_as_a_folder_is_not_read_as_nothing(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "a.pkl")
    content = bytearray((tmp_path / "a.pkl").read_bytes())
    at = content.rindex(b"PK\x01\x02", 0, content.rindex(b"data/5PK"))  # where the entry begins in the directory
    content[at + 38] ^= 0x10  # a bit of its attributes: PyTorch gave what happened to be in memory
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(ModelError, match="marked as a folder"):
        import_released(tmp_path / "a.pkl", LabelSet(tuple("abcdefg")))


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.pkl"):
        with pytest.raises(ModelError, match="there is no such file"):
            import_released(path, labels(7))
