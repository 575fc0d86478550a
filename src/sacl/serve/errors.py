"""What a client is told beside the errors of the library: each class is one status of HTTP."""

from __future__ import annotations

from sacl.errors import SaclError


class LimitError(SaclError):
    """More than `Limits` allow (422)."""


class SessionGone(SaclError):
    """A live session that is unknown, closed, or expired (410)."""

    def __init__(self) -> None:
        super().__init__(
            "there is no such session: it was closed, has expired, or the server was started anew",
            remedy="Open a session and send its turns again",
        )


class NoLiveModel(SaclError):
    """Live turns, and no causal model to read them (501)."""

    def __init__(self) -> None:
        super().__init__(
            "this server has no causal model, so it cannot read a conversation that goes on",
            remedy="Send the whole conversation to /v1/predict, or start with `sacl serve --causal MODEL`",
        )


class Unavailable(SaclError):
    """Not now (503): too many requests wait, or the server is stopping.

    Args:
        retry_seconds: when to try again.
    """

    def __init__(self, found: str, remedy: str, retry_seconds: int) -> None:
        super().__init__(found, remedy=remedy)
        self.retry_seconds = retry_seconds


class TooManySessions(Unavailable):
    """Another live session beside those that are open (429)."""

    def __init__(self, open: int) -> None:
        super().__init__(f"{open} sessions are open, which are the most", "Close one, or try again later", 60)
