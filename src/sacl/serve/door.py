"""The socket that listens: clients that connect far too often are turned away before anything is made for them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from time import monotonic
from typing import Any

from sacl.serve.client import Proxies, client_of
from sacl.serve.rate import Rate

_AT_ONCE = 16
"""Connections that are turned away in one call, before the event loop looks after others again."""
_CROWD = 64
"""Connections in a row that did wait: whoever comes alone finds nobody before it."""
_CROWD_SECONDS = 1.5
"""For whose connections, at its rate, one client is let in at once then."""
_RESET = struct.pack("ii", 1, 0)
"""Closed so, a connection leaves nothing behind in the system."""


class Door(socket.socket):
    """A listening socket, which lets all in until it has a limit."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rate: Rate | None = None
        self._crowd_rate: Rate | None = None
        self._in_row = 0
        self._proxies = Proxies()

    def limit(self, per_minute: int, proxies: Proxies, clock: Callable[[], float] = monotonic) -> None:
        """From then on lets in so many of one client a minute, in a crowd not all of them at once; of proxies all."""
        self._proxies = proxies
        self._rate = Rate(per_minute, clock)
        self._crowd_rate = Rate(per_minute, clock, at_once=max(1, int(per_minute * _CROWD_SECONDS / 60)))

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection that is let in.

        Raises:
            BlockingIOError: there is none for now.
        """
        for _ in range(_AT_ONCE):
            try:
                one, address = super().accept()
            except BlockingIOError:
                self._in_row = 0
                raise
            self._in_row += 1
            if address in self._proxies or self._is_let_in(client_of(address)):
                return one, address
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            one.close()
        raise BlockingIOError

    def _is_let_in(self, client: str) -> bool:
        if self._rate is None or self._crowd_rate is None:
            return True
        is_refused = self._in_row > _CROWD and self._crowd_rate.wait(client)
        return not (is_refused or self._rate.wait(client))
