"""Who comes first where several wait: nobody's one request stands behind the many of another client."""

from __future__ import annotations

import selectors
from time import perf_counter

_PASS_SECONDS = 0.001
"""About what the events of one pass of the event loop may take; an answer takes a dozen passes."""
_EVENT_SECONDS, _LONGEST_SECONDS = 2e-4, 2e-3
"""What one is taken to cost at first, and at most."""
_CLIENTS = 10_000


class VirtualTime:
    """Start-time fair queueing (Goyal, Vin and Cheng 1996): each of the clients that wait gets the same seconds.

    A request stands where its client's last one ended, or at the present if that is later: whoever asks for less than
    its share is next, and what it left unused before is no claim.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._ends: dict[str, float] = {}

    def stands(self, client: str) -> tuple[float, float]:
        """Where its next request stands, and of those that stand there the client that has waited longest first."""
        end = self._ends.get(client, 0.0)
        return max(self._now, end), end

    def served(self, client: str) -> None:
        """Its turn has come."""
        self._now, _ = self.stands(client)

    def used(self, client: str, seconds: float) -> None:
        """That is what it took."""
        self._ends[client] = self.stands(client)[0] + seconds
        if len(self._ends) > _CLIENTS:
            self._ends = {one: end for one, end in self._ends.items() if end > self._now}

    def rest(self) -> None:
        """Nobody waits: what was used until now is at nobody's expense."""
        self._now = 0.0
        self._ends.clear()


class FairSelector(selectors.DefaultSelector):
    """Gives the event loop a few events at a time, in the order of virtual time.

    What is no client's own comes before all: new connections, and results of other threads.

    Attributes:
        client_of: whose a socket is, by its descriptor.
    """

    def __init__(self) -> None:
        super().__init__()
        self._time = VirtualTime()
        self.client_of: dict[int, str] = {}
        self._given: list[str] = []
        self._begun = perf_counter()
        self._cost = _EVENT_SECONDS

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As a selector does; what is left for later is given again."""
        self._note(perf_counter() - self._begun)
        ready = super().select(timeout)
        if len(ready) > 1:
            ready = self._first(ready)
        self._given = [self.client_of[key.fd] for key, _ in ready if key.fd in self.client_of]
        if self._given:
            self._time.served(self._given[0])
        self._begun = perf_counter()
        return ready

    def _first(self, ready: list[tuple[selectors.SelectorKey, int]]) -> list[tuple[selectors.SelectorKey, int]]:
        names = [self.client_of.get(key.fd) for key, _ in ready]
        order = [(-1.0, 0.0) if name is None else self._time.stands(name) for name in names]
        most = max(1, int(_PASS_SECONDS / self._cost)) + names.count(None)
        return [ready[i] for i in sorted(range(len(ready)), key=order.__getitem__)[:most]]

    def _note(self, seconds: float) -> None:
        """Counts a pass to those whose events it was for."""
        if not self._given:
            return
        # Others' tasks run in a pass too, and the machine may stand still in it.
        each = min(seconds / len(self._given), _LONGEST_SECONDS)
        self._cost += 0.05 * (each - self._cost)
        for client in self._given:
            self._time.used(client, each)
