"""How much a client may ask for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server takes on; whatever is beyond it is refused with a clear answer.

    They bound what clients can make it hold: bodies of `arriving` times `body_bytes` that are on their way (and some
    0.2 MB a connection), as much again of long requests that are read or wait to be, `waiting` short ones, and 1.5 kB a
    speaker of live sessions. What is parsed of a body takes several times its size.
    """

    body_bytes: int = 4 * 2**20
    """Of one request, counted as they arrive."""
    connections: int = 1_000
    """At the same time; of one client a fourth. Where there is no room, the one that waits longest is cut."""
    head_seconds: float = 15
    """In which the head of a request has to arrive, from the connection or the last answer on."""
    answer_seconds: float = 60
    """In which a client has to fetch what is written for it."""
    body_seconds: float = 30
    """In which a request has to arrive."""
    arriving: int = 16
    """Times `body_bytes`: what requests that have not arrived yet may hold together, and long ones that have."""
    conversations: int = 100
    """Of one request."""
    turns: int = 5_000
    """Of one conversation."""
    text_characters: int = 10_000
    """Of one turn; an encoder reads no more than the first 1,000 or so."""
    speaker_characters: int = 200
    """Of a speaker's name, or of an id."""
    neighbours: int = 500
    """Turns whose influence one request may ask for."""
    requests_per_minute: int = 1_200
    """Of one client, told by its address; a page takes some 100 to open."""
    sessions: int = 1_000
    """Live at the same time."""
    session_idle_seconds: float = 1_800
    """After its last turn a session is forgotten."""
    session_seconds: float = 86_400
    """After it was opened a session is forgotten, whatever happens in it."""
    session_turns: int = 10_000
    """Of one session."""
    session_speakers: int = 200
    """Of one session; each costs about 1 KiB."""
    waiting: int = 256
    """Requests that are accepted and not answered yet, of short ones and of long ones each."""
    together: int = 64
    """Most requests that are read in one batch; 1 reads them one after another."""
