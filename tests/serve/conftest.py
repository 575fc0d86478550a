"""Small models over a tiny encoder that a test can hold up, and a client of the application."""

from __future__ import annotations

import asyncio
import runpy
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sacl.conversation import Conversation, LabelSet, Utterance
from sacl.features.encoder import Encoder
from sacl.model.build import build_model
from sacl.recognizer import EmotionRecognizer
from sacl.settings import FeatureSettings, ModelSettings
from sacl.training.trained import Standardisation, TrainedModel

TINY = runpy.run_path(str(Path(__file__).parents[1] / "fixtures" / "tiny_encoder.py"))
LABELS = ("calm", "glad", "cross")
PATIENCE = 30
"""Seconds, after which a test has failed rather than waits on."""


class Watched:
    """An encoder that notes what it reads, and waits while it is shut."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder, self.identity = encoder, encoder.identity
        self.calls: list[list[str]] = []
        self.begun, self.gate = threading.Semaphore(0), threading.Event()
        self.gate.set()
        self.refused: str | None = None

    def encode(self, texts: Sequence[str], **options: Any) -> np.ndarray:
        if list(texts) != [""]:  # the service warms up with it
            self.calls.append(list(texts))
            self.begun.release()
            assert self.gate.wait(PATIENCE)
        if self.refused in texts:
            raise ValueError(f"it cannot read {self.refused}")
        return self.encoder.encode(texts, **options)

    def forget(self) -> None:
        """What was read until now."""
        self.calls, self.begun = [], threading.Semaphore(0)

    async def is_reading(self) -> None:
        """Waits until another call has begun."""
        assert await asyncio.to_thread(self.begun.acquire, timeout=PATIENCE)

    @property
    def texts(self) -> list[str]:
        return [text for call in self.calls for text in call]


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return Encoder.load(TINY["write_encoder"](tmp_path_factory.mktemp("encoder")))


@pytest.fixture(scope="session")
def trained(encoder: Encoder) -> Callable[..., TrainedModel]:
    """A model of random weights; its biases are large enough for every part of it to matter."""

    def made(*, causal: bool = False, texts: bool = True, width: int = 16, **settings: Any) -> TrainedModel:
        if causal:
            settings |= {"bidirectional": False, "min_speaker_utterances": 1}
        chosen = ModelSettings(**{"hidden_size": 6} | settings)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            network = build_model(chosen, width, len(LABELS)).eval()
            statistics = Standardisation(torch.randn(width), torch.rand(width) + 0.5)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(3)
        identity = encoder.identity if texts else None
        about = {"recipe": "random", "corpus": "nothing", "seed": 1}
        return TrainedModel(
            network, chosen, LabelSet(LABELS), width, FeatureSettings(), identity, statistics, about, 1.5
        )

    return made


@pytest.fixture
def recognizer(trained: Callable[..., TrainedModel], encoder: Encoder) -> EmotionRecognizer:
    """Its `encoder` is Watched."""
    return EmotionRecognizer(trained(), Watched(encoder))  # type: ignore[arg-type]


@pytest.fixture
def causal(trained: Callable[..., TrainedModel], encoder: Encoder) -> EmotionRecognizer:
    return EmotionRecognizer(trained(causal=True), Watched(encoder))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def talk() -> Callable[..., Conversation]:
    """A conversation of texts, other ones for every seed."""

    def made(turns: int, seed: int = 0, id: str = "talk") -> Conversation:
        draw = np.random.default_rng([seed, turns])
        words = [*TINY["PLAIN"], *(word for some in TINY["WORDS"].values() for word in some)]
        said = [" ".join(draw.choice(words, draw.integers(1, 9))) for _ in range(turns)]
        return Conversation(id, [Utterance(str(draw.choice(list("ABC"))), text) for text in said])

    return made


@pytest.fixture
def ask() -> Callable[..., Any]:
    """ask(service, work): what `await work(client)` gives, while the application of the service runs."""
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("fastapi", reason="fastapi is not installed (extra serve)")
    from sacl.serve.app import create_app

    def asked(service: Any, work: Callable[[Any], Awaitable[Any]], app: Any = None, **options: Any) -> Any:
        async def main() -> Any:
            running = app or create_app(service, **{"page": False} | options)
            transport = httpx.ASGITransport(running, raise_app_exceptions=False)
            async with (
                running.router.lifespan_context(running),
                httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
            ):
                return await asyncio.wait_for(work(client), PATIENCE)

        return asyncio.run(main())

    return asked


@pytest.fixture
def during() -> Callable[[Any, Callable[[], Awaitable[Any]]], Any]:
    """`during(service, work)`: what `await work()` gives while the service runs."""

    def run(service: Any, work: Callable[[], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            await service.start()
            try:
                return await asyncio.wait_for(work(), PATIENCE)
            finally:
                await service.stop()

        return asyncio.run(main())

    return run


@pytest.fixture(scope="session")
def listening() -> Callable[..., Any]:
    """`with listening(service, app) as port`: the server as the command runs it, in a thread of this process."""
    pytest.importorskip("fastapi", reason="fastapi is not installed (extra serve)")
    from sacl.serve import server
    from sacl.serve.app import create_app
    from sacl.serve.client import Proxies

    @contextmanager
    def started(service: Any, app: Any = None, proxies: Sequence[str] = ()) -> Iterator[int]:
        running: list[Any] = []

        class Kept(server._Server):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args)
                running.append(self)

        with pytest.MonkeyPatch.context() as patched, server.bound("127.0.0.1", 0) as door:
            patched.setattr(server, "_Server", Kept)
            patched.setattr(server, "_STREAMS", 0.0)
            app = app or create_app(service, page=False)
            thread = threading.Thread(target=server.run, args=(app, service, door, Proxies(proxies)))
            thread.start()
            try:
                while not (running and running[0].started):
                    assert thread.is_alive()
                    threading.Event().wait(0.01)
                yield door.getsockname()[1]
            finally:
                running[0].should_exit = True
                thread.join(PATIENCE)
            assert not thread.is_alive()

    return started
