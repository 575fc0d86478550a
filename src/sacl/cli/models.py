"""`sacl predict`: emotions of your own conversations."""

from __future__ import annotations

import json as json_
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sacl.cli import show
from sacl.cli.data import TrustCode

if TYPE_CHECKING:
    from sacl.recognizer import Recognition


def predict(
    arguments: Annotated[
        list[str],
        typer.Argument(metavar="MODEL FILE|-", help="A run directory or model file; then conversations, - for stdin."),
    ],
    format: Annotated[str | None, typer.Option(help="table, jsonl or csv; by default table for a terminal.")] = None,
    input_format: Annotated[
        str | None, typer.Option("--from", help="jsonl, csv or txt; by default by the file's name, txt for stdin.")
    ] = None,
    conversation_column: Annotated[str, typer.Option(help="Of a CSV.")] = "conversation",
    speaker_column: Annotated[str, typer.Option(help="Of a CSV.")] = "speaker",
    text_column: Annotated[str, typer.Option(help="Of a CSV.")] = "text",
    trust_code: TrustCode = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Name the emotion of every utterance in a file of conversations: JSONL, CSV, or lines `Speaker: text`."""
    from sacl.errors import DataError, ModelError
    from sacl.formats import Columns, read_conversations
    from sacl.textfile import require_file

    if len(arguments) != 2:
        raise ModelError("a model and a file are wanted", remedy="Write: sacl predict MODEL FILE")
    if format not in (None, "table", "jsonl", "csv"):
        raise DataError(f"unknown format {format!r}", where="--format", remedy="Use table, jsonl or csv")
    columns = Columns(conversation=conversation_column, speaker=speaker_column, text=text_column)
    source: Any = sys.stdin if arguments[1] == "-" else Path(arguments[1])
    read_as: Any = input_format or ("txt" if arguments[1] == "-" else None)
    if isinstance(source, Path):
        require_file(source)
    # Not before: PyTorch takes seconds to load.
    from sacl.recognizer import EmotionRecognizer

    recognizer = EmotionRecognizer.from_pretrained(arguments[0], trust_code=trust_code)
    # Two readers of one stream: ids go to the output, conversations to the model.
    ids: list[str] = []

    def noted() -> Iterator[Any]:
        for conversation in read_conversations(source, read_as, columns):
            ids.append(conversation.id)
            yield conversation

    with show.progress() as progress:
        results = recognizer.predict_many(noted(), progress=progress)
        recognised = ((ids.pop(0), turns) for turns in results)
        if json:
            show.document([_record(id, turns) for id, turns in recognised])
        elif (format or ("table" if sys.stdout.isatty() else "jsonl")) == "table":
            for id, turns in list(recognised):
                show.conversation(id, turns)
        elif format == "csv":
            _csv(recognised, list(recognizer.labels))
        else:
            for id, turns in recognised:
                print(json_.dumps(_record(id, turns), ensure_ascii=False))


def _record(id: str, turns: Sequence[Recognition]) -> dict[str, Any]:
    """Interchange form, the recognised emotion and all probabilities beside each utterance."""
    utterances = [
        {
            "id": t.id,
            "speaker": t.speaker,
            **({} if t.text is None else {"text": t.text}),
            "emotion": t.emotion,
            "probability": round(t.probability, 6),
            "probabilities": {name: round(p, 6) for name, p in t.probabilities.items()},
        }
        for t in turns
    ]
    return {"id": id, "utterances": utterances}


def _csv(recognised: Iterable[tuple[str, Sequence[Recognition]]], labels: list[str]) -> None:
    import csv

    out = csv.writer(sys.stdout, lineterminator="\n")
    for i, (id, turns) in enumerate(recognised):
        if not i:  # not before the first is read: a file at fault leaves no header behind
            out.writerow(["conversation", "utterance", "speaker", "text", "emotion", "probability", *labels])
        for t in turns:
            numbers = [f"{p:.6f}" for p in (t.probability, *t.probabilities.values())]
            out.writerow([id, t.id, t.speaker, t.text or "", t.emotion, *numbers])
