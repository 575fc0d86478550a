"""Readers of conversations, by format."""

from __future__ import annotations

import gzip
import json
from functools import partial
from typing import Any

from common import Reader, as_json, scratch, written

TURNS = [
    {"speaker": "Ann", "text": "You came!", "emotion": "joy", "id": "a", "time": 1.5},
    {"speaker": "Bo", "text": "I did say I would. \U0001f600", "vector": [0.5, 1e-3]},
]
CHAT = {"id": "c1", "utterances": TURNS}
CSV = 'conversation,speaker,text,emotion,utterance,time\n1,Ann,You came!,joy,a,1.5\n1,Bo,"I did, \nsay",,,2024-01-31'
CALLS = "call,agent,said,nr,when\n7,Ann,You came!,a,1.5\n7,Bo,I did.,b,2024-01-31 09:41\n8,Ann,No.,,\n"
SLACK = [
    {"type": "message", "user": "U1", "text": "Hello <@U2|bo> &amp; <https://x.y|z>", "ts": "1700000000.000100"},
    {"user": "U2", "text": "Hi", "ts": "1700000001.0", "thread_ts": "1700000000.000100", "subtype": "me_message"},
    {"bot_id": "B", "user_profile": {"real_name": "Bo"}, "text": "<!here>", "ts": "1700000009.1", "subtype": "x"},
]
WHATSAPP = (
    "12/31/23, 9:41 PM - Ann: hi\nand more\n1/13/24, 12:00 AM - Bo: a.jpg (file attached)\nyes <This message was "
    "edited>\n1/13/24, 9:41 - Bo added Cy",
    "[31.12.23, 21:41:05] Ann: hi\n\u200e[31.12.23, 21:42:05] ~ Bo: \u200eimage omitted\n[01.01.24, 00:00:00] Bo: so",
)
VTT = "WEBVTT\n\nNOTE x\n\n1\n00:01.000 --> 00:02.500 align:left\n<v.loud Ann>You <i>came</i>!</v>\n\n00:03.000 --> "
VTT += "01:00:04.000\n<v Bo>&lt;I&gt; did\n"
SRT = "1\n00:00:01,000 --> 00:00:02,000\nAnn: You came!\n\n2\n00:00:03,000 --> 00:00:04,000\n[BO] I did.\n- [sighs]\n"
LINES = "[10:15] Ann: You came!\nand more\nBo (2024-01-31 10:16): Yes\n\nCy: https://x.y and 12:30"


def conversations(name: str, data: bytes, **options: Any) -> int:
    """By the name's suffix, or as the options say."""
    from sacl.formats import read_conversations

    return sum(len(c) for c in read_conversations(written(name, data), **options))


def folder() -> Reader:
    """Slack's whole export: two days of a channel, the second behind the first NUL, and a day of another."""
    from sacl.formats import read_conversations

    def read(data: bytes) -> int:
        first, _, second = data.partition(b"\0")
        written("whole/general/2024-01-31.json", first)
        written("whole/general/2024-02-01.json", second)
        written("whole/random/2024-01-31.json", first)
        return sum(len(c) for c in read_conversations(scratch() / "whole", gap=60.0))

    return Reader(read, [as_json(SLACK) + b"\0" + as_json([SLACK[0] | {"ts": "1700090000.5"}])])


def conversation_readers() -> dict[str, Reader]:
    """Every format of conversations."""
    document = json.dumps([CHAT, CHAT | {"id": "c2"}], indent=1).encode()
    jsonl = as_json(CHAT, {"utterances": [{"speaker": "Ann", "text": "", "probabilities": {"joy": 1.0}}]})
    from sacl.rows import Columns

    columns = Columns("call", "agent", "said", None, "nr", "when")
    texts = {
        "jsonl": ("in.jsonl", {}, [jsonl, document]),
        "csv": ("in.csv", {}, [CSV.encode(), CSV.replace(",", ";").encode(), b"speaker,text\nAnn,Hi"]),
        "tsv": ("in.tsv", {}, [CSV.replace(",", "\t").encode()]),
        "csv options": ("in.csv", {"columns": columns}, [CALLS.encode(), CALLS.replace(",", ";").encode()]),
        "lines": ("in.txt", {"format": "txt"}, [LINES.encode()]),
        "told": ("in", {}, [t.encode() for t in (CSV, *WHATSAPP, VTT, SRT, LINES)] + [jsonl, document, as_json(SLACK)]),
        "utf-16": ("in.txt", {}, [LINES.encode("utf-16"), CSV.encode("utf-16")]),
        "whatsapp": ("in.txt", {"format": "whatsapp", "gap": 3600.0}, [t.encode() for t in WHATSAPP]),
        "whatsapp dates": ("in.txt", {"format": "whatsapp", "dates": "mdy"}, [t.encode() for t in WHATSAPP]),
        "slack": ("in.json", {"format": "slack", "gap": 60.0}, [as_json(SLACK), as_json({"messages": SLACK})]),
        "vtt": ("in.vtt", {"gap": 1.0}, [VTT.encode()]),
        "srt": ("in.srt", {}, [SRT.encode()]),
    }
    readers = {k: Reader(partial(conversations, name, **options), seeds) for k, (name, options, seeds) in texts.items()}
    packed = gzip.compress(jsonl, mtime=0)
    readers["gzip"] = Reader(partial(conversations, "in.jsonl.gz"), [packed])
    return readers | {"slack people": people(), "slack folder": folder()}


def people() -> Reader:
    """Slack's users.json, beside a day."""
    users = [{"id": "U1", "profile": {"display_name": " Ann "}}, {"id": "U2", "name": "bo", "real_name": ""}]

    def read(data: bytes) -> int:
        written("export/users.json", data)
        return conversations("export/2024-01-31.json", as_json(SLACK), format="slack")

    return Reader(read, [as_json(users)])
