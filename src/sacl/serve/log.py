"""Logs as JSON lines: what was asked for and what it took, never what people said."""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from typing import TextIO

log = logging.getLogger("sacl.serve")


class JsonLines(logging.Formatter):
    """One JSON object a record; of an exception its type and place, since its message may quote a text."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's fields: `time`, `level`, `logger`, `event`, and those given as `extra={"fields": {...}}`."""
        content = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            # Other libraries put what they were handed into further lines, and into arguments.
            "event": (record.getMessage() if record.name == log.name else str(record.msg)).partition("\n")[0],
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            content |= described(record.exc_info[1])
        return json.dumps(content)


def described(error: BaseException) -> dict[str, str]:
    """Type and place of an exception."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return {"error": type(error).__name__, "at": place}


def log_to(stream: TextIO) -> None:
    """Sends every log of the process to a stream: requests from `info` on, the rest from `warning` on."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    log.setLevel(logging.INFO)
