"""The authors' checkpoints: plain PyTorch state dicts, made into models of ours."""

from __future__ import annotations

import io
import pickletools
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import torch
from pydantic import ValidationError
from torch import Tensor

from sacl.conversation import LabelSet
from sacl.errors import ModelError
from sacl.model.build import build_model
from sacl.model.dual_lstm import from_released
from sacl.settings import FeatureSettings, ModelSettings
from sacl.textfile import kind_of
from sacl.training.trained import TrainedModel

LARGEST_FILE = 512 * 2**20
"""Bytes. An authors' checkpoint has some 20 MB."""
MOST_OPCODES = 20_000
"""Of a pickle. A checkpoint's has some 30 a tensor; with many more a dict could be made slow."""

_PICKLES_BEFORE_2020 = (
    5  # of a file by PyTorch before 1.6: a mark, the version, the system, the state, names of storages
)
# What `weights_only` lets by is more, and some of it takes as much memory as the file asks for: bytearray, say.
_NAMES = {
    "collections OrderedDict",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_tensor_v2",
    *(f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Byte", "Bool")),
}
_FOLDER = 0x10
"""A bit of an archive's entry."""
_MORE = "it holds more than weights, or something else"
_REMEDY = "Give a released SACL-LSTM checkpoint: a state dict with rnn.*, rnn_parties.* and cognition_net.smax_fc.*"


def import_released(
    path: Path, labels: LabelSet, *, padding: Literal["packed", "released"] = "released"
) -> TrainedModel:
    """A released SACL-LSTM checkpoint as a model of ours; its sizes are those of its tensors.

    The file is a state dict as `torch.save` writes it, read with weights only (nothing in it is run), or safetensors.

    Args:
        path: the file.
        labels: the emotions, in the order of its outputs.
        padding: how sequences are read. The authors' models were trained, and scored, with `released`: an utterance's
            scores then depend on which conversations are read with it.

    Raises:
        ModelError: no such file, anything but such a checkpoint, numbers that are not finite, or another number of
            labels.
    """
    where = str(path)
    if kind_of(path) != "file":
        raise ModelError("there is no such file", where=where, remedy=_REMEDY)
    state = _released_names(_read(path), where)
    weight = state["context_lstm.weight_ih_l0"]
    classes = len(state["classifier.bias"])
    if classes != len(labels):
        raise ModelError(
            f"it tells {classes} emotions apart, and {len(labels)} labels are given ({', '.join(labels)})",
            where=where,
            remedy="Give one label an output, in their order",
        )
    try:
        settings = ModelSettings(
            hidden_size=weight.shape[0] // 4,
            layers=sum(f"context_lstm.weight_ih_l{k}" in state for k in range(len(state))),
            bidirectional="context_lstm.weight_ih_l0_reverse" in state,
            padding=padding,
        )
    except ValidationError:
        raise ModelError("its tensors are those of no LSTM", where=where, remedy=_REMEDY) from None
    with torch.device("meta"):  # no memory for what the file only claims
        model = build_model(settings, weight.shape[1], classes)
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).splitlines()[1].split())[:200] if "\n" in str(error) else str(error)[:200]
        raise ModelError(f"its tensors do not fit together ({reason})", where=where, remedy=_REMEDY) from None
    about = {"recipe": "imported", "source": path.name}
    features = FeatureSettings(standardise=False)
    return TrainedModel(model.eval(), settings, labels, weight.shape[1], features, None, None, about)


