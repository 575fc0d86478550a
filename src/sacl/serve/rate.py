"""How often a client may do something."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic


class Rate:
    """So many a minute of each client.

    Args:
        per_minute: how many.
        clock: seconds from any fixed moment.
        at_once: of one that was silent for long; by default those of a minute.
    """

    _CLIENTS = 10_000

    def __init__(self, per_minute: int, clock: Callable[[], float] = monotonic, *, at_once: int | None = None) -> None:
        self._per_minute, self._clock, self._most = per_minute, clock, at_once or per_minute
        self._left: dict[str, tuple[float, float]] = {}  # those who asked longest ago come first

    def wait(self, client: str) -> float:
        """Counts one; the seconds until it would be allowed, 0 if it is."""
        left, now = self._now(client)
        allowed = left >= 1
        self._note(client, left - allowed, now)
        return 0 if allowed else (1 - left) * 60 / self._per_minute

    def charge(self, client: str, number: int) -> None:
        """Counts so many that were allowed already; the client then has to wait, for a minute at most."""
        if number:
            left, now = self._now(client)
            self._note(client, max(left - number, -self._per_minute), now)

    def _now(self, client: str) -> tuple[float, float]:
        now = self._clock()
        left, at = self._left.get(client, (self._most, now))
        return min(self._most, left + (now - at) * self._per_minute / 60), now

    def _note(self, client: str, left: float, now: float) -> None:
        self._left.pop(client, None)
        self._left[client] = (left, now)
        if len(self._left) > self._CLIENTS:
            del self._left[next(iter(self._left))]
