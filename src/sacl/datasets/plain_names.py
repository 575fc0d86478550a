"""The few functions that NumPy and Python name in pickles of plain data, each with a safe one in its place.

Used by the unpickler beside this module. Every function checks its arguments, and none looks anything up.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

LARGEST_KEY = 2**20
"""Of whole numbers that are keys. With larger ones a file could choose keys that all fall into one slot of a dict."""

_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")


class Refused(Exception):
    """What a pickle must not hold or do."""


class Budget:
    """How many bytes may still be copied into arrays and sets.

    A file holds them once, so that only what is repeated through the memo exceeds its size.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.left = 2 * size + 2**16

    def spend(self, count: int) -> None:
        """Pays for a copy of so many bytes."""
        self.left -= count
        if self.left < 0:
            raise Refused("it uses the same bytes again and again")


class Name:
    """A name of `CALLABLE`, standing on the stack until it is called."""

    def __init__(self, call: Callable[[Budget, tuple[Any, ...]], Any] | None) -> None:
        self.call = call


class Dtype:
    """A NumPy dtype in the making: its byte order is set after it was made."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype


def hashable(value: Any) -> Any:
    """What may be a key of a dict or an item of a set: hashed without recursion, and never slow in a dict."""
    if type(value) in (str, bytes) or (type(value) is int and abs(value) < LARGEST_KEY):
        return value
    found = "a large number" if type(value) is int else f"of type {type(value).__name__}"
    raise Refused(f"a key is {found}; keys are texts, or whole numbers below {LARGEST_KEY}")


def printable(name: str) -> str:
    """A name of a file, fit for one line of an error."""
    return ascii(name[:80])[1:-1]


def _reconstruct(budget: Budget, arguments: tuple[Any, ...]) -> np.ndarray:
    """`_reconstruct(ndarray, (0,), b"b")`: an empty array, to be filled by BUILD."""
    kind, shape, code = arguments
    plain = type(kind) is Name and kind.call is None and type(shape) is tuple and shape == (0,)
    if not plain or code not in (b"b", "b"):
        raise Refused("an array is made in an unusual way")
    return np.empty(0, dtype=np.int8)


def _make_dtype(budget: Budget, arguments: tuple[Any, ...]) -> Dtype:
    """`dtype("f4", False, True)`."""
    code = arguments[0]
    if type(code) is not str or not _DTYPE.fullmatch(code):
        found = printable(code) if type(code) is str else type(code).__name__
        raise Refused(f"an array of dtype {found}, and only plain numbers are read")
    return Dtype(np.dtype(code))


def set_dtype(target: Dtype, state: tuple[Any, ...]) -> None:
    """`(3, "<", None, None, None, -1, -1, 0)`: anything but the byte order would make it no plain number."""
    plain = len(state) in (8, 9) and state[0] in (3, 4) and state[2:5] == (None, None, None)
    if not plain or state[1] not in ("<", ">", "|", "=") or state[5:7] != (-1, -1) or state[7] != 0:
        raise Refused("a dtype of fields or objects, and only plain numbers are read")
    if state[1] in ("<", ">"):
        target.dtype = target.dtype.newbyteorder(state[1])


def _checked(budget: Budget, shape: Any, dtype: Any, raw: Any) -> tuple[tuple[int, ...], np.dtype[Any], bytes]:
    """Shape, dtype and bytes that belong together."""
    if type(raw) is str:  # bytes of Python 2
        raw = raw.encode("latin-1")
    if type(shape) is not tuple or len(shape) > 4 or type(dtype) is not Dtype or type(raw) is not bytes:
        raise Refused("an array of objects, and only plain numbers are read")
    count = 1
    for side in shape:
        if type(side) is not int or not 0 <= side <= budget.size:
            raise Refused("an array is larger than the file")
        count *= side
    if count * dtype.dtype.itemsize != len(raw):
        raise Refused(f"an array of {count} numbers has {len(raw)} bytes")
    budget.spend(len(raw))
    return shape, dtype.dtype, raw


def set_array(budget: Budget, target: np.ndarray, state: tuple[Any, ...]) -> None:
    """`(1, shape, dtype, is_fortran, bytes)`."""
    _version, shape, dtype, fortran, raw = state
    shape, plain, raw = _checked(budget, shape, dtype, raw)
    # The array is filled in place: the memo and what holds it know it already.
    target.__setstate__((1, shape, plain, bool(fortran), raw))  # type: ignore[arg-type]


def _scalar(budget: Budget, arguments: tuple[Any, ...]) -> Any:
    """`scalar(dtype, bytes)`: as a number of Python's own."""
    dtype, raw = arguments
    _, plain, raw = _checked(budget, (), dtype, raw)
    return np.frombuffer(raw, dtype=plain)[0].item()


def _from_buffer(budget: Budget, arguments: tuple[Any, ...]) -> np.ndarray:
    """`_frombuffer(bytes, dtype, shape, order)`, protocol 5."""
    raw, dtype, shape, order = arguments
    shape, plain, raw = _checked(budget, shape, dtype, raw)
    if order not in ("C", "F"):
        raise Refused("an array in an unknown order")
    return np.frombuffer(raw, dtype=plain).reshape(shape, order=order)


def _encode(budget: Budget, arguments: tuple[Any, ...]) -> bytes:
    """`_codecs.encode(text, "latin1")`: bytes, as Python 3 writes them for protocols 0 to 2."""
    text, encoding = arguments
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise Refused("_codecs.encode is used for something other than bytes")
    budget.spend(len(text))
    return text.encode("latin-1")


def _no_bytes(budget: Budget, arguments: tuple[Any, ...]) -> bytes:
    """`bytes()`: how Python 3 writes no bytes at all for protocols 0 to 2."""
    if arguments:
        raise Refused("bytes is called with an argument")
    return b""


def _make_set(budget: Budget, arguments: tuple[Any, ...]) -> set[Any]:
    """`set([...])`."""
    (items,) = arguments
    if type(items) is not list:
        raise Refused("a set is made of something other than a list")
    budget.spend(len(items))
    return {hashable(item) for item in items}


CALLABLE: dict[tuple[str, str], Callable[[Budget, tuple[Any, ...]], Any] | None] = {
    ("_codecs", "encode"): _encode,
    **{(module, "bytes"): _no_bytes for module in ("__builtin__", "builtins")},
    **{(module, "set"): _make_set for module in ("__builtin__", "builtins")},
    ("numpy", "dtype"): _make_dtype,
    ("numpy", "ndarray"): None,  # an argument of _reconstruct, never called
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}
"""Module and name -> what is done instead of calling it."""
