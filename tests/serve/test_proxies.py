"""Behind a proxy: who asks is who it names, and nobody else's word is taken for that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed (extra serve)")

import httpx

from sacl.cli import app as command
from sacl.errors import RunError
from sacl.recognizer import EmotionRecognizer
from sacl.serve import guard
from sacl.serve.app import create_app
from sacl.serve.client import Proxies
from sacl.serve.limits import Limits
from sacl.serve.service import Service

PROXY, OTHER = "127.0.0.1", "127.0.0.2"
FEW = 3


@pytest.fixture
def port(listening: Any, recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Of a server that takes three requests a minute of one client."""
    monkeypatch.setattr(guard, "_HELD", 0.0)
    with listening(Service(recognizer, None, Limits(requests_per_minute=FEW)), proxies=[PROXY]) as number:
        yield number


@contextmanager
def client(port: int, address: str) -> Iterator[httpx.Client]:
    transport = httpx.HTTPTransport(local_address=address)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=transport) as made:
        yield made


def asked(one: httpx.Client, by: str | None, times: int = 1) -> list[int]:
    headers = {} if by is None else {"x-forwarded-for": by.encode()}
    return [one.get("/health", headers=headers).status_code for _ in range(times)]


def test_each_of_those_behind_a_proxy_has_its_own_rate(port: int) -> None:
    with client(port, PROXY) as proxy:
        assert asked(proxy, "10.0.0.1", FEW + 1) == [200] * FEW + [429]
        assert asked(proxy, "10.0.0.2", FEW + 1) == [200] * FEW + [429]
        assert asked(proxy, "2001:db8::1", FEW) == [200] * FEW
        assert asked(proxy, "[2001:db8::2]:4711") == [429]  # of the same network
        # What stands before the last name is what the client itself has sent.
        assert asked(proxy, "10.0.0.77, 10.0.0.1") == [429]
        assert asked(proxy, "10.0.0.1, 10.0.0.77") == [200]


def test_what_is_no_address_is_one_client(port: int) -> None:
    with client(port, PROXY) as proxy:
        names = ["unknown", "::x", "9" * 5000, "\u00fc", "10.0.0", "<b>"]
        assert [asked(proxy, name)[0] for name in names] == [200] * FEW + [429] * (len(names) - FEW)
        assert asked(proxy, None) == [200]  # the proxy itself


def test_nobody_else_is_believed(port: int) -> None:
    with client(port, OTHER) as other, client(port, PROXY) as proxy:
        assert [asked(other, f"10.0.0.{i}")[0] for i in range(FEW + 1)] == [200] * FEW + [429]
        assert asked(proxy, "10.0.0.0") == [200]


def test_without_proxies_nobody_is_believed(
    listening: Any, recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_HELD", 0.0)
    service = Service(recognizer, None, Limits(requests_per_minute=FEW))
    with listening(service) as number, client(number, PROXY) as one:
        assert [asked(one, f"10.0.0.{i}")[0] for i in range(FEW + 1)] == [200] * FEW + [429]


@pytest.mark.parametrize(("address", "left"), [(PROXY, 8), (OTHER, 2)])
def test_a_proxy_may_have_all_connections_and_another_a_fourth(
    listening: Any, recognizer: EmotionRecognizer, address: str, left: int
) -> None:
    with (
        listening(Service(recognizer, None, Limits(connections=8)), proxies=[PROXY]) as port,
        ExitStack() as stack,
    ):
        some = [HTTPConnection("127.0.0.1", port, 10, source_address=(address, 0)) for _ in range(8)]
        for one in some:
            stack.callback(one.close)
            assert answers(one)
        assert sum(answers(one) for one in some) == left


def answers(one: HTTPConnection) -> bool:
    try:
        one.request("GET", "/health")
        return bool(one.getresponse().read())
    except ConnectionError:
        return False


def test_a_cookie_is_for_https_alone_where_the_proxy_speaks_it(listening: Any, recognizer: EmotionRecognizer) -> None:
    service = Service(recognizer, None, Limits())
    app = create_app(service, token="sesame", page=False)
    with listening(service, app, proxies=[PROXY]) as port, client(port, PROXY) as proxy, client(port, OTHER) as other:
        for one, by, is_secure in ((proxy, "https", True), (proxy, "http", False), (other, "https", False)):
            answer = one.get("/?token=sesame", headers={"x-forwarded-proto": by})
            assert answer.status_code == 303
            assert ("secure" in answer.headers["set-cookie"].lower()) is is_secure


@pytest.mark.parametrize("given", ["", "here", "10.0.0.1/8", "10.0.0.0/99", "::g", "*", "127.0.0.1,127.0.0.2"])
def test_what_is_no_address_of_a_proxy_is_told(given: str) -> None:
    with pytest.raises(RunError, match="neither an address nor a network"):
        command(["serve", "--proxy", given], standalone_mode=False)
    assert ("127.0.0.1", 1) not in Proxies()
