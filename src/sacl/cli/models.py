"""`sacl predict`: emotions of your own conversations."""

from __future__ import annotations

import json as json_
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from sacl.cli import show
from sacl.cli.data import TrustCode
from sacl.cli.ray import Ray, predict_files

if TYPE_CHECKING:
    from sacl.conversation import Conversation
    from sacl.recognizer.writing import Recognised

FORMATS = ("table", "jsonl", "csv", "json")
ONE_FILE = (
    "One file of conversations is read at a time: sacl predict FILE, or sacl predict MODEL FILE; "
    "with --ray a pattern in quotes may name many"
)


def predict(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="[MODEL] FILE|-",
            help="A run's folder or a model file, by default the model that ships; then conversations, - for stdin.",
        ),
    ],
    format: Annotated[
        str | None,
        typer.Option(
            help="table, jsonl or csv, with --ray jsonl, csv or parquet; by default by --out, table for a terminal, "
            "else jsonl."
        ),
    ] = None,
    input_format: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="jsonl, csv, txt, whatsapp, slack, vtt or srt, with --ray jsonl, csv or parquet; by default told from "
            "the file, with --ray from its name.",
        ),
    ] = None,
    out: Annotated[str | None, typer.Option(help="File to write, complete or not at all; with --ray a folder.")] = None,
    ray: Ray = None,
    threshold: Annotated[
        float | None, typer.Option(help='Where no emotion is as probable as this (0 to 1), say "uncertain".')
    ] = None,
    gap: Annotated[
        float | None,
        typer.Option(
            help="Hours of silence after which a new conversation begins; by default a chat is one, and so "
            "is a file of captions, a thread, and what a channel holds beside its threads."
        ),
    ] = None,
    dates: Annotated[str | None, typer.Option(help="Of WhatsApp, dmy, mdy or ymd; by default told from them.")] = None,
    conversation_column: Annotated[str, typer.Option(help="Of a CSV.")] = "conversation",
    speaker_column: Annotated[str, typer.Option(help="Of a CSV.")] = "speaker",
    text_column: Annotated[str, typer.Option(help="Of a CSV.")] = "text",
    trust_code: TrustCode = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Name the emotion of every utterance in a file of conversations.

    FILE is JSONL, CSV, lines `Speaker: text`, WhatsApp's or Slack's export (of Slack also the folder), or WebVTT or
    SRT captions that say who speaks. JSONL and CSV may be larger than memory; a CSV's conversations stand together.

    With --ray, FILE may be a pattern in quotes, of JSONL, CSV or Parquet, here or in an object store (s3://...). Each
    some hundred conversations are a file in OUT/parts, with the file and line that each came from. What cannot be read
    is told in OUT/malformed.jsonl, and the exit code is then 2. The same command goes on with what was cut off.
    """
    from sacl.errors import DataError
    from sacl.formats import Columns, read_conversations

    columns = Columns(conversation=conversation_column, speaker=speaker_column, text=text_column, emotion=None)
    if ray is not None:
        if gap is not None or dates is not None or json:
            where = "--json" if json else "--gap" if dates is None else "--dates"
            raise DataError("it is not for files on Ray", where=where, remedy="Leave it out")
        *first, pattern = _at_most_two(arguments)
        predict_files(
            ray,
            first[0] if first else None,
            pattern,
            out,
            format=format,
            input_format=input_format,
            columns=columns,
            threshold=threshold,
            trust_code=trust_code,
        )
        return
    model, file = _named(arguments)
    target = None if out is None else Path(out)
    written = "json" if json else format or _by_suffix(target)
    if written not in (None, *FORMATS):
        raise DataError(f"unknown format {written!r}", where="--format", remedy="Use table, jsonl or csv")
    if dates not in (None, "dmy", "mdy", "ymd"):
        raise DataError(f"unknown order {dates!r}", where="--dates", remedy="Use dmy, mdy or ymd")
    source: Any = sys.stdin if file == "-" else Path(file)
    with show.progress() as bars:
        conversations = read_conversations(
            source,
            input_format,  # type: ignore[arg-type]
            columns,
            gap=None if gap is None else 3600 * gap,
            dates=dates,  # type: ignore[arg-type]
            progress=bars,
        )
        if target is not None and file != "-" and target.exists() and target.samefile(source):
            raise DataError("it is the file that is read", where=f"--out {out}", remedy="Name another one")
        # Not before: PyTorch takes seconds to load.
        from sacl.recognizer import EmotionRecognizer

        recognizer = EmotionRecognizer.from_pretrained(model, trust_code=trust_code)
        with _sink(target) as sink:
            written = written or ("table" if sink.isatty() else "jsonl")
            held: deque[Conversation] = deque()
            twice = Twice(refused=written == "csv")
            noted = twice.noted(_kept(conversations, held))
            results = recognizer.predict_many(noted, progress=bars, threshold=threshold)
            recognised: Iterator[Recognised] = ((held.popleft(), turns) for turns in results)
            if sink.isatty():
                recognised = _after(bars, recognised)
            _write(recognised, written, list(recognizer.labels), sink)
    twice.tell()


def _at_most_two(arguments: Sequence[str]) -> Sequence[str]:
    from sacl.errors import ModelError

    if len(arguments) > 2:
        raise ModelError("more than a model and a file are given", remedy=ONE_FILE)
    return arguments


def _named(arguments: Sequence[str]) -> tuple[str | None, str]:
    """Model and file."""
    from sacl.errors import ModelError
    from sacl.exports.slack import is_export
    from sacl.textfile import kind_of

    file = _at_most_two(arguments)[-1]
    if len(arguments) == 2 and _is_text(Path(arguments[0])):
        raise ModelError("it is no model, or a damaged one", where=arguments[0], remedy=ONE_FILE)
    if len(arguments) == 1 and file != "-" and kind_of(Path(file)) == "folder" and not is_export(Path(file)):
        raise ModelError("a file of conversations is wanted", where=file, remedy="Write: sacl predict MODEL FILE")
    return (arguments[0] if len(arguments) == 2 else None), file


def _is_text(path: Path) -> bool:
    """Whether it is a file that cannot be a model: one begins with its header's length, eight bytes with zeros."""
    from sacl.textfile import kind_of

    if kind_of(path) != "file" or path.suffix == ".safetensors":
        return False
    if path.suffix in (".gz", ".zip"):
        return True
    try:
        with path.open("rb") as file:
            return b"\0" not in file.read(8)
    except OSError:
        return False  # loading says why


def _by_suffix(out: Path | None) -> str | None:
    from sacl.errors import DataError

    if out is None:
        return None
    suffix = Path(out.name.removesuffix(".gz")).suffix.lstrip(".").lower()
    if suffix not in ("jsonl", "csv", "json"):
        raise DataError(
            "what to write cannot be told from the name",
            where=f"--out {out}",
            remedy="Call it .jsonl or .csv, or add --format table",
        )
    return suffix


@contextmanager
def _sink(out: Path | None) -> Iterator[TextIO]:
    from sacl.textfile import written_aside

    if out is None:
        yield sys.stdout
        return
    with written_aside(out) as file:
        yield file


def _kept(conversations: Iterable[Conversation], held: deque[Conversation]) -> Iterator[Conversation]:
    """They go to the model; what was read of them, to the output."""
    for conversation in conversations:
        held.append(conversation)
        yield conversation


def _after(bars: show.Bars, recognised: Iterable[Recognised]) -> Iterator[Recognised]:
    for one in recognised:
        bars.hide()  # output and bars share the screen
        yield one


class Twice:
    """Ids that stand for several conversations. All of these are read, in order, and the user is told.

    Args:
        refused: what is written could not keep them apart.
    """

    def __init__(self, refused: bool) -> None:
        from sacl.seen import Seen

        self._refused = refused
        self._seen = Seen()
        self._count = 0
        self._first = ""

    def noted(self, conversations: Iterable[Conversation]) -> Iterator[Conversation]:
        """The same conversations.

        Raises:
            DataError: an id comes again, and that is refused.
        """
        from sacl.errors import DataError, place

        for position, conversation in enumerate(conversations, 1):
            if self._seen.add(conversation.id):
                if self._refused:
                    raise DataError(
                        f"it is conversation {position}, and one before it has the same id: "
                        "a CSV could not tell them apart",
                        where=place(conversation=conversation.id),
                        remedy="Write --format jsonl, or rename one",
                    )
                self._count += 1
                self._first = self._first or f"conversation {position} is called {conversation.id!r}"
            yield conversation

    def tell(self) -> None:
        """On stderr, if there were any."""
        if self._count:
            more = f", and so it is with {self._count - 1} more" if self._count > 1 else ""
            print(
                f"sacl: {show.printable(self._first)} as one before it{more}. All are read, in the input's order",
                file=sys.stderr,
            )


def _write(recognised: Iterable[Recognised], format: str, labels: list[str], out: TextIO) -> None:
    from sacl.recognizer.writing import conversation_object, write_csv

    if format == "json":
        show.documents((conversation_object(*one) for one in recognised), out)
    elif format == "csv":
        write_csv(recognised, labels, out)
    elif format == "jsonl":
        for one in recognised:
            out.write(json_.dumps(conversation_object(*one), ensure_ascii=False) + "\n")
    else:
        unsure = False
        for conversation, turns in recognised:
            unsure |= show.conversation(conversation.id, turns, out)
        if unsure:
            show.console(file=out).print(f"?  below {show.UNSURE:.2f}: more likely wrong than right", style="dim")
