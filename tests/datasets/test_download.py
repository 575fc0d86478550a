"""Downloads, from a server on this machine: what is not the known file is not kept, and every fault is one line."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sacl.datasets import download
from sacl.errors import DataError

CONTENT = b"speaker,text\r\nAnn,Hello\r\n" * 9000


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers /good/NAME, and elsewhere with the fault that the path names."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        fault = self.path.split("/")[1]
        body = {"other": CONTENT[::-1], "short": CONTENT[:-1], "long": CONTENT + b"x"}.get(fault, CONTENT)
        self.send_response(404 if fault == "absent" else 200)
        if fault not in ("unannounced", "endless"):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault == "endless":
            with contextlib.suppress(ConnectionError):
                for _ in range(200):
                    self.wfile.write(body)
            return
        self.wfile.write(body[: 70_000 if fault in ("cut", "unannounced") else None])

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    Handler.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    files = tuple(download.RemoteFile(f"commit/{name}", digest, len(CONTENT)) for name in ("a.csv", "b.csv"))
    monkeypatch.setattr(download, "KNOWN", {"toy": files})


def test_good_files_arrive_whole_and_are_reported(server: str, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    folder = download.fetch("toy", tmp_path / "toy", f"{server}/good/", lambda *step: seen.append(step))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a.csv": CONTENT, "b.csv": CONTENT}
    done = [d for name, d, _ in seen if name == "a.csv"]
    assert done == sorted(done)
    assert seen[-1] == ("b.csv", len(CONTENT), len(CONTENT))


def test_intact_files_are_not_fetched_again_and_damaged_ones_are(server: str, tmp_path: Path) -> None:
    download.fetch("toy", tmp_path, f"{server}/good")
    (tmp_path / "b.csv").write_bytes(b"damaged")
    Handler.asked.clear()
    download.fetch("toy", tmp_path, f"{server}/good")
    assert Handler.asked == ["/good/b.csv"]
    assert (tmp_path / "b.csv").read_bytes() == CONTENT


def test_the_default_place_is_where_the_reader_looks(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SACL_CACHE", str(tmp_path))
    assert download.fetch("toy", base_url=f"{server}/good") == download.cached("toy") == tmp_path / "datasets" / "toy"


def test_without_a_mirror_the_address_names_the_commit(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "HOST", f"{server}/good")
    download.fetch("toy", tmp_path)
    assert Handler.asked == ["/good/commit/a.csv", "/good/commit/b.csv"]


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("other", "its SHA-256 is not the known one"),
        ("short", f"it has {len(CONTENT) - 1} bytes, expected {len(CONTENT)}"),
        ("long", f"it has {len(CONTENT) + 1} bytes, expected {len(CONTENT)}"),
        ("unannounced", f"it has 70000 bytes, expected {len(CONTENT)}"),
        ("endless", f"it has more than {len(CONTENT)} bytes, expected {len(CONTENT)}"),
        ("absent", "the server answered 404"),
        ("cut", "the connection broke off"),
    ],
)
def test_what_is_not_the_known_file_is_not_kept(server: str, tmp_path: Path, fault: str, found: str) -> None:
    with pytest.raises(DataError, match=f"{fault}/a.csv: {found}") as caught:
        download.fetch("toy", tmp_path, f"{server}/{fault}")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_server_that_is_not_there_is_one_line(server: str, tmp_path: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        port = closed.server_port
    with pytest.raises(DataError, match=r"the server cannot be reached\. Check the network") as caught:
        download.fetch("toy", tmp_path, f"http://127.0.0.1:{port}")
    assert "\n" not in str(caught.value)


def test_a_file_in_place_of_the_folder_is_told(server: str, tmp_path: Path) -> None:
    (tmp_path / "toy").write_text("in the way")
    with pytest.raises(DataError, match="toy: it cannot be written"):
        download.fetch("toy", tmp_path / "toy", f"{server}/good")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("iemocap", r"IEMOCAP is licensed .*https://sail\.usc\.edu"),
        ("sample", "comes with the package"),
        ("medl", r"unknown data set 'medl'\. Use one of: toy"),
    ],
)
def test_what_cannot_be_fetched_says_what_to_do(name: str, found: str) -> None:
    with pytest.raises(DataError, match=found):
        download.fetch(name)


def test_the_files_at_hand_are_the_known_ones(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for name, files in download.KNOWN.items():
        for file in files:
            content = (shared_data / name / file.name).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (file.bytes, file.sha256)
            assert re.fullmatch(r"[0-9a-f]{40}/.*", file.path)
