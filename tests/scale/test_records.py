"""Files divided into parts: nothing is lost, nothing comes twice, and a fault costs the record that has it."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacl import interchange, textfile
from sacl.conversation import Conversation, Utterance
from sacl.errors import DataError, SaclError
from sacl.formats import read_conversations, write_conversations
from sacl.rows import Columns
from sacl.scale import records
from sacl.scale.records import Kind, conversation, kind_of, parts

COLUMNS = Columns(emotion=None)
# What a CSV has to quote, and ends of lines that are none: U+2028, and a carriage return by itself.
TEXT = st.text(st.sampled_from('ab ",;\n\r\u2028é'), max_size=12)
CHATS = st.lists(
    st.lists(st.tuples(st.sampled_from(["Ann", "Bo, the other"]), TEXT), min_size=1, max_size=4), min_size=1
)


def chats(turns: list[list[tuple[str, str]]]) -> list[Conversation]:
    return [Conversation(f"c{i}", [Utterance(*turn) for turn in chat]) for i, chat in enumerate(turns)]


def read(path: Path, kind: Kind) -> tuple[list[Conversation], list[tuple[int | None, str]]]:
    """All that the parts of a file hold, in order; and the lines and reasons of what could not be read."""
    good, faults = [], []
    for part in parts(str(path), kind, COLUMNS):
        for record in part.records:
            try:
                good.append(conversation(record, part.header, kind, str(path), COLUMNS))
            except SaclError as error:
                faults.append((record.line, str(error)))
    return good, faults


def same(a: list[Conversation], b: list[Conversation]) -> bool:
    return [c.to_dict() for c in a] == [c.to_dict() for c in b]


@given(CHATS, st.sampled_from([".jsonl", ".jsonl.gz", ".csv", ".csv.gz"]), st.integers(1, 3))
def test_the_parts_of_a_file_hold_what_reading_it_as_a_whole_gives(
    tmp_path_factory: pytest.TempPathFactory, turns: list[Any], suffix: str, size: int
) -> None:
    path = tmp_path_factory.mktemp("parts") / f"a{suffix}"
    write_conversations(chats(turns), path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "RECORDS", size)
        divided = list(parts(str(path), kind_of(str(path)), COLUMNS))
        found, faults = read(path, kind_of(str(path)))
    assert not faults
    assert same(found, list(read_conversations(path, columns=COLUMNS)))
    assert [part.number for part in divided] == list(range(len(divided)))
    assert all(len(part.records) == size for part in divided[:-1])


@pytest.mark.parametrize("nested", [True, False])
def test_parquet_holds_a_conversation_a_row_or_an_utterance_a_row(tmp_path: Path, nested: bool) -> None:
    made = chats([[("Ann", "You came!"), ("Bo", "I did")], [("Ann", "Well?")]])
    rows = [c.to_dict() for c in made]
    if not nested:
        rows = [{"conversation": c.id, "speaker": u.speaker, "text": u.text} for c in made for u in c.utterances]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=1)
    found, faults = read(tmp_path / "a.parquet", "parquet")
    assert not faults
    assert same(found, made)


def test_ids_in_parquet_may_be_numbers(tmp_path: Path) -> None:
    rows = [{"id": n, "utterances": [{"speaker": "Ann", "text": "x"}]} for n in (7, 8)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    found, faults = read(tmp_path / "a.parquet", "parquet")
    assert ([c.id for c in found], faults) == (["7", "8"], [])


def test_a_long_conversation_ends_a_part_early_and_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "CHARACTERS", 300)
    made = chats([[("Ann", "a")], [("Ann", "b" * 200)] * 2, [("Ann", "c")]])
    write_conversations(made, tmp_path / "a.jsonl")
    assert [len(part.records) for part in parts(str(tmp_path / "a.jsonl"), "jsonl", COLUMNS)] == [1, 1, 1]


def test_a_malformed_line_costs_its_own_conversation_and_says_which(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = [json.dumps({"utterances": [{"speaker": "Ann", "text": text}]}).encode() for text in "abcd"]
    path.write_bytes(
        b"\n".join([good[0], b"{", good[1], b'{"utterances": [{"text": "x"}]}', good[2], b"\xff", good[3]])
    )
    found, faults = read(path, "jsonl")
    assert [c.utterances[0].text for c in found] == list("abcd")
    assert [c.id for c in found] == ["0", "2", "4", "6"]  # by their places among all, as they would be once mended
    assert [line for line, _ in faults] == [2, 4, 6]
    assert all(reason.startswith(f"{path}, line {line}") for line, reason in faults)


CSV = "conversation,speaker,text\n"


@pytest.mark.parametrize(
    ("body", "good", "faults"),
    [
        ("a,Ann,x\nb,Bo,y,z\nc,Ann,w\n", "ac", [(3, "the row has 4 cells")]),
        ('a,Ann,x\nb,Bo,"y"z\nc,Ann,w\n', "ac", [(3, "it is not CSV")]),
        ('a,Ann,x\nb,Bo,"never closed\nc,Ann,w\nd,Ann,v\n', "acd", [(3, "it is not CSV")]),
        ("a,Ann,x\nb,Bo,y\na,Ann,w\nc,Ann,v\n", "abc", [(4, "comes back")]),
        ("a,Ann,x\n ,Bo,y\nc,Ann,v\n", "ac", [(3, "its conversation is empty")]),
        ("a,Ann,x\nb,Bo,y\rz\nc,Ann,w\n", "ac", [(3, "it is not CSV")]),
        ("a,Ann,x\nb\udcff,Bo,y\nc,Ann,w\n", "ac", [(3, "its conversation holds a NUL or a lone surrogate")]),
        ("a,Ann,x\nb\0,Bo,y\nc,Ann,w\n", "ac", [(3, "its conversation holds a NUL or a lone surrogate")]),
        ("a,Ann,x\n\nb,,y\nb,Bo,z\n\nc,Ann,v\n", "ac", [(4, "it has no speaker")]),
    ],
)
def test_a_malformed_row_costs_its_own_conversation(
    tmp_path: Path, body: str, good: str, faults: list[tuple[int, str]]
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes((CSV + body).encode("utf-8", "surrogateescape"))
    found, met = read(path, "csv")
    assert "".join(c.id for c in found) == good
    assert [line for line, _ in met] == [line for line, _ in faults]
    for (line, reason), (_, expected) in zip(met, faults, strict=True):
        assert expected in reason
        assert f"line {line}" in reason


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", b"\n \n", "it holds no conversation"),
        ("a.csv", b"", "it has no header"),
        ("a.csv", b"who,said\nAnn,x\n", "the column 'speaker' is missing"),
        ("a.csv", b"speaker,text,callId\nAnn,x,1\nBo,y,2\n", "there is no column 'conversation', but one 'callId'"),
        ("a.csv", b"conversation,speaker,text,conversation\na,Ann,x,b\n", "the column 'conversation' stands twice"),
        ("a.csv", b"speaker,text,Conversation\nAnn,x,a\n", "there is no column 'conversation', but one 'Conversation'"),
        ("a.csv.gz", b"no gzip", "the gzip data is damaged"),
        ("a.jsonl", b'[{"utterances": [{"speaker": "Ann", "text": "x"}]}]\n', "it is one JSON document"),
        ("a.jsonl", b'{\n"utterances": []}\n', "it is one JSON document"),
        ("a.jsonl", b"\x1f\x8b\x08", "it is gzip data, not text"),
        ("a.jsonl", b"\xff\xfea\0\x00", "it is not UTF-16, though it begins so"),
        ("a.jsonl", b"a" * 200, "the line is longer than"),
        ("a.jsonl.gz", gzip.compress(b"\n" * 2**21), "it unpacks to more than 50 times its size"),
        ("a.parquet", b"PAR1 but no more", "cannot be read to its end"),
        ("a.jsonl.gz", b"no gzip", "the gzip data is damaged"),
    ],
)
def test_what_is_wrong_with_a_whole_file_is_one_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, expected: str
) -> None:
    monkeypatch.setattr(records, "LONGEST_LINE", 200)
    monkeypatch.setattr(textfile, "LONGEST_LINE", 200)
    (tmp_path / name).write_bytes(content)
    found, faults = read(tmp_path / name, kind_of(name))
    assert not found
    [(_, reason)] = faults
    assert expected in reason


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_conversation_that_does_not_end_is_a_fault_and_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    monkeypatch.setattr(interchange, "MOST_TURNS", 5)
    rows = [{"conversation": id, "speaker": "Ann", "text": "x"} for id in ["a", *"b" * 6, "c"]]
    if kind == "csv":
        (tmp_path / "a.csv").write_text(CSV + "".join(",".join(row.values()) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    found, faults = read(tmp_path / f"a.{kind}", kind)
    assert [c.id for c in found] == ["a", "c"]
    assert ["more than 5 turns" in reason for _, reason in faults] == [True]
    [part] = parts(str(tmp_path / f"a.{kind}"), kind, COLUMNS)
    assert part.records[1].content in ("", "[]")


def test_utf_16_is_read_as_that(tmp_path: Path) -> None:
    made = chats([[("Ann", "Hé"), ("Bo", "x")]])
    (tmp_path / "a.jsonl").write_text(json.dumps(made[0].to_dict(), ensure_ascii=False) + "\n", encoding="utf-16")
    found, faults = read(tmp_path / "a.jsonl", "jsonl")
    assert not faults
    assert same(found, made)


def test_of_a_file_that_is_cut_off_what_stands_before_the_cut_is_read(tmp_path: Path) -> None:
    line = b'{"utterances": [{"speaker": "Ann", "text": "x"}]}\n'
    # Incompressible lines between, so that the cut falls far behind the first ones.
    noise = [json.dumps({"id": str(i * 7919 % 10007), "utterances": []}).encode() + b"\n" for i in range(5000)]
    whole = gzip.compress(line * 3 + b"".join(noise))
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    found, faults = read(tmp_path / "a.jsonl.gz", "jsonl")
    assert len(found) == 3
    assert "it cannot be read to its end" in faults[-1][1]


def test_rows_of_a_csv_are_those_that_python_reads(tmp_path: Path) -> None:
    @given(st.lists(st.lists(st.text(st.sampled_from('a",\n\r'), max_size=4), min_size=3, max_size=3), min_size=1))
    def check(rows: list[list[str]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        lines = iter(list(enumerate(io.StringIO(text.getvalue(), newline="\n"), 1)))
        assert [cells for _, _, cells in records._Rows(lines, ",")] == rows

    check()


def test_a_kind_that_is_not_read_here_says_how_to_make_one_that_is() -> None:
    with pytest.raises(DataError, match="sacl data convert"):
        kind_of("chat.vtt")
    assert kind_of("calls.TSV") == "csv"
    assert kind_of("calls", "parquet") == "parquet"
