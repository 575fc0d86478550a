"""A service in a process of its own, so that no work of its holds up whoever speaks HTTP."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from contextlib import suppress
from itertools import count
from typing import Any

from sacl.errors import SaclError
from sacl.serve.client import CLIENT
from sacl.serve.errors import Unavailable
from sacl.serve.log import described, log
from sacl.serve.messages import Beat, Call, Outcome, Setup, framed, read_from, received
from sacl.serve.metrics import Metrics

_SILENT_SECONDS = 60.0
"""A process that says nothing for so long, as it does every second, is ended, and another one begun."""
_WAIT_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Before another one is begun, the last one having failed once, twice and so on."""
_END_SECONDS = 10.0


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

    def __len__(self) -> int:
        """Calls that are not answered yet."""
        return len(self._asked)

    @property
    def is_well(self) -> bool:
        """Whether it is there, or has every prospect of being so in a moment."""
        return self._failed < len(_WAIT_SECONDS) and (self._task is None or not self._task.done())

    def begin(self) -> None:
        """Begins it; to be called outside of the event loop."""
        if self._begun is None:
            self._begun = _Begun(self._setup)

    def warm_up(self) -> None:
        """Begins it and waits until it is ready; to be called outside of the event loop.

        Raises:
            SaclError: it cannot read the model or the encoder. EOFError, OSError: it has ended.
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
            except (SaclError, OSError, EOFError, TimeoutError) as error:
                log.error("fault", extra={"fields": described(error)})
            self._is_there.set()
            for answer in self._asked.values():
                if not answer.done():
                    answer.set_exception(_away())
            await asyncio.sleep(_WAIT_SECONDS[min(self._failed, len(_WAIT_SECONDS) - 1)])
            self._failed += 1

    async def _live(self) -> None:
        """From its beginning to its end."""
        try:
            await asyncio.to_thread(self.warm_up)
            assert self._begun is not None
            reader, self._writer = await asyncio.open_connection(sock=self._begun.socket)
            self._is_there.set()
            while True:
                async with asyncio.timeout(_SILENT_SECONDS):
                    message = await received(reader)
                self._take(message)
        finally:
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.close()
            if self._begun is not None:
                await asyncio.to_thread(self._begun.end)
                self._begun = None

    def _take(self, message: Beat | Outcome) -> None:
        """What the process says. An EOFError: it is not well, and has to end."""
        if isinstance(message, Beat):
            for step in message.steps:
                self._metrics.step(*step)
            self.sessions = message.sessions
            if not message.is_well:
                raise EOFError("it is not well")
            self._failed = 0
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
            # -P: no module of that name in whatever the present folder is.
            command = [sys.executable, "-P", "-m", "sacl.serve.reader", str(theirs.fileno())]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
        self._setup: Setup | None = setup

    def wait(self) -> None:
        """Until it is ready.

        Raises:
            SaclError: it will not be. EOFError, OSError: it has ended.
        """
        if self._setup is None:
            return
        self.socket.sendall(framed(self._setup))
        self._setup = None
        with self.socket.makefile("rb") as file:
            error = read_from(file)
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
