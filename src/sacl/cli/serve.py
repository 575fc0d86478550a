"""`sacl serve`: emotions over HTTP, and a page."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sacl.cli.data import TrustCode

if TYPE_CHECKING:
    from sacl.recognizer import EmotionRecognizer

TOKEN = "SACL_TOKEN"
_EXTRA = ("fastapi", "starlette", "uvicorn", "multipart", "python_multipart", "prometheus_client", "gradio")


def serve(
    model: Annotated[
        str | None,
        typer.Argument(help="A run's folder, a model file, or owner/name of the hub; by default the models that ship."),
    ] = None,
    causal: Annotated[
        str | None,
        typer.Option(help="Model that reads live sessions; by default MODEL, if it reads no later turn."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 is every one of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(help=f"Holds the token that clients must send; or set {TOKEN}.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Another name under which clients ask for the server; may be repeated.")
    ] = None,
    proxy: Annotated[
        list[str] | None,
        typer.Option(help="Address or network of a proxy, whose X-Forwarded-For is who asks; may be repeated."),
    ] = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Serve the page at / too.")] = True,
    max_megabytes: Annotated[int, typer.Option(min=1, help="Of one request.")] = 4,
    max_turns: Annotated[int, typer.Option(min=1, help="Of one conversation.")] = 5000,
    max_waiting: Annotated[int, typer.Option(min=1, help="Requests that wait at the same time.")] = 256,
    max_sessions: Annotated[int, typer.Option(min=1, help="Live sessions at the same time.")] = 1000,
    session_minutes: Annotated[int, typer.Option(min=1, help="Without a turn, after which one is forgotten.")] = 30,
    max_connections: Annotated[int, typer.Option(min=4, help="At the same time; of one client a fourth.")] = 1000,
    rate: Annotated[
        int,
        typer.Option(
            min=1,
            help="Requests a minute of one client, and one for every 16 KB of a body; a page takes some 100.",
        ),
    ] = 1200,
    trust_code: TrustCode = False,
) -> None:
    """Answer over HTTP, and show a page: emotions of conversations, and of live ones turn by turn.

    What clients send is held in memory while it is read, and written nowhere. Short requests and long ones are read in
    a process each. SIGTERM and Ctrl-C answer what was accepted, then end them.
    """
    token = _token(token_file)
    # The page's library would report its use, and look for newer versions.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        from sacl.serve.client import Proxies
        from sacl.serve.server import bound, run

        proxies = Proxies(proxy or ())
        with bound(host, port) as listening:
            from sacl.serve.app import LOCAL, create_app
            from sacl.serve.limits import Limits
            from sacl.serve.log import log_to
            from sacl.serve.readers import Readers

            limits = Limits(
                body_bytes=max_megabytes * 2**20,
                connections=max_connections,
                turns=max_turns,
                waiting=max_waiting,
                sessions=max_sessions,
                session_idle_seconds=60 * session_minutes,
                requests_per_minute=rate,
            )
            recognizer, live = _models(model, causal, trust_code)
            service = Readers(recognizer, live, limits, trust_code=trust_code)
            service.warm_up()
            app = create_app(service, token=token, hosts=(*LOCAL, host, *(allow_host or ())), page=page)
            _tell(host, listening.getsockname()[1], token, live)
            log_to(sys.stderr)
            run(app, service, listening, proxies)
    except ModuleNotFoundError as error:
        raise _missing(error) from None


def _models(
    model: str | None, causal: str | None, trust_code: bool
) -> tuple[EmotionRecognizer, EmotionRecognizer | None]:
    """What reads whole conversations, and what reads live ones."""
    from sacl.errors import ModelError
    from sacl.recognizer import EmotionRecognizer

    recognizer = EmotionRecognizer.from_pretrained(model, trust_code=trust_code)
    if causal is not None or model is None:
        return recognizer, EmotionRecognizer.from_pretrained(causal, causal=True, trust_code=trust_code)
    try:
        recognizer.stream()
    except ModelError:
        return recognizer, None
    return recognizer, recognizer


def _token(file: Path | None) -> str | None:
    """The token of the file, else of the environment."""
    from sacl.errors import DataError

    if file is None:
        token, where = os.environ.get(TOKEN), TOKEN
        if token is None:
            return None
    else:
        where = f"--token-file {file}"
        try:
            token = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"it cannot be read ({type(error).__name__})", where=where, remedy="Check it") from None
    token = token.strip()
    if not token or not all("!" <= c <= "~" for c in token):
        raise DataError(
            "the token is empty, or has blanks or letters beyond ASCII",
            where=where,
            remedy="Make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    return token


def _missing(error: ModuleNotFoundError) -> Exception:
    from sacl.errors import RunError

    if (error.name or "").partition(".")[0] not in _EXTRA:
        return error
    return RunError(
        f"{error.name} is not installed, which the server needs", remedy="Install it with: pip install 'sacl[serve]'"
    )


def _tell(host: str, port: int, token: str | None, live: Any) -> None:
    shown = f"[{host}]" if ":" in host else host
    print(f"sacl: serving at http://{shown}:{port} (Ctrl-C ends it)", flush=True)
    if token is not None:
        print("sacl: clients send `Authorization: Bearer TOKEN`; a browser opens /?token=TOKEN once", flush=True)
    elif not _is_loopback(host):
        print(
            f"sacl: others on the network can reach it, and no token is asked for. Set {TOKEN}, or give --token-file",
            file=sys.stderr,
        )
    if live is None:
        print(
            "sacl: the model reads later turns too, so there are no live sessions. Add --causal MODEL", file=sys.stderr
        )


def _is_loopback(host: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
