"""What the server's processes say to one another, over a socket that nobody else has: so it is trusted."""

from __future__ import annotations

import asyncio
import pickle  # noqa: TID251 - for values only that these processes make; what a client sent is text or bytes in it
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from sacl.serve.limits import Limits
from sacl.serve.turns import CHARACTERS

_HEAD = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Setup:
    """What a process is made from.

    Args:
        model, causal: as `TrainedModel.save` writes them; `causal` is None without live sessions.
        trust_code: see `TrainedModel.load`.
        limits: of the service.
        characters: see `Service`.
        niceness: added to that of this process: the system then prefers others.
    """

    model: bytes
    causal: bytes | None
    trust_code: bool
    limits: Limits
    characters: int = CHARACTERS
    niceness: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """A method of the service that is called for a client; without a name, the call of that id is cancelled.

    Args:
        id: what the outcome refers to; without one there is none.
    """

    id: int | None
    client: str = ""
    method: str = ""
    arguments: Sequence[Any] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a call."""

    id: int
    result: Any = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Beat:
    """What a process says every second: steps of its workers (see `Metrics.step`), live sessions, and how it is."""

    steps: Sequence[tuple[int, int, float]]
    sessions: int
    is_well: bool


class Fault(Exception):
    """A method failed; the log of its process says where."""


def framed(message: Any) -> bytes:
    """A message as it goes over the socket."""
    content = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _HEAD.pack(len(content)) + content


async def received(reader: asyncio.StreamReader) -> Any:
    """The next message; an EOFError where there is no more."""
    return pickle.loads(await reader.readexactly(*_HEAD.unpack(await reader.readexactly(_HEAD.size))))  # noqa: S301


def read_from(file: BinaryIO) -> Any:
    """As `received`."""
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise EOFError("the process has ended")
    return pickle.loads(file.read(*_HEAD.unpack(head)))  # noqa: S301
