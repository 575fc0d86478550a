"""`sacl serve`: what it says before it serves."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Sacl = Callable[..., Any]
pytest.importorskip("fastapi", reason="fastapi is not installed (extra serve)")


@pytest.fixture
def started(sacl: Sacl, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """started("MODEL", ...): what was said, and the application, service and proxies that would have run."""
    from sacl.serve import log, server

    services: list[Any] = []

    def run(*arguments: str | Path) -> Any:
        ran: list[Any] = []
        monkeypatch.setattr(server, "run", lambda app, service, _, proxies: ran.extend((app, service, proxies)))
        monkeypatch.setattr(log, "log_to", lambda stream: None)
        said = sacl("serve", *arguments, "--port", "0", "--no-page")
        services.extend(ran[1:2])
        return said, *ran

    yield run
    for service in services:
        asyncio.run(service.stop())


def test_the_address_is_told_and_limits_are_taken(started: Any, trained: Any) -> None:
    said, _, service, proxies = started(
        trained.run, "--max-turns", "7", "--session-minutes", "2", "--rate", "9", "--proxy", "::1"
    )
    assert said.code == 0
    assert said.out.startswith("sacl: serving at http://127.0.0.1:")
    assert (service.limits.turns, service.limits.session_idle_seconds) == (7, 120)
    assert service.limits.requests_per_minute == 9
    assert list(map(str, proxies.networks)) == ["::1/128"]
    assert service.causal is None
    assert "no live sessions" in said.err


def test_a_causal_model_serves_live_sessions_too(started: Any, trained: Any, tmp_path: Path) -> None:
    from sacl.recognizer import EmotionRecognizer

    valid = str(trained.data / "valid.jsonl")
    causal = EmotionRecognizer.fit(
        str(trained.data / "train.jsonl"), valid=valid, bidirectional=False, epochs=1, hidden_size=4
    )
    causal.save_pretrained(tmp_path)
    said, _, service, _ = started(tmp_path)
    assert service.causal is service.recognizer
    assert said.err == ""
    _, _, service, _ = started(trained.run, "--causal", tmp_path)
    assert service.causal is not service.recognizer
    said = started(trained.run, "--causal", trained.run)[0]
    assert said.code == 2
    assert "not causal" in said.err


def test_without_a_model_both_that_ship_are_served(started: Any, trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from sacl.recognizer import EmotionRecognizer

    asked: list[Any] = []
    load = EmotionRecognizer.from_pretrained

    def from_pretrained(source: object = None, *, causal: bool = False, **_: Any) -> EmotionRecognizer:
        asked.append((source, causal))
        return load(trained.run)

    monkeypatch.setattr(EmotionRecognizer, "from_pretrained", from_pretrained)
    started()
    assert asked == [(None, False), (None, True)]


def test_a_server_that_others_can_reach_without_a_token_is_warned_about(
    started: Any, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no token is asked for" in started(trained.run, "--host", "0.0.0.0")[0].err
    assert "no token is asked for" not in started(trained.run, "--host", "localhost")[0].err
    monkeypatch.setenv("SACL_TOKEN", "sesame")
    said = started(trained.run, "--host", "0.0.0.0")[0]
    assert "no token is asked for" not in said.err
    assert "sesame" not in said.out + said.err


@pytest.mark.parametrize("token", ["", " \n", "two words", "schön"])
def test_a_token_that_cannot_be_sent_is_refused(started: Any, trained: Any, tmp_path: Path, token: str) -> None:
    (tmp_path / "token").write_text(token, encoding="utf-8")
    said = started(trained.run, "--token-file", tmp_path / "token")[0]
    assert (said.code, said.out) == (2, "")
    assert "secrets.token_urlsafe" in said.err
    assert started(trained.run, "--token-file", tmp_path / "none")[0].code == 2


def test_an_address_of_another_machine_is_refused_in_one_line(started: Any, trained: Any) -> None:
    said = started(trained.run, "--host", "192.0.2.1")[0]
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert "it cannot be listened at" in said.err


@pytest.mark.parametrize("missing", ["fastapi", "uvicorn", "prometheus_client"])
def test_without_the_extra_its_installation_is_told(
    sacl: Sacl, trained: Any, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    for name in [n for n in sys.modules if n.startswith("sacl.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    said = sacl("serve", trained.run, "--port", "0", "--no-page")
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert missing in said.err
    assert "pip install 'sacl[serve]'" in said.err


def test_help_imports_nothing_of_it() -> None:
    code = (
        "import sys, contextlib, io\n"
        "sys.argv = ['sacl', 'serve', '--help']\n"
        "from sacl.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): main()\n"
        "print([m for m in ('torch', 'fastapi', 'uvicorn', 'gradio', 'prometheus_client') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
