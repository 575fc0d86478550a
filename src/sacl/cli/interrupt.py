"""Ctrl-C and SIGTERM: one line that says what was kept and how to go on; a second one ends at once."""

from __future__ import annotations

import signal
from collections.abc import Sequence

_RESUME = "Completed epochs are kept: go on with the same command and --resume"
_KEPT = {
    "train": _RESUME,
    "ablate": _RESUME,
    "sweep": _RESUME,
    "demo": "The next demo begins anew",
    "encode": "What is encoded is kept: the same command goes on from there",
    "predict": "What was printed stands; a file named with --out is not written",
    "robustness": "Nothing is kept but encoded texts: the same command begins anew",
    "report": "The report is not written: the same command begins anew",
    "data fetch": "Files that are complete are kept: the same command fetches the others",
    "data convert": "Nothing is written",
    "data import": "Nothing is written",
    "import": "Nothing is written",
}
_FILES = "Results that are complete are kept: the same command goes on from there"
_FINETUNE = "Nothing is kept of the fine-tuning: the same command begins anew"

_told = False


def listen() -> None:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt; Ctrl-C only where whoever started the process lets it be heard."""
    global _told
    _told = False
    for number in (signal.SIGINT, signal.SIGTERM):
        if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)


def was_told() -> bool:
    """Whether one came: what is raised afterwards may be another library's error for it, and follows from it."""
    return _told


def line(arguments: Sequence[str]) -> str:
    """What to tell whoever gave these arguments."""
    words = [word for word in arguments if not word.startswith("-")]
    verb = " ".join(words[:2]) if words[:1] == ["data"] else next(iter(words), "")
    kept = _KEPT.get(verb)
    if verb == "encode" and "--finetune" in arguments:
        kept = _FINETUNE
    if verb == "predict" and any(word.partition("=")[0] == "--ray" for word in arguments):
        kept = _FILES
    return "interrupted" if kept is None else f"interrupted. {kept}"


def _interrupt(*_: object) -> None:
    global _told
    _told = True
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    raise KeyboardInterrupt
