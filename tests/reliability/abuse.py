"""Clients that mean no good, in a process of their own: `python abuse.py KIND PORT SECONDS [CONNECTIONS]`.

They come from other addresses of this machine than 127.0.0.1, where the well-behaved client is. Run with no more than
they are asked for: so many seconds, so many connections, the loopback alone. What the server answered is told on
stdout, as JSON: statuses, connections that were cut, and answers from 500 on that do not say when to come back.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic

CHAT = json.dumps({"utterances": [{"speaker": "Ann", "text": "we had cake"}, {"speaker": "Bo", "text": "late"}]})
LARGE = json.dumps({"utterances": [{"speaker": "Ann", "text": f"{i} cake " * 100} for i in range(3_500)]})
TALK = json.dumps({"utterances": [{"speaker": "Ann", "text": f"{i} cake and tea for everybody"} for i in range(33)]})
MANY = json.dumps({"utterances": [{"speaker": "Ann", "text": f"cake {i}"} for i in range(5_000)]})
VECTORS = json.dumps({"utterances": [{"speaker": "Ann", "vector": [0.25] * 384} for _ in range(1_500)]})

SAID = [{"speaker": "Ann", "vector": [i / 500] + [0.25] * 383} for i in range(500)]
WHY = json.dumps({"conversation": {"utterances": SAID}, "utterance": 0, "nearest": 499})


class Attack:
    """What happens until it ends.

    Args:
        port: of the server.
        until: the moment at which it ends.
        network: of the addresses that it comes from, so that no kind pays for another's requests.
    """

    def __init__(self, port: int, until: float, network: int) -> None:
        self.port, self.until, self.network = port, until, network
        self.seen: Counter[str] = Counter()

    @property
    def is_on(self) -> bool:
        return monotonic() < self.until

    def left(self) -> float:
        """Seconds."""
        return max(0.0, self.until - monotonic())

    async def open(self, number: int, **options: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection from one of 8 addresses."""
        one = socket.socket()
        for name, value in options.items():
            one.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        one.setblocking(False)
        try:
            one.bind((f"127.0.{self.network}.{number % 8 + 1}", 0))
            await asyncio.get_running_loop().sock_connect(one, ("127.0.0.1", self.port))
            self.seen["connected"] += 1
            return await asyncio.open_connection(sock=one, limit=2**16)
        except BaseException:
            one.close()
            raise

    async def keep(self, number: int, one: Callable[[int], Awaitable[None]], pause: float = 0.01) -> None:
        """The same again and again."""
        while self.is_on:
            try:
                async with asyncio.timeout(self.left()):
                    await one(number)
            except TimeoutError:
                break
            except (OSError, asyncio.IncompleteReadError, ValueError):
                self.seen["cut"] += 1
            await asyncio.sleep(pause)

    async def read(self, reader: asyncio.StreamReader) -> int:
        """An answer's status; it is noted."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split()[1])
        self.seen[str(status)] += 1
        if status >= 500 and not (status == 503 and "\r\nretry-after: " in head):
            self.seen[f"bad {status}"] += 1
        if "content-length: " in head:
            await reader.readexactly(int(head.partition("content-length: ")[2].split()[0]))
        return status


def request(path: str, body: str | None = None, length: int | None = None) -> bytes:
    head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: localhost\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body) if length is None else length}\r\n"
    return f"{head}\r\n{body or ''}".encode()


async def silent(attack: Attack, number: int) -> None:
    """Connects and says nothing."""
    reader, writer = await attack.open(number)
    try:
        attack.seen["answered" if await reader.read(1) else "cut"] += 1
    finally:
        writer.close()


async def dripping(attack: Attack, number: int, begun: bytes, piece: bytes) -> None:
    """A request that is begun, and a piece of it a second until it is answered."""
    reader, writer = await attack.open(number)
    try:
        writer.write(begun)
        while attack.is_on:
            writer.write(piece)
            await writer.drain()
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await attack.read(reader)
                    return
    finally:
        writer.close()


async def half(attack: Attack, number: int) -> None:
    """A head that drips, and never ends."""
    await dripping(attack, number, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: ", b"a")


async def drip(attack: Attack, number: int) -> None:
    """A body of which a byte comes a second."""
    await dripping(attack, number, request("/v1/predict", "{", 100_000), b" ")


async def endless(attack: Attack, number: int) -> None:
    """A body in chunks without end, as fast as it is taken; every other one where nobody reads it."""
    reader, writer = await attack.open(number)
    path = ("/v1/predict", "/nowhere")[number % 2]
    try:
        writer.write(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        while attack.is_on:
            writer.write(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
            await writer.drain()
    finally:
        with suppress(Exception):
            async with asyncio.timeout(0.1):
                await attack.read(reader)
        writer.close()


async def deaf(attack: Attack, number: int) -> None:
    """Asks for much and does not read it."""
    reader, writer = await attack.open(number, SO_RCVBUF=4096)
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    try:
        writer.write(request("/openapi.json") * 50)
        await writer.drain()
        await asyncio.sleep(attack.left())
    finally:
        writer.close()


async def churn(attack: Attack, number: int) -> None:
    """Connects and goes."""
    _, writer = await attack.open(number)
    writer.close()


async def again(attack: Attack, number: int, asked: bytes) -> None:
    """A request, and again when it is answered, on a connection that stays."""
    reader, writer = await attack.open(number)
    try:
        while attack.is_on:
            writer.write(asked)
            await attack.read(reader)
    finally:
        writer.close()


async def flood(attack: Attack, number: int) -> None:
    """Requests without a pause, on a connection that stays."""
    await again(attack, number, request("/v1/predict", CHAT) if number % 2 else request("/health"))


async def pipeline(attack: Attack, number: int) -> None:
    """Many requests in one piece."""
    reader, writer = await attack.open(number)
    try:
        while attack.is_on:
            writer.write(request("/health") * 100)
            for _ in range(100):
                await attack.read(reader)
    finally:
        writer.close()


async def talks(attack: Attack, number: int) -> None:
    """The longest conversations that are read among short ones, one after another."""
    await again(attack, number, request("/v1/predict", TALK))


async def heavy(attack: Attack, number: int) -> None:
    """The largest requests that are let in."""
    await again(attack, number, request("/v1/predict", (LARGE, MANY, VECTORS)[number % 3]))


async def why(attack: Attack, number: int) -> None:
    """What moved a turn, by all others: the longest that is read at once."""
    await again(attack, number, request("/v1/influence", WHY))


async def oversize(attack: Attack, number: int) -> None:
    """Bodies beyond the limit."""
    reader, writer = await attack.open(number)
    try:
        writer.write(request("/v1/predict", " " * 5_000_000))
        await attack.read(reader)
    finally:
        writer.close()


async def broken(attack: Attack, number: int) -> None:
    """Requests with bytes changed, left out, or put in."""
    reader, writer = await attack.open(number)
    draw = random.Random(f"{number} {attack.seen['connected']}")
    said = bytearray(request("/v1/predict", CHAT) * 2)
    for _ in range(draw.randint(1, 5)):
        at = draw.randrange(len(said))
        kind = draw.randrange(3)
        said[at : at + (kind != 1)] = (
            b"" if kind == 2 else bytes([draw.choice(b"\r\n\0 :;\xff\t/") if kind else draw.randrange(256)])
        )
    try:
        writer.write(said)
        writer.write_eof()
        async with asyncio.timeout(2):
            while not reader.at_eof():
                await attack.read(reader)
    finally:
        writer.close()


async def sessions(attack: Attack, number: int) -> None:
    """Live sessions that are opened and left."""
    await again(attack, number, request("/v1/sessions", ""))


WRONG = [
    b"", b"[]", b"7", b"null", b'"text"', b"{", b"\xff\xfe", b"[" * 50_000, b'{"a":' * 5_000, b'{"utterances": NaN}',
    b'{"utterances": {"speaker": "Ann"}}', b'{"utterances": [[]]}', b'{"utterances": [{"speaker": 1, "text": []}]}',
    b'{"utterances": [{"speaker": "Ann", "vector": ["x"]}]}',
    b'{"utterances": [{"speaker": "Ann", "text": "\\ud800"}]}',
    b'{"conversations": [null], "threshold": 1e400}', b'{"conversation": [], "utterance": -1e99}', b"a=1&b=2",
    b'--x\r\nContent-Disposition: form-data; name="a"; filename="../../a"\r\n\r\nb\r\n--x--\r\n', b"\x1f\x8b\x08\0\0",
    b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', b"\x80\x04K\x01.",
    b'{"data": [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, 0.5], "fn_index": 6,'
    b'"session_hash": "a"}', b'{"data": [], "fn_index": 99, "session_hash": "a"}',
]  # fmt: skip
TYPES = [
    "application/json",
    "text/plain",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded",
    "\xff",
]
PLACES = [
    "/v1/predict", "/v1/influence", "/v1/sessions", "/v1/sessions/a/turns", "/v1/nothing", "/health", "/metrics", "/",
    "/gradio_api/queue/join", "/gradio_api/cancel", "/gradio_api/reset", "/gradio_api/upload",
    "/static/../../etc/passwd",
]  # fmt: skip


async def wrong(attack: Attack, number: int) -> None:
    """Bodies, types, methods, hosts and origins that are none of the server's."""
    reader, writer = await attack.open(number)
    draw = random.Random(f"{number} {attack.seen['connected']}")
    try:
        while attack.is_on:
            body, type = draw.choice(WRONG), draw.choice(TYPES)
            method = draw.choice(["POST"] * 6 + ["PUT", "DELETE", "PATCH", "OPTIONS", "ANN"])
            head = (
                f"{method} {draw.choice(PLACES)} HTTP/1.1\r\nHost: {draw.choice(['localhost'] * 9 + ['a.example'])}\r\n"
            )
            head += f"Content-Type: {type}\r\nContent-Length: {len(body)}\r\n"
            head += draw.choice([""] * 9 + ["Origin: http://a.example\r\n", "Content-Encoding: gzip\r\n"])
            writer.write(f"{head}\r\n".encode("latin-1") + body)
            await attack.read(reader)
    finally:
        writer.close()


