"""Changes to an input that a byte here and there would hardly make: another value in JSON, a part many times over."""

from __future__ import annotations

import json
from random import Random
from typing import Any

VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2**31,
        2**63,
        10**400,
        1e308,
        -0.0,
        0.5,
        "",
        " ",
        "0",
        "nan",
        "\0",
        "\ud800",
        "../../etc",
    ),
    *("\u202eabc", "e\u0301\u0302", "\U0001f600", "\x1b[2J", "=1+1", "<b>", "$x^$", [], {}, [[]], [None], {"": {}}),
)
"""What stands where something else is expected."""

TEXTS = (
    *(b"\0", b"\r", b"\n\n", b"\t", b'"', b"'", b"\\", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc2\x85", b"\xe2\x80\xa8"),
    *(
        b"-1",
        b"1e999",
        b"9" * 5000,
        b"\\UFFFFFFFF",
        b"!!python/object/apply:os.system [x]",
        b"&a [*a]",
        b"<<: {}",
        b".inf",
    ),
    *(b"[" * 2000, b"{" * 500, b'{"a":' * 500, b"(" * 300, b"- " * 500, b" " * 3000, b"\x1b]0;x\x07", b"\xed\xa0\x80"),
)
"""What is put in anywhere."""


def changed(data: bytes, random: Random) -> bytes:
    """The input with one to three changes."""
    for _ in range(random.randint(1, 3)):
        data = random.choice((_json_changed, _text_changed))(data, random)
    return data


def _text_changed(data: bytes, random: Random) -> bytes:
    begin = random.randint(0, len(data))
    end = min(len(data), begin + random.choice((1, 4, 16, 64, len(data))))
    kind = random.randrange(5)
    if kind == 0:
        return data[:begin] + random.choice(TEXTS) + data[begin:]
    if kind == 1:
        return data[:begin] + data[end:]
    if kind == 2:
        return data[:begin] + data[begin:end] * random.choice((2, 3, 50)) + data[end:]
    if kind == 3:
        return data[:begin] + random.choice(TEXTS) + data[end:]
    return data[:begin] + bytes([random.randrange(256)]) + data[begin + 1 :]


def _json_changed(data: bytes, random: Random) -> bytes:
    """One node of one line of JSON, or of the whole; text that is no JSON is changed as text."""
    lines = [data] if random.random() < 0.5 else data.split(b"\n")
    at = random.randrange(len(lines))
    try:
        content = json.loads(lines[at])
    except (ValueError, RecursionError):
        return _text_changed(data, random)
    lines[at] = json.dumps(_node_changed(content, random), ensure_ascii=random.random() < 0.5).encode(
        "utf-8", "surrogatepass"
    )
    return b"\n".join(lines)


def _node_changed(node: Any, random: Random) -> Any:
    """The value with something in it replaced, left out, or there twice."""
    if not isinstance(node, dict | list) or not node or random.random() < 0.1:
        return random.choice(VALUES)
    key = random.choice(list(node)) if isinstance(node, dict) else random.randrange(len(node))
    node = dict(node) if isinstance(node, dict) else list(node)
    kind = random.random()
    if kind < 0.15:
        del node[key]
    elif kind < 0.25 and isinstance(node, list):
        node.append(node[key])
    elif kind < 0.25:
        node[str(random.choice(VALUES))[:20]] = node[key]
    else:
        node[key] = _node_changed(node[key], random)
    return node
