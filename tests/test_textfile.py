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
        ("cut16.csv", "speaker,text\n".encode("utf-16")[:-1], "it is not UTF-16, though it begins so"),
        ("binary.txt", b"Ann: \x00\x81\xff\n", "line 1: it is not text"),
        ("chat.txt", gzip.compress(b"Ann: Hello\n", mtime=0), "it is gzip data, not text.*gzip -dc"),
        ("table.csv", b"PK\x03\x04\x14\0", "it is a ZIP archive, as .xlsx .*save a table as CSV"),
        ("call.txt", b"RIFF\x24\x08\0\0WAVEfmt ", "it is sound or a film"),
        ("minutes", b"%PDF-1.7\n%\xe2\xe3", "it is a PDF"),
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


@pytest.mark.parametrize("begun", [gzip.compress(b"Ann: Hello\n", mtime=0), b"\x89PNG\r\n\xff"])
def test_a_stream_that_is_no_text_is_called_what_it_is(begun: bytes) -> None:
    stream = io.TextIOWrapper(io.BufferedReader(io.BytesIO(begun)), "utf-8", errors="surrogateescape")
    with pytest.raises(DataError, match=r"it is (gzip data|a picture), not text"):
        list(read_conversations(stream))


@pytest.mark.parametrize("text", ["RIFF: Hello\n", "BZh: Hello\n", "PK: ID3\n", "%PDF: well\n", "1\x1f: x\n"])
def test_text_that_begins_like_the_name_of_a_kind_is_text(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text("Ann: Hi\n" + text)
    (tmp_path / "b.txt").write_text(text)
    assert list(numbered_lines(tmp_path / "b.txt", "b")) == [(1, text)]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_utf_16_with_its_mark_is_read(tmp_path: Path, encoding: str, name: str) -> None:
    text = "speaker;text\r\nAnn;Gr\u00fc\u00dfe \u2028 \U0001f600\u010a\r\nBo;Hi\r\n"
    raw = ("" if encoding == "utf-16" else "\ufeff").encode(encoding) + text.encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    [chat] = read_conversations(tmp_path / name)
    assert [u.text for u in chat.utterances] == ["Gr\u00fc\u00dfe \u2028 \U0001f600\u010a", "Hi"]
    buffer = io.BufferedReader(io.BytesIO(raw))
    assert list(read_conversations(io.TextIOWrapper(buffer, "utf-8"), "csv")) == [chat]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt"])
def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path, name: str) -> None:
    chats = [Conversation("0", [Utterance("Ann", "Hello"), Utterance("Bo", "Hi")])]
    write_conversations(chats, tmp_path / name)
    plain = (tmp_path / name).read_bytes().replace(b"\r\n", b"\n")
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + plain.replace(b"\n", b"\r\n"))
    assert list(read_conversations(tmp_path / name)) == chats
