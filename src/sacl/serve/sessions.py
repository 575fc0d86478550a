"""Live sessions: who may still send turns, and for how long."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from sacl.recognizer import Stream
from sacl.serve.client import CLIENT
from sacl.serve.errors import LimitError, SessionGone, TooManySessions
from sacl.serve.limits import Limits

_LOOK_SECONDS = 1.0
"""How often, where there are too many, it is looked for those that are old."""


@dataclass(eq=False, slots=True)
class Session:
    """One live conversation.

    Args:
        stream: its state.
        client: who opened it.
        opened, used: moments of the clock.
        order: held while a turn is read.
        speakers: names that were heard.
    """

    stream: Stream
    client: str
    opened: float
    used: float
    order: asyncio.Lock = field(default_factory=asyncio.Lock)
    speakers: set[str] = field(default_factory=set)


class Sessions:
    """The sessions of one process, within limits.

    Args:
        limits: how many, how old, how long.
        clock: seconds from any fixed moment.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = monotonic) -> None:
        self._limits, self.clock = limits, clock
        self._sessions: dict[str, Session] = {}  # those that were used longest ago come first
        self._of = Counter[str]()
        self._looked = clock()

    def __len__(self) -> int:
        self._forget()
        return len(self._sessions)

    def open(self, stream: Stream) -> str:
        """The id of a new one; where there are too many, the client that has most loses the one it used longest ago.

        Raises:
            TooManySessions: that client is the one that asks.
        """
        client, now = CLIENT.get(), self.clock()
        if len(self._sessions) >= self._limits.sessions and now - self._looked >= _LOOK_SECONDS:
            self._forget()
        if len(self._sessions) >= self._limits.sessions:
            self._make_room(client)
        id = secrets.token_urlsafe(32)
        self._sessions[id] = Session(stream, client, now, now)
        self._of[client] += 1
        return id

    def find(self, id: str) -> Session:
        """The session of that id.

        Raises:
            SessionGone: there is none (any more).
        """
        session = self._sessions.get(id)
        if session is not None and self._is_old(session):
            self._drop(id)
            session = None
        if session is None:
            raise SessionGone
        return session

    def close(self, id: str) -> None:
        """Forgets it; SessionGone if there is none."""
        self.find(id)
        self._drop(id)

    def check(self, id: str, speaker: str) -> None:
        """Whether it may take another turn of this speaker, and notes that it is used.

        Raises:
            SessionGone: it was closed meanwhile. LimitError: it has too many turns or speakers.
        """
        session, limits = self.find(id), self._limits
        remedy = "Open another session"
        if session.stream.turns >= limits.session_turns:
            raise LimitError(f"the session has {limits.session_turns} turns, which are the most", remedy=remedy)
        if speaker not in session.speakers and len(session.speakers) >= limits.session_speakers:
            raise LimitError(f"the session has {limits.session_speakers} speakers, which are the most", remedy=remedy)
        session.used = self.clock()
        self._sessions[id] = self._sessions.pop(id)

    def _make_room(self, client: str) -> None:
        crowd, most = self._of.most_common(1)[0]
        if most <= self._of[client] + 1:
            raise TooManySessions(len(self._sessions))
        self._drop(next(id for id, session in self._sessions.items() if session.client == crowd))

    def _drop(self, id: str) -> None:
        client = self._sessions.pop(id).client
        self._of[client] -= 1
        if not self._of[client]:
            del self._of[client]

    def _forget(self) -> None:
        self._looked = self.clock()
        for id in [id for id, session in self._sessions.items() if self._is_old(session)]:
            self._drop(id)

    def _is_old(self, session: Session) -> bool:
        now, limits = self.clock(), self._limits
        return now - session.used > limits.session_idle_seconds or now - session.opened > limits.session_seconds
