"""Tensors and JSON in one safetensors file that carries its own SHA-256. Models and checkpoints are such files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised
from torch import Tensor

from sacl.aside import reason, remedy, whole_file
from sacl.errors import ModelError

FORMAT_VERSION = 1
"""Of everything written here. A file of a later version is refused; an earlier one keeps loading."""

_ENTRY = "sacl"
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # of others PyTorch cannot say what is finite


def save(path: Path, kind: str, tensors: Mapping[str, Tensor], content: Mapping[str, Any]) -> None:
    """Writes to the side, then moves into place: a reader sees the old file or the new one, whole.

    Args:
        path: the file.
        kind: `model` or `checkpoint`; `load` refuses the other.
        tensors: by name.
        content: anything JSON can say.

    Raises:
        ModelError: it cannot be written; what was there stays.
    """
    try:
        # Not safetensors' own save_file, whose files only their owner may read.
        with whole_file(path) as file:
            file.write(packed(kind, tensors, content))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"it cannot be written ({reason(error)})", where=str(path), remedy=remedy(error)) from error


def packed(kind: str, tensors: Mapping[str, Tensor], content: Mapping[str, Any]) -> bytes:
    """What `save` writes."""
    # Copies: safetensors refuses tensors that share memory, as tied parameters do.
    plain = {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    about = {"format_version": FORMAT_VERSION, "kind": kind, "content": dict(content)}
    about["sha256"] = _digest(plain, about)
    # One entry: safetensors writes several in an order that changes from call to call.
    return serialised(plain, {_ENTRY: json.dumps(about, sort_keys=True)})


def load(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what `save` wrote, and checks every byte of it.

    Raises:
        ModelError: missing, damaged, of another kind or a later version, or holding numbers that are not finite.
    """
    if not path.is_file():
        raise ModelError(f"there is no {kind}", where=str(path), remedy="Name a run's folder or its model.safetensors")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get(_ENTRY, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise _damaged(path, kind, reason(error)) from error
    if not isinstance(about, dict) or not about.keys() >= {"format_version", "kind", "content"}:
        raise ModelError(
            f"it is a safetensors file, but no {kind} of this library",
            where=str(path),
            remedy="Bring a released checkpoint in with `sacl import`",
        )
    if about["kind"] != kind:
        raise ModelError(f"it is a {about['kind']}, not a {kind}", where=str(path), remedy=f"Name a {kind}")
    if not isinstance(about["format_version"], int) or about["format_version"] > FORMAT_VERSION:
        raise ModelError(
            f"its format_version is {about['format_version']!r}, and this sacl knows up to {FORMAT_VERSION}",
            where=str(path),
            remedy="Upgrade sacl",
        )
    if about.pop("sha256", None) != _digest(tensors, about):
        raise _damaged(path, kind, "its SHA-256 is not the one it was written with")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.dtype not in _FLOATS:
            raise ModelError(f"{name} holds {tensor.dtype}, which is not read", where=str(path), remedy="Train again")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ModelError(f"{name} holds numbers that are not finite", where=str(path), remedy="Train again")
    return tensors, about["content"]


def _digest(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _damaged(path: Path, kind: str, reason: str) -> ModelError:
    remedy = "Train again" if kind == "model" else "Delete it; the run then starts this seed anew"
    return ModelError(f"the {kind} is damaged ({reason})", where=str(path), remedy=remedy)
