"""Where models come from and go to: the package, a folder, and the hub, here a small server on this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from sacl.errors import ModelError
from sacl.features.encoder import Encoder
from sacl.recognizer import EmotionRecognizer, find_model, sharing, sources
from sacl.recognizer.sources import SHIPPED, SHIPPED_CAUSAL

COMMIT = "1" * 40


class Hub:
    """What was asked of the hub, and the files that it holds, by repository."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []
        self.made: dict[str, Any] = {}
        self.refuses = False


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """The hub's HTTP interface, as far as an upload and a download of small files need it."""
    held = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def answer(self, content: bytes, status: int = 200, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            held.asked.append(f"POST {self.path}")
            if held.refuses:
                self.answer(b'{"error": "you may not"}', 403)
            elif self.path == "/api/repos/create":
                held.made = json.loads(body)
                name = f"{held.made['organization']}/{held.made['name']}"
                held.repositories.setdefault(name, {})
                self.answer(json.dumps({"url": f"http://{self.headers['Host']}/{name}", "name": name}).encode())
            elif "/preupload/" in self.path:
                files = [
                    {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for file in json.loads(body)["files"]
                ]
                self.answer(json.dumps({"files": files}).encode())
            elif "/commit/" in self.path:
                name = re.fullmatch(r"/api/models/(.+)/commit/main", self.path)[1]  # type: ignore[index]
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        held.repositories[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                url = f"http://{self.headers['Host']}/{name}/commit/{COMMIT}"
                self.answer(json.dumps({"commitUrl": url, "commitOid": COMMIT, "success": True}).encode())
            else:
                self.answer(b"{}")

        def do_GET(self) -> None:
            held.asked.append(f"{self.command} {self.path}")
            found = re.fullmatch(r"/(.+)/resolve/[^/]+/(.+)", self.path)
            content = held.repositories.get(found[1], {}).get(found[2]) if found else None
            if content is None:
                self.answer(b"", 404, X_Error_Code="RepoNotFound")
            else:
                etag = hashlib.sha256(content).hexdigest()
                self.answer(content, ETag=f'"{etag}"', X_Repo_Commit=COMMIT)

        do_HEAD = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    yield held
    server.shutdown()
    server.server_close()
    thread.join()


def test_what_is_pushed_comes_back_the_same(hub: Hub, make: Any, talk: Any) -> None:
    recognizer = EmotionRecognizer(make(temperature=1.5))
    address = recognizer.push_to_hub("someone/calls", token="hf_" + "x" * 34)
    assert address.endswith("/someone/calls")
    # Newer and older libraries say it in two ways.
    assert hub.made.get("visibility") == "private" or hub.made.get("private") is True
    assert set(hub.repositories["someone/calls"]) == {"README.md", "model.safetensors"}
    again = EmotionRecognizer.from_pretrained("someone/calls")
    assert again.predict(talk("ABAB")) == recognizer.predict(talk("ABAB"))
    card = hub.repositories["someone/calls"]["README.md"].decode()
    assert 'from_pretrained("someone/calls")' in card


def test_what_lies_on_this_machine_comes_before_the_hub(
    hub: Hub, make: Any, talk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    EmotionRecognizer(make(seed=1)).push_to_hub("someone/calls", token="hf_" + "x" * 34)
    here = EmotionRecognizer(make(seed=2))
    here.save_pretrained(tmp_path / "someone" / "calls")
    monkeypatch.chdir(tmp_path)
    hub.asked.clear()
    assert EmotionRecognizer.from_pretrained("someone/calls").predict(talk("AB")) == here.predict(talk("AB"))
    assert hub.asked == []


def test_what_the_hub_does_not_have_or_does_not_take_is_told(hub: Hub, make: Any) -> None:
    with pytest.raises(ModelError, match=r"someone/nothing: there is no such file or folder, and the hub gives no"):
        EmotionRecognizer.from_pretrained("someone/nothing")
    hub.refuses = True
    with pytest.raises(ModelError, match=r"someone/calls: the hub does not take it .*hf auth login"):
        EmotionRecognizer(make()).push_to_hub("someone/calls", token="hf_" + "x" * 34)
    assert hub.repositories == {}


def test_without_a_network_the_remedy_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"Check the path; for a model of the hub, its name and the network"):
        EmotionRecognizer.from_pretrained("runs/mine")


@pytest.mark.parametrize("source", ["./runs/mine", "a/b/c", "mine", "/no/where", "~/mine", "a b/c", Path("a/b")])
def test_what_looks_like_no_name_of_the_hub_is_looked_for_here_alone(
    hub: Hub, source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"no such file or folder. Name a run's folder, .*owner/name"):
        EmotionRecognizer.from_pretrained(source)
    assert hub.asked == []


@pytest.mark.parametrize("name", ["calls", "a/b/c", "/calls", "", "a b/c", "../x"])
def test_a_name_that_the_hub_cannot_have_is_refused_before_anything_is_sent(hub: Hub, make: Any, name: str) -> None:
    with pytest.raises(ModelError, match=r"is no name of the hub. Write owner/name"):
        EmotionRecognizer(make()).push_to_hub(name)
    assert hub.asked == []


def test_a_model_whose_encoder_others_cannot_have_is_not_pushed(hub: Hub, make: Any) -> None:
    trained = make(encoder={"name": "/home/ann/encoder", "sha256": "0" * 64, "pooling": "mean", "revision": None})
    with pytest.raises(ModelError, match="its encoder is a folder of this machine"):
        sharing.push(trained, "someone/calls", True, None, "")
    assert hub.asked == []


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation whose shipped models are ours to choose."""
    (tmp_path / "pretrained").mkdir()
    monkeypatch.setattr(sources, "files", lambda name: tmp_path)
    return tmp_path / "pretrained"


def test_without_a_name_the_shipped_model_is_loaded(package: Path, make: Any, talk: Any) -> None:
    whole, causal = EmotionRecognizer(make()), EmotionRecognizer(make(causal=True))
    whole.trained.save(package / SHIPPED)
    causal.trained.save(package / SHIPPED_CAUSAL)
    assert EmotionRecognizer.from_pretrained().predict(talk("ABA")) == whole.predict(talk("ABA"))
    loaded = EmotionRecognizer.from_pretrained(causal=True)
    assert loaded.predict(talk("ABA")) == causal.predict(talk("ABA"))
    assert loaded.stream().turns == 0


@pytest.mark.parametrize(("causal", "name"), [(False, SHIPPED), (True, SHIPPED_CAUSAL)])
def test_a_shipped_model_that_is_missing_is_told(package: Path, causal: bool, name: str) -> None:
    with pytest.raises(ModelError, match=rf"ships with the package, {name}, is not in this installation. Install"):
        EmotionRecognizer.from_pretrained(causal=causal)


def test_a_causal_model_that_is_asked_for_has_to_be_one(package: Path, make: Any, tmp_path: Path) -> None:
    make().save(package / SHIPPED_CAUSAL)
    make().save(tmp_path / "model.safetensors")
    for source in (None, tmp_path):
        with pytest.raises(ModelError, match="it is not causal"):
            EmotionRecognizer.from_pretrained(source, causal=True)


def test_a_saved_folder_holds_a_card_that_a_hub_can_read(make: Any, tmp_path: Path) -> None:
    trained = make(causal=True, width=384, encoder=dict(Encoder.load().identity), temperature=1.25)
    trained = type(trained)(
        **{f: getattr(trained, f) for f in trained.__slots__}
        | {
            "about": {
                "recipe": "fit",
                "corpus": "/home/ann/secret project/calls",
                "seed": 3,
                "epoch": 7,
                "conversations": {"train": 17, "valid": 3},
                "valid": {"weighted_f1": 61.234, "loss": 0.5, "accuracy": 60.0, "macro_f1": 59.0},
                "started_from": {"corpus": "meld"},
            }
        }
    )
    folder = EmotionRecognizer(trained).save_pretrained(tmp_path / "mine")
    assert find_model(folder) == folder / "model.safetensors"
    header, _, text = (folder / "README.md").read_text(encoding="utf-8").removeprefix("---\n").partition("---\n")
    assert yaml.safe_load(header) == {
        "library_name": "sacl",
        "pipeline_tag": "text-classification",
        "tags": ["emotion-recognition", "conversations"],
    }
    for told in (
        *trained.labels,
        'from_pretrained("mine")',
        "recognizer.stream()",
        "| Trained on | calls |",
        "minilm",
        "61.23",
        "17 train, 3 valid",
        "| Epoch, chosen on validation | 7 |",
        "| Temperature, fitted on validation | 1.25 |",
        "a model trained on meld",
        "not made for judging people",
        "licence",
    ):
        assert told in text, told
    assert "secret" not in text


def test_a_card_says_what_is_not_known_and_what_a_model_of_vectors_reads(make: Any) -> None:
    trained = make()
    text = sharing.card_of(type(trained)(**{f: getattr(trained, f) for f in trained.__slots__} | {"about": {}}), "x")
    assert "None are known." in text
    assert "| Trained on | not known |" in text
    assert "reads vectors of 5 numbers" in text
    assert "the later turns included" in text


def test_a_card_that_is_there_stays(make: Any, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("by hand", encoding="utf-8")
    EmotionRecognizer(make()).save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "by hand"


def test_a_folder_that_cannot_be_made_is_told(make: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ModelError, match="it cannot be made"):
        EmotionRecognizer(make()).save_pretrained(tmp_path / "file" / "mine")
