"""The server on its socket: it ends in order, when everything that was accepted is answered."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from sacl.errors import RunError
from sacl.serve.door import Door
from sacl.serve.fairness import FairSelector

if TYPE_CHECKING:  # a port that is in use is to be told before PyTorch is loaded
    from fastapi import FastAPI

    from sacl.serve.client import Proxies
    from sacl.serve.connection import Connections
    from sacl.serve.limits import Limits
    from sacl.serve.service import Service

_AT_ONCE, _QUEUE = 4, 4096
"""Connections that are let in before others are looked after again, and those that the system keeps meanwhile."""
_FILES = 256
"""Descriptors beside those of connections."""
_STREAMS = 1.0
"""Seconds in which the page shows the last answers, before its streams are ended."""
_BODIES = 1.0
"""Seconds in which requests that were begun have to arrive."""
_SLOW = 10.0
"""Seconds in which a client has to fetch its answer, once all are there."""
_GONE = 1.0
"""Seconds in which the tasks of a client end, once its connection is cut."""


def bound(host: str, port: int) -> Door:
    """A socket that listens; port 0 takes any that is free.

    Raises:
        RunError: the port is in use, or the address is not this machine's.
    """
    where = f"{host}, port {port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return Door(fileno=socket.create_server(address[:2], family=family, backlog=512).detach())
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None)
        if number == errno.EADDRINUSE:
            raise RunError("the port is in use", where=where, remedy="Stop what uses it, or give --port 8001") from None
        remedy = "Give a --host of this machine and a --port from 1024 to 65535"
        said = os.strerror(number) if number is not None and number > 0 else str(error)
        raise RunError(f"it cannot be listened at ({said})", where=where, remedy=remedy) from None


def run(app: FastAPI, service: Service, listening: Door, proxies: Proxies) -> None:
    """Answers until SIGTERM or Ctrl-C; then takes no more, answers what was accepted, and returns."""
    from sacl.serve.connection import Connection, Connections

    connections = Connections(_with_descriptors(service.limits), proxies)
    # Twice as many as requests, so that a client that connects for each is refused by an answer, as others are.
    listening.limit(2 * service.limits.requests_per_minute, proxies)
    selector = FairSelector()
    made: Any = partial(Connection, connections, selector.client_of)
    config = uvicorn.Config(
        app,
        http=made,
        loop="asyncio",
        backlog=_AT_ONCE,
        log_config=None,
        log_level=logging.ERROR,  # it warns of every request that is not HTTP
        access_log=False,
        # Whoever else sends them could take another's place in the count of requests.
        proxy_headers=bool(proxies.networks),
        forwarded_allow_ips=[str(network) for network in proxies.networks],
        server_header=False,
        ws="none",
        lifespan="on",
    )
    with asyncio.Runner(loop_factory=partial(asyncio.SelectorEventLoop, selector)) as runner:
        runner.run(_Server(config, app, service, connections).serve(sockets=[listening]))


def _with_descriptors(limits: Limits) -> Limits:
    """With as many connections as the process may have; it asks for more where it has too few."""
    try:
        import resource
    except ImportError:  # another system, which has no such limit
        return limits
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = limits.connections + _FILES
    if 0 <= soft < needed:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed if hard < 0 else min(needed, hard), hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft < 0 or soft >= needed:
        return limits
    return replace(limits, connections=max(1, soft - _FILES))


class _Server(uvicorn.Server):
    """One that ends connections whose client is too slow, and in the end the page's streams, which would last."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, service: Service, connections: Connections) -> None:
        super().__init__(config)
        self._app, self._service, self._connections = app, service, connections

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, and lets the system keep more that wait than are let in at once."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()  # models and modules stay: while a body is parsed nobody is to wait for a look at them
        for one in sockets or []:
            one.listen(_QUEUE)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if counter % 10 == 0:
            self._connections.end_late(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Not as uvicorn does it, which sends itself the signal again in the end; a second Ctrl-C waits no more."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops listening, and waits for answers to go out."""
        ending = asyncio.create_task(self._end())
        await super().shutdown(sockets)
        ending.cancel()

    async def _end(self) -> None:
        self._app.state.bodies.end(_BODIES)
        await self._service.stop()
        await asyncio.sleep(_STREAMS)
        for task in list(self._app.state.streams):
            task.cancel()
        await asyncio.sleep(_SLOW)
        for connection in list(self.server_state.connections):
            connection.transport.abort()  # in order; an exit by force is logged as a failure
        await asyncio.sleep(_GONE)
        self.force_exit = True
