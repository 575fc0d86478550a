"""The socket that listens: clients that connect far too often are turned away before anything is made for them."""

from __future__ import annotations

import socket
import struct
from typing import Any

from sacl.serve.client import client_of
from sacl.serve.rate import Rate

_AT_ONCE = 16
"""Connections that are turned away in one call, before the event loop looks after others again."""
_CROWD = 64
"""Connections in a row that did wait: whoever comes alone finds nobody before it."""
_A_MINUTE, _AT_FIRST = 2_400, 60
"""Connections that one client is let in with then."""
_RESET = struct.pack("ii", 1, 0)
"""Closed so, a connection leaves nothing behind in the system."""


class Door(socket.socket):
    """A listening socket.

    Attributes:
        rate: of new connections; None lets all in.
    """

    rate: Rate | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_crowd = Rate(_A_MINUTE, at_once=_AT_FIRST)
        self._in_row = 0

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
            if self.rate is None or self._is_let_in(self.rate, client_of(address)):
                return one, address
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            one.close()
        raise BlockingIOError

    def _is_let_in(self, rate: Rate, client: str) -> bool:
        return not ((self._in_row > _CROWD and self._in_crowd.wait(client)) or rate.wait(client))
