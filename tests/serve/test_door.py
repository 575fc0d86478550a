"""Who asks, how often a client may, and the socket that turns away those that come too often."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("fastapi", reason="fastapi is not installed (extra serve)")

from sacl.serve import door
from sacl.serve.client import Proxies, client_of
from sacl.serve.rate import Rate
from sacl.serve.server import bound


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_a_subscriber_of_ipv6_is_one_client_whatever_address_it_takes(address: object, rest: int) -> None:
    import ipaddress

    own = ipaddress.IPv6Address(int(address) >> 64 << 64 | rest)  # type: ignore[call-overload]
    one, other = (client_of((str(a), 1)) for a in (address, own))
    assert one == other or own.ipv4_mapped or ipaddress.IPv6Address(str(address)).ipv4_mapped


@given(st.ip_addresses(v=4))
def test_an_address_of_ipv4_is_the_same_client_when_it_comes_as_ipv6(address: object) -> None:
    assert client_of((str(address), 1)) == client_of((f"::ffff:{address}", 2)) == str(address)


def test_an_address_with_a_zone_and_none_at_all_are_clients() -> None:
    assert client_of(("fe80::1%eth0", 1)) == client_of(("fe80::2", 1)) == "fe80::"
    assert client_of(None) == ""


def test_what_a_request_costs_beside_itself_is_paid_later_but_not_for_ever() -> None:
    now = [0.0]
    rate = Rate(60, lambda: now[0])
    assert rate.wait("a") == 0
    rate.charge("a", 0)
    rate.charge("a", 10**6)
    assert rate.wait("a") == pytest.approx(61)
    assert rate.wait("b") == 0
    now[0] += 61
    assert rate.wait("a") == 0


@given(st.integers(1, 100), st.lists(st.tuples(st.floats(0, 5), st.integers(0, 3)), max_size=50))
def test_no_client_gets_more_than_its_minutes_worth(per_minute: int, asks: list[tuple[float, int]]) -> None:
    now = [0.0]
    rate, allowed = Rate(per_minute, lambda: now[0]), 0
    for pause, charge in asks:
        now[0] += pause
        allowed += rate.wait("a") == 0
        rate.charge("a", charge)
    assert allowed <= per_minute * (1 + now[0] / 60) + 1e-6


def test_those_that_connect_too_often_are_reset_and_others_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "_AT_ONCE", 3)
    with bound("127.0.0.1", 0) as listening, ExitStack() as stack:
        listening.setblocking(False)
        listening.limit(2, Proxies(), lambda: 0.0)

        def connect(address: str, number: int) -> list[socket.socket]:
            some = [stack.enter_context(socket.socket()) for _ in range(number)]
            for one in some:
                one.bind((address, 0))
                one.connect(listening.getsockname())
            return some

        crowd, other = connect("127.0.0.2", 7), connect("127.0.0.3", 1)
        let_in = [stack.enter_context(listening.accept()[0]) for _ in range(2)]
        for _ in range(2):  # three at a time, so that the loop looks after others meanwhile
            try:
                let_in.append(stack.enter_context(listening.accept()[0]))
            except BlockingIOError:
                continue
        assert [one.getpeername()[0] for one in let_in] == ["127.0.0.2", "127.0.0.2", "127.0.0.3"]
        assert let_in[-1].getpeername() == other[0].getsockname()
        for one in crowd[2:]:
            one.settimeout(5)
            with pytest.raises(ConnectionResetError):
                one.recv(1)


def test_without_a_rate_everybody_is_let_in() -> None:
    with bound("127.0.0.1", 0) as listening, ExitStack() as stack:
        some = [stack.enter_context(socket.create_connection(listening.getsockname())) for _ in range(20)]
        found = {stack.enter_context(listening.accept()[0]).getpeername() for _ in some}
        assert found == {one.getsockname() for one in some}


def test_a_proxy_connects_as_often_as_it_likes() -> None:
    with bound("127.0.0.1", 0) as listening, ExitStack() as stack:
        listening.limit(1, Proxies(["127.0.0.1"]), lambda: 0.0)
        some = [stack.enter_context(socket.create_connection(listening.getsockname())) for _ in range(20)]
        found = {stack.enter_context(listening.accept()[0]).getpeername() for _ in some}
        assert found == {one.getsockname() for one in some}
