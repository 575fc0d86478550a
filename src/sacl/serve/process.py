"""A service in a process of its own, so that no work of its holds up whoever speaks HTTP."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import suppress
from itertools import count
from typing import Any

from sacl.errors import RunError
from sacl.serve.client import CLIENT
from sacl.serve.errors import Unavailable
from sacl.serve.log import described, log
from sacl.serve.messages import Beat, Call, Outcome, Setup, framed, read_from, received
from sacl.serve.metrics import Metrics

_TICK_SECONDS = 1.0
_SILENT, _PROVEN = 60, 30
"""Ticks. A process that says nothing for so many, as it does every second, is ended and another one begun; one that
lives for so many has not failed."""
_WAIT_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Before another one is begun, the last one having failed once, twice and so on."""
_LOAD_SECONDS, _END_SECONDS = 300.0, 10.0
"""In which it has to be ready, and to end."""
_HOPELESS = 3
"""Failures in a row, after which it is said that it does not go on."""


class Process:
    """A service in a process of its own, begun anew when it ends. To be used within one event loop.

    Args:
        setup: what it is made from.
        metrics: told of its steps.

    Attributes:
        sessions: how many are live there.
    """

    def __init__(self, setup: Setup, metrics: Metrics) -> None:
        self.sessions = 0
        self._setup, self._metrics = setup, metrics
        self._begun: _Begun | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._ids = count()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._failed = 0
        self._task: asyncio.Task[None] | None = None
        self._is_there = asyncio.Event()
        self._was_heard = False

    def __len__(self) -> int:
        """Calls that are not answered yet."""
        return len(self._asked)

    @property
    def is_open(self) -> bool:
        """Whether it takes calls."""
        return self._writer is not None

    @property
    def is_well(self) -> bool:
        """Whether it is there, or has every prospect of being so in a moment."""
        return self._failed < _HOPELESS

    def begin(self) -> None:
        """Begins it; to be called outside of the event loop."""
        if self._begun is None:
            self._begun = _Begun(self._setup)

    def warm_up(self) -> None:
        """Begins it and waits until it is ready; to be called outside of the event loop.

        Raises:
            SaclError: it cannot read the model or the encoder, or it has ended.
        """
        self.begin()
        assert self._begun is not None
        self._begun.wait()

    def start(self) -> None:
        """Takes calls once the process is ready."""
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def is_there(self) -> None:
        """Waits until it was ready once, or failed."""
        await self._is_there.wait()

    async def stop(self) -> None:
        """Waits for the answers that are due, and ends it."""
        self._is_there.set()  # who waits for a process that begins is told that there will be none
        while self._asked:
            await asyncio.wait(self._asked.values())
            await asyncio.sleep(0)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._begun is not None:
            await asyncio.to_thread(self._begun.end)
            self._begun = None

    async def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """What a method of the service gives; cancelled there where it is cancelled here.

        Raises:
            Unavailable: the process is not there. Fault: the method failed. SaclError: as the method raises it.
        """
        if self._writer is None:
            raise _away()
        id, answer = next(self._ids), asyncio.get_running_loop().create_future()
        self._asked[id] = answer
        try:
            self._writer.write(framed(Call(id, CLIENT.get(), method, arguments, options)))
            with suppress(ConnectionError):  # then the process has ended, which the answer tells
                await self._writer.drain()
            return await answer
        except asyncio.CancelledError:
            self._tell(Call(id))
            raise
        finally:
            del self._asked[id]

    def tell(self, method: str, *arguments: Any) -> None:
        """Calls a method that gives nothing, and does not wait for it."""
        self._tell(Call(None, CLIENT.get(), method, arguments))

    def _tell(self, call: Call) -> None:
        if self._writer is not None:
            self._writer.write(framed(call))

    async def _keep(self) -> None:
        while True:
            try:
                await self._live()
            except Exception as error:
                log.error("fault", extra={"fields": described(error)})
            finally:
                self._is_there.set()
                for answer in self._asked.values():
                    if not answer.done():
                        answer.set_exception(_away())
            await asyncio.sleep(_WAIT_SECONDS[min(self._failed, len(_WAIT_SECONDS) - 1)])
            self._failed += 1

    async def _live(self) -> None:
        """From its beginning to its end."""
        listening: asyncio.Task[None] | None = None
        try:
            await asyncio.to_thread(self.warm_up)
            assert self._begun is not None
            reader, self._writer = await asyncio.open_connection(sock=self._begun.socket)
            self._is_there.set()
            listening = asyncio.create_task(self._listen(reader))
            ticks = silent = 0  # not seconds, of which many pass at once where this process stands still
            while not listening.done() and silent < _SILENT:
                await asyncio.wait({listening}, timeout=_TICK_SECONDS)
                ticks += 1
                silent, self._was_heard = 0 if self._was_heard else silent + 1, False
                if ticks == _PROVEN:
                    self._failed = 0
            if listening.done():
                listening.result()
            raise TimeoutError("it says nothing any more")
        finally:
            writer, self._writer = self._writer, None
            if listening is not None:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
            if writer is not None:
                writer.transport.abort()
                # In which the loop closes the socket, which nobody else may while it looks at it.
                await asyncio.sleep(0)
            if self._begun is not None:
                await asyncio.to_thread(self._begun.end)
                self._begun = None

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while True:
            self._take(await received(reader))
            self._was_heard = True

    def _take(self, message: Beat | Outcome) -> None:
        """What the process says. An EOFError: it is not well, and has to end."""
        if isinstance(message, Beat):
            for step in message.steps:
                self._metrics.step(*step)
            self.sessions = message.sessions
            if not message.is_well:
                raise EOFError("it is not well")
            return
        answer = self._asked.get(message.id)
        if answer is None or answer.done():
            return
        if message.error is None:
            answer.set_result(message.result)
        else:
            answer.set_exception(message.error)


class _Begun:
    """A process that was begun, and the socket to it."""

    def __init__(self, setup: Setup) -> None:
        self.socket, theirs = socket.socketpair()
        with theirs:
            # -P: no module of that name in whatever the present folder is; all others where this process finds them.
            command = [sys.executable, "-P", "-m", "sacl.serve.reader", str(theirs.fileno())]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                process_group=0,  # Ctrl-C is for this process; between sessions niceness would count for nothing
            )
        self._setup: Setup | None = setup

    def wait(self) -> None:
        """Until it is ready.

        Raises:
            SaclError: it will not be, or it has ended.
        """
        if self._setup is None:
            return
        try:
            self.socket.settimeout(_LOAD_SECONDS)
            self.socket.sendall(framed(self._setup))
            with self.socket.makefile("rb") as file:
                error = read_from(file)
        except (OSError, EOFError) as ended:
            raise RunError(
                f"a process of the server does not begin ({type(ended).__name__})",
                where="sacl serve",
                remedy="What it said stands above; see also whether the memory suffices",
            ) from None
        self._setup = None
        if error is not None:
            raise error

    def end(self) -> None:
        """Ends it: it goes once nobody speaks to it, and has to."""
        with suppress(OSError):  # it is closed already
            self.socket.shutdown(socket.SHUT_RDWR)  # whoever waits in another thread is told
        self.socket.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _away() -> Unavailable:
    return Unavailable("a part of the server is being started", "Try again in a moment", 5)