def _read(path: Path) -> Any:
    """What the file holds; no more than it weighs."""
    data = _bytes(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            return load(data)
        _check_pickles(data, str(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of pickles that it did not write, before it refuses them
            # The authors' files are pickles. `weights_only` builds tensors and plain containers, and refuses all else.
            # Out of memory: a file on disk that is a tar archive would be unpacked, as PyTorch once wrote them.
            found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)  # noqa: TID251
    except ModelError:
        raise
    except Exception as error:  # torch and safetensors have no error of their own for a file that is not theirs
        reason = _MORE if "weights" in str(error).lower() else "it is no state dict, or damaged"
        raise ModelError(reason, where=str(path), remedy=_REMEDY) from None
    tensors = [t for t in found.values() if isinstance(t, Tensor)] if isinstance(found, Mapping) else []
    if sum(t.numel() * t.element_size() for t in tensors) > len(data):
        raise ModelError("its tensors are larger than the file, or not contiguous", where=str(path), remedy=_REMEDY)
    return found


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ModelError(f"it cannot be read ({error.strerror or error})", where=str(path), remedy=_REMEDY) from None
    if len(data) > LARGEST_FILE:
        raise ModelError(f"it is larger than {LARGEST_FILE >> 20} MiB", where=str(path), remedy=_REMEDY)
    return data


def _check_pickles(data: bytes, where: str) -> None:
    """Refuse what names anything but tensors, or takes memory or time out of proportion to its size.

    Raises:
        ModelError: an archive unpacks to more than it weighs, or a pickle does more than name tensors.
    """
    stream = io.BytesIO(data)
    for pickle in _zipped(data, where) if data.startswith(b"PK") else [stream] * _PICKLES_BEFORE_2020:
        for count, (opcode, name, at) in enumerate(pickletools.genops(pickle)):
            if count > MOST_OPCODES:
                found = f"its pickle does more by byte {at} than name a checkpoint's tensors"
                raise ModelError(found, where=where, remedy=_REMEDY)
            if (opcode.name == "GLOBAL" and name not in _NAMES) or opcode.name in ("STACK_GLOBAL", "INST"):
                raise ModelError(_MORE, where=where, remedy=_REMEDY)


def _zipped(data: bytes, where: str) -> Iterator[BinaryIO]:
    """The pickles of an archive, which is not unpacked to the disk."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > len(data):  # PyTorch stores and never packs
            found = f"it has {len(data)} bytes and would unpack to {unpacked}"
            raise ModelError(found, where=where, remedy=_REMEDY)
        if archive.testzip():  # PyTorch does not look at the sums of what it reads
            raise ModelError("it is damaged: a checksum in it is not that of its content", where=where, remedy=_REMEDY)
        if any(entry.file_size and entry.external_attr & _FOLDER for entry in entries):  # PyTorch reads nothing of it
            raise ModelError("it is damaged: a part of it is marked as a folder", where=where, remedy=_REMEDY)
        for entry in entries:
            if entry.filename.lower().endswith(".pkl"):  # PyTorch finds an entry whatever its case
                yield io.BytesIO(archive.read(entry))


def _released_names(state: Any, where: str) -> dict[str, Tensor]:
    """A state dict under our names, every tensor of it plain and finite."""
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise ModelError(f"it holds a {type(state).__name__}, not a state dict", where=where, remedy=_REMEDY)
    for name, tensor in state.items():
        plain = isinstance(tensor, Tensor) and tensor.layout == torch.strided and not tensor.is_nested
        if not plain or tensor.device.type != "cpu" or tensor.dtype not in (torch.float32, torch.float64):
            raise ModelError(f"{name[:80]!r} is no tensor of numbers", where=where, remedy=_REMEDY)
        if not tensor.is_contiguous() or not bool(tensor.isfinite().all()):
            raise ModelError(f"{name[:80]!r} holds numbers that are not finite", where=where, remedy="Get it again")
    try:
        ours = from_released(state)
    except ModelError as error:
        raise ModelError(error.found, where=where, remedy=_REMEDY) from None
    shapes = {"context_lstm.weight_ih_l0": 2, "classifier.weight": 2, "classifier.bias": 1}
    for name, dimensions in shapes.items():
        if name not in ours or ours[name].ndim != dimensions or not ours[name].numel():
            raise ModelError("a parameter is missing or of no use", where=f"{where}, {name}", remedy=_REMEDY)
    if len({tensor.dtype for tensor in ours.values()}) > 1:
        raise ModelError("its tensors are of different precision", where=where, remedy=_REMEDY)
    return ours