async def page(attack: Attack, number: int) -> None:
    """Visitors of the page without end, who never fetch what they asked for."""
    reader, writer = await attack.open(number)
    try:
        while attack.is_on:
            session = f"{number}-{attack.seen['200']}"
            asked = {"data": ["Ann: we had cake\nBo: late", 0.5], "fn_index": 6, "session_hash": session}
            for _ in range(9):
                writer.write(request("/gradio_api/queue/join", json.dumps(asked)))
                await attack.read(reader)
    finally:
        writer.close()


KINDS: dict[str, tuple[Callable[[Attack, int], Awaitable[None]], int]] = {
    "silent": (silent, 5_000),
    "half": (half, 5_000),
    "drip": (drip, 1_000),
    "endless": (endless, 50),
    "deaf": (deaf, 500),
    "churn": (churn, 50),
    "flood": (flood, 50),
    "pipeline": (pipeline, 50),
    "talks": (talks, 20),
    "heavy": (heavy, 20),
    "why": (why, 20),
    "oversize": (oversize, 20),
    "broken": (broken, 20),
    "sessions": (sessions, 20),
    "wrong": (wrong, 20),
    "page": (page, 20),
}
"""What there is, and by how many at once."""


async def main(kind: str, port: int, seconds: float, connections: int) -> Counter[str]:
    one, most = KINDS[kind]
    attack = Attack(port, monotonic() + seconds, 1 + list(KINDS).index(kind))
    async with asyncio.TaskGroup() as group:
        for number in range(connections or most):
            group.create_task(attack.keep(number, lambda n: one(attack, n)))
    return attack.seen


if __name__ == "__main__":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    kind, port, seconds, *connections = sys.argv[1:]
    print(json.dumps(asyncio.run(main(kind, int(port), float(seconds), int(connections[0]) if connections else 0))))
