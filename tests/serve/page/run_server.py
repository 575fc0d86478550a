"""A server with the page and tiny models, run as a process of its own: `python run_server.py FOLDER`.

It says its port on stdout. The folder then holds `model.safetensors` of what reads whole conversations. Of texts
`molasses` so many are encoded as POST /test/let/NUMBER allows; GET /test/begun says how many were begun.
"""

from __future__ import annotations

import runpy
import sys
import threading
from pathlib import Path
from typing import Any

from sacl.recognizer import EmotionRecognizer
from sacl.serve.app import create_app
from sacl.serve.client import Proxies
from sacl.serve.limits import Limits
from sacl.serve.server import bound, run
from sacl.serve.service import Service

TINY = runpy.run_path(str(Path(__file__).parents[2] / "fixtures" / "tiny_encoder.py"))


class Slow:
    """An encoder that reads no more texts `molasses` than it is let."""

    def __init__(self, encoder: Any) -> None:
        self.encoder, self.identity = encoder, encoder.identity
        self.change = threading.Condition()
        self.begun = self.allowed = 0

    def encode(self, texts: list[str], *args: Any, **kwargs: Any) -> Any:
        with self.change:
            self.begun += texts.count("molasses")
            self.change.wait_for(lambda: self.begun <= self.allowed)
        return self.encoder.encode(texts, *args, **kwargs)

    def let(self, number: int) -> None:
        with self.change:
            self.allowed = number
            self.change.notify_all()


def main(folder: Path) -> None:
    encoder = str(TINY["write_encoder"](folder / "encoder"))
    corpus = TINY["write_corpus"](folder / "corpus")
    labelled = {"labels": list(TINY["WORDS"]), "valid": str(corpus / "valid.jsonl"), "hidden_size": 8, "epochs": 6}
    train = str(corpus / "train.jsonl")
    whole = EmotionRecognizer.fit(train, encoder=encoder, **labelled)
    whole.save_pretrained(folder)
    live = EmotionRecognizer.fit(train, encoder=encoder, bidirectional=False, min_speaker_utterances=1, **labelled)

    slow = Slow(whole.encoder)
    whole.encoder = slow  # type: ignore[assignment]
    service = Service(whole, live, Limits(turns=2_500, body_bytes=2**20, requests_per_minute=10**5))
    app = create_app(service, page=False)

    @app.post("/test/let/{number}")
    def let(number: int) -> None:
        slow.let(number)

    @app.get("/test/begun")
    def begun() -> int:
        return slow.begun

    from sacl.serve.page import add_page

    add_page(app, service)
    with bound("127.0.0.1", 0) as listening:
        print(listening.getsockname()[1], flush=True)
        run(app, service, listening, Proxies())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
