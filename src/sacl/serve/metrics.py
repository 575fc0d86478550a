"""Figures for Prometheus; no text, speaker or id is ever a label."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "sacl_requests", "Requests answered.", ["method", "path", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "sacl_request_seconds", "From request to answer.", ["path"], buckets=_SECONDS, registry=self.registry
        )
        self._turns = Counter("sacl_turns", "Turns that were answered.", ["path"], registry=self.registry)
        self._batch = Histogram(
            "sacl_batch_requests",
            "Requests that one step of the worker read together.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self._encoded = Counter("sacl_encoded_texts", "Texts that were encoded.", registry=self.registry)
        self._busy = Counter("sacl_worker_seconds", "Time that the worker spent reading.", registry=self.registry)
        self.waiting = Gauge("sacl_waiting_requests", "Accepted and not answered yet.", registry=self.registry)
        self.sessions = Gauge("sacl_sessions", "Live sessions.", registry=self.registry)

    def request(self, method: str, path: str, status: int, seconds: float, turns: int) -> None:
        """An answer that was given; `path` is a template."""
        self._requests.labels(method, path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)
        if turns and status < 400:
            self._turns.labels(path).inc(turns)

    def step(self, requests: int, texts: int, seconds: float) -> None:
        """One step of the worker."""
        self._batch.observe(requests)
        self._encoded.inc(texts)
        self._busy.inc(seconds)

    def text(self) -> bytes:
        """All of them in the format of Prometheus."""
        return generate_latest(self.registry)
