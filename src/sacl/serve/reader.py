"""The process that reads: `python -m sacl.serve.reader DESCRIPTOR` answers calls over that socket; see `process`."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress
from functools import partial

from sacl.errors import SaclError
from sacl.recognizer import EmotionRecognizer
from sacl.serve.client import CLIENT
from sacl.serve.log import described, log, log_to
from sacl.serve.messages import Beat, Call, Fault, Outcome, Setup, framed, received
from sacl.serve.metrics import Metrics
from sacl.serve.service import Service
from sacl.training.trained import TrainedModel

_BEAT_SECONDS = 1.0
_UNWELL = 5
"""Beats in a row, after which there is no more hope."""


class _Noted(Metrics):
    """Steps, until they are told."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[int, int, float]] = []

    def step(self, requests: int, texts: int, seconds: float) -> None:
        """One step of the worker."""
        self.steps.append((requests, texts, seconds))


class _Answering:
    """Calls of methods, each in a task of its own."""

    def __init__(self, service: Service, metrics: _Noted, writer: asyncio.StreamWriter) -> None:
        self._service, self._metrics, self._writer = service, metrics, writer
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Until the other side is gone."""
        beating = asyncio.create_task(self._beat())
        with suppress(EOFError, OSError):
            while True:
                call: Call = await received(reader)
                if call.id is None:
                    getattr(self._service, call.method)(*call.arguments)
                elif call.method:
                    task = self._tasks[call.id] = asyncio.create_task(self._answer(call.id, call))
                    # Not at its own end, which one that is cancelled before its first step does not have.
                    task.add_done_callback(partial(self._forget, call.id))
                elif call.id in self._tasks:
                    self._tasks[call.id].cancel()
        beating.cancel()

    def _forget(self, id: int, _: asyncio.Task[None]) -> None:
        del self._tasks[id]

    async def _answer(self, id: int, call: Call) -> None:
        CLIENT.set(call.client)
        try:
            outcome = framed(Outcome(id, await getattr(self._service, call.method)(*call.arguments, **call.options)))
        except SaclError as error:
            outcome = framed(Outcome(id, error=error))
        except Exception as error:
            log.error("fault", extra={"fields": described(error)})
            outcome = framed(Outcome(id, error=Fault()))  # not the error itself, which may quote a text
        await self._say(outcome)

    async def _beat(self) -> None:
        unwell = 0
        while True:
            unwell = 0 if self._service.is_well else unwell + 1
            steps, self._metrics.steps = self._metrics.steps, []
            await self._say(framed(Beat(steps, len(self._service.sessions), unwell < _UNWELL)))
            await asyncio.sleep(_BEAT_SECONDS)

    async def _say(self, frame: bytes) -> None:
        self._writer.write(frame)
        with suppress(OSError):  # the other side is gone
            await self._writer.drain()


def _service(setup: Setup, metrics: Metrics) -> Service:
    """Raises a SaclError for a model, or an encoder, that cannot be read."""
    recognizer, *causal = (
        EmotionRecognizer(TrainedModel.from_bytes(content, trust_code=setup.trust_code))
        for content in (setup.model, setup.causal)
        if content is not None
    )
    return Service(recognizer, causal[0] if causal else None, setup.limits, metrics, setup.characters)


async def _serve(theirs: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=theirs)
    setup: Setup = await received(reader)
    if setup.niceness and hasattr(os, "nice"):
        os.nice(setup.niceness)
    metrics = _Noted()
    try:
        service = _service(setup, metrics)
        await service.start()
    except SaclError as error:
        writer.write(framed(error))
        await writer.drain()
        return
    writer.write(framed(None))
    await _Answering(service, metrics, writer).run(reader)


def main(descriptor: int) -> None:
    """Answers until the process that began it is gone; signals are for that one."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    log_to(sys.stderr)
    with suppress(EOFError, OSError):
        asyncio.run(_serve(socket.socket(fileno=descriptor)))
    sys.stderr.flush()
    os._exit(0)  # whatever its threads are at, nobody waits for it


if __name__ == "__main__":
    main(int(sys.argv[1]))
