"""The socket that listens: clients that connect far too often are turned away before anything is made for them."""

from __future__ import annotations

import socket
import struct
from typing import Any

from sacl.serve.client import client_of
from sacl.serve.rate import Rate

_AT_ONCE = 16
"""Connections that are turned away in one call; the event loop makes up to 64 before it looks after others again."""
_RESET = struct.pack("ii", 1, 0)
"""Closed so, a connection leaves nothing behind in the system."""


class Door(socket.socket):
    """A listening socket.

    Attributes:
        rate: of new connections; None lets all in.
    """

    rate: Rate | None = None

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection that is let in.

        Raises:
            BlockingIOError: there is none for now.
        """
        for _ in range(_AT_ONCE):
            one, address = super().accept()
            if self.rate is None or not self.rate.wait(client_of(address)):
                return one, address
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            one.close()
        raise BlockingIOError
