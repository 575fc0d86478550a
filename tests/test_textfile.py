"""Text files: every fault of a file is told in one line that names it."""

from __future__ import annotations

import gzip
import io
import random
from pathlib import Path

import pytest

from sacl.conversation import Conversation, Utterance
from sacl.errors import DataError
from sacl.formats import read_conversations, write_conversations
from sacl.textfile import numbered_lines


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("absent.csv", None, "there is no such file"),
        ("empty.jsonl", b"", "the file is empty"),
        ("blank.jsonl", b"\n\n", "it holds no conversation"),
        ("blank.txt", b" \n\n", "it holds no conversation"),
        ("header.csv", b"speaker,text\r\n", "it holds no conversation"),
        ("blank.csv", b"\r\n", "it has no header"),
        ("a.xlsx", b"PK", "its format cannot be told from the name"),
        ("latin.txt", b"Ann: fine\nBo: caf\xe9\n", r"line 2: it is not UTF-8 \(byte 8 of the line\)\. .*iconv"),
        ("utf16.csv", "speaker,text\n".encode("utf-16"), r"line 1: it is not UTF-8"),
        ("utf16be.csv", "speaker,text\n".encode("utf-16-be"), r"line 1: it holds a NUL"),
        ("nul.txt", b"Ann: hi\nBo: a\0b\n", "line 2: it holds a NUL"),
        ("plain.jsonl.gz", b'{"id": "c1"}', "gzip data is damaged"),
        (
            "cut.jsonl.gz",
            gzip.compress(b'{"id": "c1"}', mtime=0)[:-9],
            "gzip data is damaged",
        ),
    ],
)
def test_a_file_at_fault_is_named(tmp_path: Path, name: str, content: bytes | None, found: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"{name}.*{found}") as caught:
        list(read_conversations(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_told_before_the_first_conversation_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_conversations(tmp_path / "absent.csv")


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="it is a folder"):
        read_conversations(tmp_path, "jsonl")


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_how_far_a_file_is_read_is_told_in_its_own_bytes(tmp_path: Path, name: str) -> None:
    draw = random.Random(0)
    text = "".join(f"Ann: {draw.random()} {draw.random()}\n" for _ in range(120_000)).encode()
    (tmp_path / name).write_bytes(gzip.compress(text, 1) if name.endswith("gz") else text)
    size = (tmp_path / name).stat().st_size
    told: list[tuple[str, int, int]] = []
    lines = sum(1 for _ in numbered_lines(tmp_path / name, name, progress=lambda *step: told.append(step)))
    assert lines == 120_000
    assert len(told) == len(text) // 2**20 + 1
    assert {(what, total) for what, _, total in told} == {("read", size)}
    done = [done for _, done, _ in told]
    assert done == sorted(done)
    assert done[-1] == size
    assert done[0] < size


def test_of_a_stream_only_what_was_read_is_told() -> None:
    told: list[tuple[str, int, int]] = []
    list(numbered_lines(io.StringIO("Ann: Hello\n"), "-", progress=lambda *step: told.append(step)))
    assert told == [("read", 11, 0)]


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_a_stream_that_is_not_utf8_is_refused_however_it_was_opened(errors: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(b"Ann: caf\xe9\n"), "utf-8", errors=errors)
    with pytest.raises(DataError, match="it is not UTF-8"):
        list(read_conversations(stream, "txt"))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt"])
def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path, name: str) -> None:
    chats = [Conversation("0", [Utterance("Ann", "Hello"), Utterance("Bo", "Hi")])]
    write_conversations(chats, tmp_path / name)
    plain = (tmp_path / name).read_bytes().replace(b"\r\n", b"\n")
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + plain.replace(b"\n", b"\r\n"))
    assert list(read_conversations(tmp_path / name)) == chats
