"""A part's results as one file: JSONL, CSV or Parquet; and, in another, what could not be read.

Every conversation has beside it the file and line that it came from, so that results can be joined back where ids are
not distinct.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from sacl.errors import DataError
from sacl.recognizer.writing import Recognised, conversation_object, csv_header, csv_rows
from sacl.scale.records import Record

Written = Literal["jsonl", "csv", "parquet"]


class Result(NamedTuple):
    """A conversation that was read, with the line that it came from."""

    line: int | None
    recognised: Recognised


def written(results: Sequence[Result], source: str, labels: Sequence[str], format: Written) -> bytes:
    """The file of a part; of one without a result it has no line, or the header alone."""
    if format == "jsonl":
        objects = (conversation_object(*r.recognised) | {"source": source, "line": r.line} for r in results)
        return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in objects).encode()
    rows = [[source, r.line, *row] for r in results for row in csv_rows(*r.recognised)]
    header = ["source", "line", *csv_header(labels)]
    if format == "parquet":
        return _parquet(header, rows, labels)
    stream = io.StringIO(newline="")
    out = csv.writer(stream)  # with CRLF ends, so that a lone CR in a text is quoted too
    out.writerow(header)
    out.writerows(rows)
    return stream.getvalue().encode()


def malformed(source: str, faults: Sequence[tuple[Record, str]]) -> bytes:
    """One JSON line a record that could not be read: file, line, its id where it has one, and why."""
    lines = ({"source": source, "line": r.line, "id": _id(r), "reason": reason} for r, reason in faults)
    # Bytes that are no text may stand in an id.
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def refuse_namesakes(labels: Iterable[str]) -> None:
    """Raises a DataError for a label that is called as a column of the results is: Parquet is not read with two."""
    same = next((label for label in labels if label in ["source", "line", *csv_header(())]), None)
    if same is not None:
        raise DataError(
            f"the emotion {same!r} has the name of a column", where="--format parquet", remedy="Write jsonl or csv"
        )


def _parquet(header: Sequence[str], rows: Sequence[Sequence[Any]], labels: Sequence[str]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    numbers = dict.fromkeys(["time", "probability", *labels], pa.float64()) | {"line": pa.int64()}
    kinds = [numbers.get(name, pa.string()) for name in header]
    columns = [[_number(row[i]) if kind != pa.string() else row[i] for row in rows] for i, kind in enumerate(kinds)]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    out = io.BytesIO()
    parquet.write_table(pa.Table.from_arrays(arrays, names=list(header)), out)
    return out.getvalue()


def _number(cell: Any) -> Any:
    return None if cell in ("", None) else float(cell) if isinstance(cell, str) else cell


def _id(record: Record) -> str | None:
    if record.id is not None:
        return record.id
    try:
        id = json.loads(record.content)["id"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return id if isinstance(id, str) else None
