"""Connections: room for whoever asks and reads, whatever others hold open; and an end to those that keep it waiting."""

from __future__ import annotations

import json
import re
import select
import socket
from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("fastapi", reason="fastapi is not installed (extra serve)")

from sacl.recognizer import EmotionRecognizer
from sacl.serve.client import Proxies
from sacl.serve.connection import Connections
from sacl.serve.limits import Limits
from sacl.serve.service import Service

PATIENCE = 30


class One:
    """As much of a connection as `Connections` looks at."""

    def __init__(self, address: str, since: int, is_waiting: bool, cut: list[One]) -> None:
        self.address, self.since, self.is_waiting = address, since, is_waiting
        self.transport = self
        self._cut = cut

    def abort(self) -> None:
        self._cut.append(self)


@settings(max_examples=50)
@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.sampled_from("aaaabcd"), st.booleans()), max_size=120),
    st.randoms(use_true_random=False),
)
def test_there_is_always_room_and_nobody_holds_more_than_a_fourth(
    most: int, comers: list[tuple[str, bool]], draw: Any
) -> None:
    cut: list[One] = []
    all, here = Connections(Limits(connections=most), Proxies()), list[One]()
    for since, (address, is_waiting) in enumerate(comers):
        new = One(address, since, True, cut)
        all.add(new)  # type: ignore[arg-type]
        here = [one for one in [*here, new] if one not in cut]
        assert len(all) == len(here) <= max(most, 1)
        assert max(Counter(one.address for one in here).values(), default=0) <= max(1, most // 4)
        assert new in here or not any(one.is_waiting for one in here if one.address == address)
        new.is_waiting = is_waiting
        if here and draw.random() < 0.1:
            all.discard(here.pop())  # type: ignore[arg-type]
    for one in [*here, *cut]:
        all.discard(one)  # type: ignore[arg-type]
    assert len(all) == 0
    assert all._of == {}


def test_those_are_cut_first_that_kept_the_server_waiting_longest() -> None:
    cut: list[One] = []
    all = Connections(Limits(connections=80), Proxies())
    crowd = [One("a", since, is_waiting=since != 1, cut=cut) for since in range(20)]
    other = One("b", -1, True, cut)
    for one in [other, *crowd, One("a", 99, True, cut)]:
        all.add(one)  # type: ignore[arg-type]
    assert cut == [crowd[0], crowd[2], crowd[3]]  # a tenth and one; another client's stays, and one that is answered


def test_a_crowd_of_many_clients_is_cut_by_age_alone() -> None:
    cut: list[One] = []
    all = Connections(Limits(connections=30), Proxies())
    some = [One(f"client {i}", i, True, cut) for i in range(31)]
    for one in some:
        all.add(one)  # type: ignore[arg-type]
    assert cut == some[: len(cut)]
    assert 0 < len(cut) < 6


def test_a_new_client_is_let_in_where_many_hold_all_connections_and_all_are_being_answered() -> None:
    cut: list[One] = []
    all = Connections(Limits(connections=80), Proxies())
    for i in range(80):
        all.add(One(f"client {i % 16}", i, False, cut))  # type: ignore[arg-type]
    new = One("new", 99, True, cut)
    all.add(new)  # type: ignore[arg-type]
    assert len(all) == 80
    assert len(cut) == 1
    assert new not in cut


@pytest.fixture
def port(listening: Any, recognizer: EmotionRecognizer, request: pytest.FixtureRequest) -> Any:
    limits = Limits(head_seconds=0.3, answer_seconds=0.3, **getattr(request, "param", {}))
    with listening(Service(recognizer, None, limits)) as number:
        yield number


def spoken(port: int, said: bytes, options: dict[int, int] | None = None) -> socket.socket:
    one = socket.socket()
    for name, value in (options or {}).items():
        one.setsockopt(socket.SOL_SOCKET, name, value)
    one.settimeout(PATIENCE)
    one.connect(("127.0.0.1", port))
    one.sendall(said)
    return one


def read(one: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    found = b""
    try:
        while piece := one.recv(2**16):
            found += piece
    except ConnectionResetError:
        found += b"reset"
    one.close()
    return found


def refusal(said: bytes) -> tuple[int, dict[str, str]]:
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    assert b"traceback" not in said.lower()
    return int(head.split()[1]), json.loads(body)["error"]


def test_whoever_says_nothing_is_let_go_without_a_word(port: int) -> None:
    assert read(spoken(port, b"")) == b""


@pytest.mark.parametrize("said", [b"G", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: a"])
def test_a_head_that_does_not_end_is_refused(port: int, said: bytes) -> None:
    status, error = refusal(read(spoken(port, said)))
    assert (status, error["remedy"]) == (408, "Send it in one piece")
    assert "0.3 s" in error["found"]


def test_a_head_that_drips_does_not_gain_time_by_it(port: int) -> None:
    one, begun = spoken(port, b"GET /health HTTP/1.1\r\nX-A: "), monotonic()
    one.settimeout(0.05)
    found = b""
    while not found:
        assert monotonic() - begun < PATIENCE
        try:
            one.sendall(b"a")
            found = one.recv(1000)
        except TimeoutError:
            continue
    assert b" 408 " in found
    one.close()


def test_an_answer_that_is_not_fetched_ends_the_connection(port: int) -> None:
    one = spoken(port, b"", {socket.SO_RCVBUF: 2048})
    one.settimeout(0.2)
    try:
        while True:  # until the server reads no more, since its answers stay unread
            one.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
    except TimeoutError:
        pass
    except (ConnectionResetError, BrokenPipeError):
        one.close()
        return
    cut = select.poll()
    cut.register(one, 0)  # told of its end alone: whoever reads has fetched something
    assert cut.poll(PATIENCE * 1000)
    one.settimeout(PATIENCE)
    assert read(one).endswith(b"reset")


NOT_HTTP = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "two lengths": b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    "a length below zero": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: a.example\r\n\r\n",
    "folded": b"GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "a long head": b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 100_000,
    "a bad chunk": b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "nul": b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("said", NOT_HTTP.values(), ids=NOT_HTTP)
def test_what_is_not_http_is_refused_in_the_shape_of_every_error(
    port: int, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    status, error = refusal(read(spoken(port, said)))
    assert (status, error["found"]) == (400, "the request is not HTTP")
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 400), st.integers(0, 3), st.binary(max_size=3) | st.sampled_from([b"\r\n", b":", b" "])
        ),
        max_size=6,
    ),
    st.integers(1, 400),
)
def test_whatever_bytes_are_sent_the_answers_are_results_or_refusals(
    exchange: Callable[[bytes, int], bytes], changes: list[tuple[int, int, bytes]], piece: int
) -> None:
    body = json.dumps({"utterances": [{"speaker": "Ann", "text": "we had cake"}]}).encode()
    said = bytearray()
    for path in (b"/v1/predict", b"/v1/influence"):
        head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" % path
        said += head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    for at, length, new in changes:
        said[at : at + length] = new
    rest = exchange(bytes(said), piece)
    while rest and rest != b"reset":
        head, _, rest = rest.partition(b"\r\n\r\n")
        status = int(re.match(rb"HTTP/1\.1 (\d{3}) ", head)[1])  # type: ignore[index]
        length = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]
        answer, rest = json.loads(rest[:length]), rest[length:]
        assert status in (200, 400, 403, 404, 405, 408, 413, 422), answer
        if status != 200:
            assert set(answer["error"]) == {"found", "where", "remedy"}


@pytest.fixture(scope="module")
def exchange(listening: Any, trained: Any, encoder: Any) -> Any:
    """exchange(bytes, size of a piece): all that a server answers to them."""
    limits = Limits(requests_per_minute=10**6, head_seconds=0.5, body_seconds=0.5)
    with listening(Service(EmotionRecognizer(trained(), encoder), None, limits)) as number:

        def both(said: bytes, piece: int) -> bytes:
            one = spoken(number, b"")
            try:
                for start in range(0, len(said), piece):
                    one.sendall(said[start : start + piece])
                one.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the server has closed it: it answers first
            return read(one)

        yield both
