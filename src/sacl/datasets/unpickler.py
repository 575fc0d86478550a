"""Pickles of plain data, read by a machine of its own that can run nothing.

A pickle is a program. Here it is interpreted without Python's `pickle`: there is no import, no lookup of names and no
call of anything that the file names. What comes out is made of dict, list, tuple, set, str, bytes, numbers, True,
False, None, and NumPy arrays of plain numbers, and nothing else. Protocols 0 to 5 are read; texts of Python 2 as
Latin-1, as everybody reads these files.

The names that NumPy and Python write into a pickle of such data stand in `plain_names.CALLABLE`, each with a safe
function of our own in its place. Every other name, and every opcode that would make an object, is refused by name and
byte position before anything is done with it.

Work and memory stay in proportion to the file: nothing that the file says of sizes is believed, bytes that are used
twice are paid for twice, and keys are such that a dict of them cannot be made slow.
"""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sacl.datasets.plain_names import CALLABLE, Budget, Dtype, Name, Refused, hashable, printable, set_array, set_dtype
from sacl.errors import DataError
from sacl.textfile import require_file

LARGEST_FILE = 2 * 2**30
"""Bytes. The largest pickle in circulation for these data sets has some 250 MB."""
MOST_OBJECTS = 10_000_000
"""Lists, dicts, tuples, sets and arrays; and as many entries in the memo."""

_LONGEST_NUMBER = 40
_MOST_NESTED = 10_000
_ESCAPED = re.compile(rb"(?:[^\\]++|\\(?:[\\'\"abfnrtv]|x[0-9a-fA-F]{2}|[0-7]{1,3}))*+", re.DOTALL)


def read_pickle(path: Path) -> Any:
    """The plain data of a pickle file; see the module.

    Raises:
        DataError: no such file, larger than 2 GiB, damaged, or with anything in it that is not plain data.
    """
    require_file(path)
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise DataError(f"it has {size} bytes; pickles up to 2 GiB are read", where=str(path), remedy="Split it")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"it cannot be read ({error.strerror or error})", where=str(path), remedy="Check the file"
        ) from None
    return plain_data(data, str(path))


def plain_data(data: bytes, name: str = "the pickle") -> Any:
    """The plain data of a pickle in memory; `name` is what errors call it.

    Raises:
        DataError: damaged, or with anything in it that is not plain data.

    >>> plain_data(b"(lp0\\nI1\\na.")
    [1]
    >>> plain_data(b"cos\\nsystem\\n(S'ls'\\ntR.")
    Traceback (most recent call last):
        ...
    sacl.errors.DataError: the pickle: byte 0: it names os.system, and only plain data is read. Get the file from ...
    """
    machine = _Machine(data)
    try:
        return machine.run()
    except Refused as refusal:
        raise DataError(
            f"byte {machine.start}: {refusal}", where=name, remedy="Get the file from its authors, or leave it alone"
        ) from None
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, AttributeError, struct.error):
        raise DataError(
            f"byte {machine.start}: it is no pickle, or a damaged one", where=name, remedy="Get the file again"
        ) from None


