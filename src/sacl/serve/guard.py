"""What stands before every route, the page's own included: who may ask, how much, and how often.

Plain ASGI: responses are never held back, and request bodies are counted as they stream; see `bodies`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
from collections.abc import Callable, Iterable
from functools import partial
from math import ceil
from time import monotonic
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sacl.serve.answers import refusal
from sacl.serve.bodies import Bodies, Body, Refused
from sacl.serve.client import CLIENT, client_of
from sacl.serve.rate import Rate
from sacl.serve.turns import Turns

_HELD = 2.0
"""Seconds for which the answer to one request too many is held: a flood waits, and costs next to nothing."""


class Guard:
    """Checks rate, host, origin, token, and size of every request.

    Args:
        app: what is guarded.
        token: what a client has to know; None lets everybody in.
        hosts: names under which the server is asked for. Another name in `Host` may be a page that was led here by
            DNS. With 0.0.0.0 or :: among them every address is allowed as well, for an address is no name.
        bodies: those of all requests; their limits say how many requests one client, told by its address, may send.
        clock: seconds from any fixed moment.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str | None,
        hosts: Iterable[str],
        bodies: Bodies,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._app, self._bodies = app, bodies
        self._token = None if token is None else token.encode()
        self._hosts = {host.lower().strip("[]") for host in hosts}
        self._any_address = not self._hosts.isdisjoint({"0.0.0.0", "::"})
        self._rate, self._turns = Rate(bodies.limits.requests_per_minute, clock), Turns()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":  # no route has one
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            client = client_of(scope.get("client"))
            charge = scope["sacl.charge"] = partial(self._rate.charge, client)
            headers, body = Headers(scope=scope), Body(self._bodies, receive, charge)
            CLIENT.set(client)
            try:
                await self._check_rate(client)
                await self._turns.wait(client)
                self._check_host(headers)
                self._check_token(scope, headers)
                if int(headers.get("content-length", 0)) > self._bodies.limits.body_bytes:
                    if "expect" not in headers:  # else the client waits for leave to send it
                        await body.drain()
                    raise Refused(body.too_large())
            except Refused as refused:
                await refused.answer(scope, receive, send)
            else:
                await self._counted(scope, body, send)

    async def _counted(self, scope: Scope, body: Body, send: Send) -> None:
        """The app, whose request ends where its body is refused; then its own answer to that is not sent."""
        has_begun = False

        async def sending(message: Message) -> None:
            nonlocal has_begun
            if body.refusal is not None and not has_begun:
                return
            has_begun = True
            await send(message)

        try:
            await self._app(scope, body.receive, sending)
        except Exception:
            if body.refusal is None:
                raise
        finally:
            body.release()
        if body.refusal is not None and not has_begun:
            await body.drain()
            await body.refusal(scope, body.receive, send)

    def _check_host(self, headers: Headers) -> None:
        host = headers.get("host", "").lower()
        name = _hostname(host)
        if name not in self._hosts and not (self._any_address and _is_address(name)):
            raise Refused(
                refusal(
                    403,
                    "this server does not go by the name that the request asks for",
                    where="Host",
                    remedy="Use its own address, or start it with `sacl serve --allow-host NAME`",
                )
            )
        origin = headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != host:
            raise Refused(
                refusal(
                    403,
                    "the request comes from a page of another site",
                    where="Origin",
                    remedy="Ask from the server's own page, or from a program",
                )
            )

    async def _check_rate(self, client: str) -> None:
        wait = self._rate.wait(client)
        if wait:
            await asyncio.sleep(_HELD)
            raise Refused(
                refusal(
                    429,
                    "too many requests in a minute",
                    remedy=f"Try again in {ceil(wait)} s; several conversations can go into one request",
                    headers={"retry-after": str(ceil(wait)), "connection": "close"},
                )
            )

    def _check_token(self, scope: Scope, headers: Headers) -> None:
        if self._token is None:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token):
            return
        # Not the token itself: what a browser keeps opens this server only.
        secret = hmac.new(self._token, b"sacl serve: page", hashlib.sha256).hexdigest()
        name = f"sacl-{(scope.get('server') or ('', 0))[1]}"  # cookies know no ports, so the name has to
        for line in headers.getlist("cookie"):
            if hmac.compare_digest(cookie_parser(line).get(name, "").encode(), secret.encode()):
                return
        if scope["path"] == "/" and scope["method"] == "GET":
            query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
            if hmac.compare_digest(query.get("token", "").encode(), self._token):
                # Not left in the address bar.
                answer = RedirectResponse("/", 303, {"cache-control": "no-store"})
                answer.set_cookie(name, secret, httponly=True, samesite="strict", secure=scope["scheme"] == "https")
                raise Refused(answer)
        raise Refused(
            refusal(
                401,
                "the request has no token, or a wrong one",
                where="Authorization",
                remedy="Send the header `Authorization: Bearer TOKEN`; in a browser open /?token=TOKEN once",
                headers={"www-authenticate": "Bearer"},
            )
        )


def _hostname(host: str) -> str:
    """Without the port; an address of IPv6 without its brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
