"""What is saved comes back to the bit, or not at all."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from hypothesis.extra.numpy import array_shapes
from safetensors.torch import save_file
from torch import Tensor, nn

from sacl.errors import ModelError
from sacl.training import checkpoint
from sacl.training.checkpoint import FORMAT_VERSION, load, save

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.bool,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
]  # fmt: skip


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype
        assert ours[name].shape == tensor.shape
        assert torch.equal(ours[name], tensor)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (5,), (2, 3)])
def test_tensors_of_every_type_and_shape_come_back(tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensors = {"a": (10 * torch.randn(shape, dtype=torch.float64)).to(dtype), "b": torch.ones(shape, dtype=dtype)}
    save(tmp_path / "f", "model", tensors, {})
    assert_same(load(tmp_path / "f", "model")[0], tensors)


@given(shape=array_shapes(max_dims=4, max_side=4), seed=st.integers(0, 1000))
def test_views_come_back_as_what_they_show(tmp_path_factory: pytest.TempPathFactory, shape: Any, seed: int) -> None:
    whole = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    tensors = {
        "whole": whole,
        "turned": whole.permute(*reversed(range(whole.dim()))),
        "part": whole[:1],
        "again": whole,
    }
    tensors["spread"] = torch.ones(1).expand(3)
    path = tmp_path_factory.getbasetemp() / "views"
    save(path, "model", tensors, {})
    assert_same(load(path, "model")[0], tensors)


def test_tied_parameters_can_be_saved(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    save(tmp_path / "f", "model", net.state_dict(), {})
    assert_same(load(tmp_path / "f", "model")[0], net.state_dict())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(content=st.dictionaries(st.text(), JSON, max_size=4))
def test_json_comes_back_numbers_to_the_bit(tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "json"
    save(path, "checkpoint", {}, content)
    assert load(path, "checkpoint") == ({}, content)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny"
    save(path, "model", {"w": torch.tensor([1.5])}, {"labels": []})
    return path


def test_cut_short_anywhere_it_is_damaged(tiny: Path) -> None:
    whole = tiny.read_bytes()
    for length in range(len(whole)):
        tiny.write_bytes(whole[:length])
        with pytest.raises(ModelError, match="damaged"):
            load(tiny, "model")


def test_with_any_bit_flipped_it_is_refused(tiny: Path) -> None:
    whole = tiny.read_bytes()
    with tiny.open("r+b", buffering=0) as file:
        for position, byte in enumerate(whole):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), position)
                with pytest.raises(ModelError):
                    load(tiny, "model")
            os.pwrite(file.fileno(), bytes([byte]), position)
    assert_same(load(tiny, "model")[0], {"w": torch.tensor([1.5])})


@pytest.mark.parametrize(("was", "now"), [(b'"F32"', b'"I32"'), (b"[2,3]", b"[3,2]"), (b'"v"', b'"x"')])
def test_with_another_type_shape_or_name_in_its_header_it_is_damaged(tmp_path: Path, was: bytes, now: bytes) -> None:
    save(tmp_path / "f", "model", {"v": torch.ones(2, 3)}, {})
    whole = (tmp_path / "f").read_bytes()
    assert whole.count(was) == 1
    (tmp_path / "f").write_bytes(whole.replace(was, now))
    with pytest.raises(ModelError, match="damaged"):
        load(tmp_path / "f", "model")


@pytest.mark.parametrize("junk", [b"", b"\0" * 64, b"{}", b"PK\x03\x04" + b"x" * 100, bytes(range(256)) * 2])
@pytest.mark.parametrize("kind", ["model", "checkpoint"])
def test_what_is_no_such_file_is_damaged_and_the_remedy_fits(tmp_path: Path, junk: bytes, kind: str) -> None:
    (tmp_path / "f").write_bytes(junk)
    with pytest.raises(ModelError, match="Train again" if kind == "model" else "Delete it"):
        load(tmp_path / "f", kind)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused_with_the_tensors_name(
    tmp_path: Path, bad: float, dtype: torch.dtype
) -> None:
    save(tmp_path / "f", "model", {"classifier.weight": torch.tensor([1.0, bad], dtype=dtype)}, {})
    with pytest.raises(ModelError, match=r"classifier\.weight holds numbers that are not finite"):
        load(tmp_path / "f", "model")


def test_a_later_format_is_refused_with_the_remedy_to_upgrade(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        later.setattr(checkpoint, "FORMAT_VERSION", FORMAT_VERSION + 1)
        save(tiny, "model", {}, {})
    with pytest.raises(ModelError, match="Upgrade sacl"):
        load(tiny, "model")


def test_an_earlier_format_keeps_loading(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", FORMAT_VERSION + 1)
    assert load(tiny, "model")[1] == {"labels": []}


def test_a_checkpoint_is_no_model(tiny: Path) -> None:
    with pytest.raises(ModelError, match="it is a model, not a checkpoint"):
        load(tiny, "checkpoint")


def test_a_safetensors_file_of_somebody_else_is_told_apart(tmp_path: Path) -> None:
    save_file({"w": torch.ones(2)}, tmp_path / "f", {"origin": "elsewhere"})
    with pytest.raises(ModelError, match="no model of this library"):
        load(tmp_path / "f", "model")


@pytest.mark.parametrize("name", ["absent", "folder"])
def test_a_missing_file_or_a_folder_is_no_model(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelError, match="there is no model"):
        load(tmp_path / name, "model")


def test_saving_again_replaces_the_file_and_leaves_nothing_beside_it(tiny: Path) -> None:
    save(tiny, "model", {"w": torch.zeros(1)}, {"labels": ["sad"]})
    assert_same(load(tiny, "model")[0], {"w": torch.zeros(1)})
    assert [p.name for p in tiny.parent.iterdir()] == ["tiny"]


@pytest.mark.parametrize("step", ["sacl.training.checkpoint.serialised", "sacl.aside.os.fsync"])
def test_a_disk_that_fills_up_leaves_the_old_file_and_nothing_beside_it(
    tiny: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    before = tiny.read_bytes()
    monkeypatch.setattr(step, full)
    with pytest.raises(ModelError, match="No space left on device"):
        save(tiny, "model", {"w": torch.zeros(1)}, {})
    assert tiny.read_bytes() == before
    assert [p.name for p in tiny.parent.iterdir()] == ["tiny"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_cannot_be_written_keeps_the_old_file(tiny: Path) -> None:
    before = tiny.read_bytes()
    tiny.parent.chmod(0o500)
    try:
        with pytest.raises(ModelError, match="cannot be written"):
            save(tiny, "model", {}, {})
    finally:
        tiny.parent.chmod(0o700)
    assert tiny.read_bytes() == before


@pytest.mark.parametrize("where", ["absent/f", "file/f"])
def test_a_place_that_is_no_folder_is_told(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match="cannot be written"):
        save(tmp_path / where, "model", {"w": torch.zeros(1)}, {})


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    tensors = {f"w{i}": torch.full((2,), float(i)) for i in range(9)}
    written = set()
    for i in range(8):
        save(tmp_path / str(i), "model", tensors, {"b": 1, "a": {"d": 2, "c": 3}})
        written.add((tmp_path / str(i)).read_bytes())
    assert len(written) == 1