class _Machine:
    """The stack, the memo, and what the file has been granted so far."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.start = 0
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.objects = 0
        self.budget = Budget(len(data))

    def run(self) -> Any:
        """Executes opcodes up to STOP."""
        data, size = self.data, len(self.data)
        while self.at < size:
            self.start = self.at
            opcode = data[self.at]
            self.at += 1
            if opcode == _STOP:
                result = self.stack.pop()
                self._check_plain(result)
                return result
            action = _ACTIONS.get(opcode)
            if action is None:
                raise Refused(_REFUSED.get(opcode) or f"{chr(opcode)!r} is no opcode of plain data")
            action(self)
        raise ValueError("no STOP")

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if not 0 <= count <= len(self.data) - self.at:
            raise ValueError("beyond the end")
        found = self.data[self.at : self.at + count]
        self.at += count
        return found

    def number(self, form: str) -> int:
        """The next number of a struct format."""
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def line(self, longest: int | None = None) -> bytes:
        """The bytes up to the next newline."""
        end = self.data.index(b"\n", self.at)
        if longest is not None and end - self.at > longest:
            raise Refused(f"a number is written with {end - self.at} signs")
        found = self.data[self.at : end]
        self.at = end + 1
        return found

    def since_mark(self) -> list[Any]:
        """What was pushed since the last mark."""
        items = self.stack
        self.stack = self.marked.pop()
        return items

    def mark(self) -> None:
        """Items from here on belong together."""
        if len(self.marked) >= _MOST_NESTED:
            raise Refused(f"it is nested more than {_MOST_NESTED} deep")
        self.marked.append(self.stack)
        self.stack = []

    def push(self, value: Any) -> None:
        """A new container or array onto the stack."""
        self.objects += 1
        if self.objects > MOST_OBJECTS:
            raise Refused(f"it holds more than {MOST_OBJECTS} objects")
        self.stack.append(value)

    def remember(self, index: int) -> None:
        """The top of the stack into the memo."""
        if not 0 <= index <= len(self.data) or len(self.memo) >= MOST_OBJECTS:
            raise Refused(f"its memo has an entry {index}")
        self.memo[index] = self.stack[-1]

    def set_items(self, pairs: list[Any]) -> None:
        """Keys and values, by turns, into the dict on the stack."""
        target = self.stack[-1]
        if type(target) is not dict or len(pairs) % 2:
            raise ValueError("no dict")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[hashable(key)] = value

    def call(self) -> None:
        """REDUCE: a name of `CALLABLE` and its arguments."""
        arguments = self.stack.pop()
        name = self.stack.pop()
        if type(name) is not Name or name.call is None or type(arguments) is not tuple:
            raise Refused("it calls something that is no function of NumPy's own pickles")
        self.push(name.call(self.budget, arguments))

    def build(self) -> None:
        """BUILD: the state of a dtype or an array; of nothing else."""
        state = self.stack.pop()
        target = self.stack[-1]
        if type(state) is not tuple:
            raise Refused("it sets the state of an object, and an array's would be a tuple")
        if type(target) is Dtype:
            set_dtype(target, state)
        elif type(target) is np.ndarray:
            set_array(self.budget, target, state)
        else:
            raise Refused(f"it sets the state of an object of type {type(target).__name__.lstrip('_').lower()}")

    def name(self, module: Any, name: Any) -> None:
        """GLOBAL: one of the few names that are known."""
        if not (type(module) is str and type(name) is str):
            raise Refused("it names something by what is no text")
        if (module, name) not in CALLABLE:
            raise Refused(f"it names {printable(f'{module}.{name}')}, and only plain data is read")
        self.stack.append(Name(CALLABLE[module, name]))

    def _check_plain(self, root: Any) -> None:
        """No name or dtype may be left over as a value. Each object is looked at once, however often it stands."""
        seen: set[int] = set()
        waiting = [root]
        while waiting:
            value = waiting.pop()
            kind = type(value)
            if kind in (Name, Dtype):
                raise Refused("a name is left over as a value, and only plain data is read")
            if kind in (dict, list, tuple) and id(value) not in seen:
                seen.add(id(value))
                waiting.extend(value.values() if kind is dict else value)


def _integer(m: _Machine, raw: bytes) -> int | bool:
    """INT and LONG of protocol 0; `01` and `00` are its True and False."""
    if raw in (b"00", b"01"):
        return raw == b"01"
    return int(raw.rstrip(b"L"))


def _small(m: _Machine, size: int) -> int:
    if size > _LONGEST_NUMBER:
        raise Refused(f"a number of {size} bytes")
    return int.from_bytes(m.take(size), "little", signed=True)


def _quoted(m: _Machine, raw: bytes) -> str:
    """STRING: a Python 2 text in quotes."""
    raw = raw.strip()
    if len(raw) < 2 or raw[:1] != raw[-1:] or raw[:1] not in (b"'", b'"') or not _ESCAPED.fullmatch(raw[1:-1]):
        raise ValueError("no quoted text")
    return codecs.escape_decode(raw[1:-1])[0].decode("latin-1")


# The opcodes, as Python's own `pickletools` documents them


def _append(m: _Machine, items: list[Any]) -> None:
    if type(m.stack[-1]) is not list:
        raise ValueError("no list")
    m.stack[-1].extend(items)


def _add_items(m: _Machine, items: list[Any]) -> None:
    if type(m.stack[-1]) is not set:
        raise ValueError("no set")
    m.stack[-1].update(map(hashable, items))


def _dict(m: _Machine, pairs: list[Any]) -> None:
    m.push({})
    m.set_items(pairs)


def _pop(m: _Machine, count: int) -> list[Any]:
    if len(m.stack) < count:
        raise IndexError
    items = m.stack[-count:]
    del m.stack[-count:]
    return items


def _skip(count: int) -> Callable[[_Machine], None]:
    def skip(m: _Machine) -> None:
        m.take(count)

    return skip


_STOP = ord(".")
_ACTIONS: dict[int, Callable[[_Machine], None]] = {
    opcode[0]: action
    for opcode, action in {
        b"\x80": _skip(1),  # the protocol: opcodes mean the same in all
        b"\x95": _skip(8),  # a frame: a hint for reading ahead
        b"(": _Machine.mark,
        b"0": lambda m: m.stack.pop() if m.stack else m.since_mark(),
        b"1": lambda m: m.since_mark(),
        b"2": lambda m: m.stack.append(m.stack[-1]),
        b"N": lambda m: m.stack.append(None),
        b"\x88": lambda m: m.stack.append(True),
        b"\x89": lambda m: m.stack.append(False),
        b"I": lambda m: m.stack.append(_integer(m, m.line(_LONGEST_NUMBER))),
        b"L": lambda m: m.stack.append(_integer(m, m.line(_LONGEST_NUMBER))),
        b"J": lambda m: m.stack.append(m.number("<i")),
        b"K": lambda m: m.stack.append(m.number("<B")),
        b"M": lambda m: m.stack.append(m.number("<H")),
        b"\x8a": lambda m: m.stack.append(_small(m, m.number("<B"))),
        b"\x8b": lambda m: m.stack.append(_small(m, m.number("<I"))),
        b"F": lambda m: m.stack.append(float(m.line(_LONGEST_NUMBER))),
        b"G": lambda m: m.stack.append(struct.unpack(">d", m.take(8))[0]),
        b"S": lambda m: m.stack.append(_quoted(m, m.line())),
        b"T": lambda m: m.stack.append(m.take(m.number("<I")).decode("latin-1")),
        b"U": lambda m: m.stack.append(m.take(m.number("<B")).decode("latin-1")),
        b"V": lambda m: m.stack.append(m.line().decode("raw-unicode-escape")),
        b"X": lambda m: m.stack.append(m.take(m.number("<I")).decode("utf-8", "surrogatepass")),
        b"\x8c": lambda m: m.stack.append(m.take(m.number("<B")).decode("utf-8", "surrogatepass")),
        b"\x8d": lambda m: m.stack.append(m.take(m.number("<Q")).decode("utf-8", "surrogatepass")),
        b"B": lambda m: m.stack.append(m.take(m.number("<I"))),
        b"C": lambda m: m.stack.append(m.take(m.number("<B"))),
        b"\x8e": lambda m: m.stack.append(m.take(m.number("<Q"))),
        b"\x96": lambda m: m.stack.append(m.take(m.number("<Q"))),  # a bytearray: bytes do as well
        b"]": lambda m: m.push([]),
        b"l": lambda m: m.push(m.since_mark()),
        b"a": lambda m: _append(m, _pop(m, 1)),
        b"e": lambda m: _append(m, m.since_mark()),
        b")": lambda m: m.push(()),
        b"t": lambda m: m.push(tuple(m.since_mark())),
        b"\x85": lambda m: m.push(tuple(_pop(m, 1))),
        b"\x86": lambda m: m.push(tuple(_pop(m, 2))),
        b"\x87": lambda m: m.push(tuple(_pop(m, 3))),
        b"}": lambda m: m.push({}),
        b"d": lambda m: _dict(m, m.since_mark()),
        b"s": lambda m: m.set_items(_pop(m, 2)),
        b"u": lambda m: m.set_items(m.since_mark()),
        b"\x8f": lambda m: m.push(set()),
        b"\x90": lambda m: _add_items(m, m.since_mark()),
        b"g": lambda m: m.stack.append(m.memo[int(m.line(_LONGEST_NUMBER))]),
        b"h": lambda m: m.stack.append(m.memo[m.number("<B")]),
        b"j": lambda m: m.stack.append(m.memo[m.number("<I")]),
        b"p": lambda m: m.remember(int(m.line(_LONGEST_NUMBER))),
        b"q": lambda m: m.remember(m.number("<B")),
        b"r": lambda m: m.remember(m.number("<I")),
        b"\x94": lambda m: m.remember(len(m.memo)),
        b"c": lambda m: m.name(m.line().decode("latin-1"), m.line().decode("latin-1")),
        b"\x93": lambda m: m.name(*_pop(m, 2)),
        b"R": _Machine.call,
        b"b": _Machine.build,
    }.items()
}
_REFUSED = {
    opcode[0]: f"{name} {does}, and only plain data is read"
    for opcode, name, does in (
        (b"P", "PERSID", "asks for an object by its id"),
        (b"Q", "BINPERSID", "asks for an object by its id"),
        (b"i", "INST", "makes an object"),
        (b"o", "OBJ", "makes an object"),
        (b"\x81", "NEWOBJ", "makes an object"),
        (b"\x92", "NEWOBJ_EX", "makes an object"),
        (b"\x82", "EXT1", "names an object of the extension registry"),
        (b"\x83", "EXT2", "names an object of the extension registry"),
        (b"\x84", "EXT4", "names an object of the extension registry"),
        (b"\x91", "FROZENSET", "makes a frozen set"),
        (b"\x97", "NEXT_BUFFER", "asks for a buffer from elsewhere"),
        (b"\x98", "READONLY_BUFFER", "asks for a buffer from elsewhere"),
    )
}
