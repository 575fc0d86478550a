"""Emotions of any number of conversations in files, by Ray Data: a part of some hundred at a time, a file each.

OUT/job.json                       what the results belong to: settings, and each file's kind, size and date
OUT/model.safetensors              the model, which the workers read there
OUT/parts/FILE-1a2b3c4d/00000.*    results of a part
OUT/malformed/...                  and what could not be read of it
OUT/malformed.jsonl                all of that, once the job is done

A part's results are there whole or not at all, and last: they mean that the part is done. A job that is started again
does what has none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sacl.conversation import Conversation
from sacl.errors import DataError, FeatureError, RunError, SaclError
from sacl.experiment.lock import held
from sacl.recognizer import EmotionRecognizer
from sacl.recognizer.recognition import check_threshold
from sacl.rows import Columns
from sacl.scale import places
from sacl.scale.cluster import LOCAL, connected, mapped, not_seen, told
from sacl.scale.records import CHARACTERS, RECORDS, Kind, Part, Record, conversation, kind_of, parts
from sacl.scale.results import Result, Written, malformed, refuse_namesakes, written
from sacl.training.trained import MODEL_FILE, TrainedModel

JOB_FILE, MALFORMED_FILE = "job.json", "malformed.jsonl"
UNLABELLED = Columns(emotion=None)


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker is told."""

    out: str
    format: Written
    threshold: float | None
    columns: Columns
    labels: tuple[str, ...]
    trust_code: bool

    def part(self, source: str, number: int, kind: str = "parts", suffix: str | None = None) -> str:
        """Where a part's results are, or with `malformed` what could not be read of it."""
        return places.joined(self.out, kind, _name(source), f"{number:05d}.{suffix or self.format}")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a job did.

    Args:
        files: how many there are.
        conversations, utterances: what was recognised this time.
        already: parts that had results before.
        malformed: records that could not be read, this time or before.
    """

    files: int
    conversations: int
    utterances: int
    already: int
    malformed: int


def predict_on_ray(
    recognizer: EmotionRecognizer,
    pattern: str,
    out: str,
    *,
    format: Written = "jsonl",
    input_format: str | None = None,
    columns: Columns = UNLABELLED,
    threshold: float | None = None,
    trust_code: bool = False,
    address: str = LOCAL,
    progress: Callable[[str, int, int], None] | None = None,
) -> Summary:
    """Recognises every conversation of some files and writes the results into a folder; see this module's beginning.

    Args:
        recognizer: its model is handed to the workers; they must find its encoder under the same name.
        pattern: address of JSONL, CSV or Parquet files, see `places`; all workers must find them.
        out: address of a folder, new or left by the same job.
        format: of the results.
        input_format: of the files; by default told from their names.
        columns: of a CSV or of Parquet.
        threshold: as for `EmotionRecognizer.predict`.
        trust_code: whether workers may run the code that the model names, as for `from_pretrained`.
        address: of Ray, see `connected`.
        progress: called as progress("utterances", so many, 0).

    Raises:
        RunError: the folder holds another job, or Ray fails. DataError: no files, or a place that cannot be written.
    """
    check_threshold(threshold, recognizer.labels)
    if format == "parquet":
        refuse_namesakes(recognizer.labels)
    job = Job(places.settled(out), format, threshold, columns, tuple(recognizer.labels), trust_code)
    files = _files(pattern, job.out, input_format)
    with held(Path(job.out)) if places.is_local(job.out) else nullcontext():
        _begin(job, recognizer, files)
        with connected(address) as ray, told(where=out):
            counts = _counts(ray, job, {source: about["kind"] for source, about in files.items()}, progress)
        return Summary(len(files), *counts, _gather(job))


def _files(pattern: str, out: str, given: str | None) -> dict[str, dict[str, Any]]:
    """The files to be read, with kind, size and date; results that an earlier try left in `out` are none of them."""
    found = places.found(places.settled(pattern))
    files = {source: about for source, about in found.items() if not source.startswith(places.joined(out, ""))}
    if not files:
        raise DataError("all such files are results", where=pattern, remedy="Give another pattern, or another --out")
    return {source: about | {"kind": kind_of(source, given)} for source, about in files.items()}


def _begin(job: Job, recognizer: EmotionRecognizer, files: Mapping[str, Any]) -> None:
    """Writes what the results belong to, or, where it is there, sees to it that it is the same."""
    path = places.joined(job.out, JOB_FILE)
    model = recognizer.trained.to_bytes()
    settings = {
        "format_version": 1,
        "model": hashlib.sha256(model).hexdigest(),
        "format": job.format,
        "threshold": job.threshold,
        "columns": asdict(job.columns),
        "records": [RECORDS, CHARACTERS],
    }
    earlier: dict[str, Any] = {}
    content = places.read(path)
    if content is not None:
        try:
            record = json.loads(content)
            earlier = dict(record.pop("files"))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise RunError("it is damaged", where=path, remedy="Give another --out") from error
        if not any(places.names(places.joined(job.out, kind)) for kind in ("parts", "malformed")):
            record, earlier = settings, {}  # before its first result a job may be another one
        other = next((key for key in settings if record.get(key) != settings[key]), None)
        changed = next((name for name in files if name in earlier and earlier[name] != files[name]), None)
        if other or changed:
            told = f"{changed} has changed since" if changed else f"{other}: {record.get(other)!r:.80} then"
            raise RunError(
                f"its results are of another job ({told})", where=job.out, remedy="Give another --out, or the same job"
            )
    elif places.names(job.out):
        raise RunError("the folder is not empty", where=job.out, remedy="Give another --out")
    places.write(path, json.dumps(settings | {"files": earlier | dict(files)}, indent=1).encode())
    places.write(places.joined(job.out, MODEL_FILE), model)


def _counts(
    ray: Any,
    job: Job,
    kinds: Mapping[str, Kind],
    progress: Callable[[str, int, int], None] | None,
) -> tuple[int, int, int]:
    """Conversations and utterances that were recognised, and parts that were done before."""
    workers = max(1, int(ray.cluster_resources().get("CPU", 1)))
    # A row is a block, and a row is a part: what a worker is given, and what is done again if it is killed.
    ray.data.DataContext.get_current().target_max_block_size = 1
    # Asked once: reading that is tried again has to give the same rows.
    done = _done(job, kinds)
    files = [{"source": name, "kind": kind, "done": json.dumps(sorted(done[name]))} for name, kind in kinds.items()]
    data = ray.data.from_items(files, override_num_blocks=min(len(files), 1000))
    # Reading takes little of a processor, and must find a place beside the workers.
    readers = ray.data.TaskPoolStrategy(min(workers, len(files)))
    pool = ray.data.ActorPoolStrategy(min_size=1, max_size=workers)
    data = mapped(data, _parts, fn_args=(job,), num_cpus=0, compute=readers)
    data = mapped(data, _Worker, fn_constructor_args=(job,), num_cpus=1, compute=pool)
    total = {"conversations": 0, "utterances": 0}
    lengths = dict[str, int]()
    for row in data.iter_rows():
        for key in total:
            total[key] += int(row[key])
        if row["parts"]:
            lengths[row["source"]] = int(row["parts"])
        if progress is not None:
            progress("utterances", total["utterances"], 0)
    return total["conversations"], total["utterances"], _already(job, lengths, done)


def _done(job: Job, sources: Iterable[str]) -> dict[str, set[str]]:
    """Names of the files of results that each source has."""
    begun = places.names(places.joined(job.out, "parts"))
    folders = {source: places.joined(job.out, "parts", _name(source)) for source in sources}
    with ThreadPoolExecutor(16) as pool:  # a store takes its time for each
        listed = pool.map(lambda source: places.names(folders[source]) if _name(source) in begun else set(), folders)
        return dict(zip(folders, listed, strict=True))


def _already(job: Job, lengths: Mapping[str, int], done: Mapping[str, set[str]]) -> int:
    """How many parts were done before; raises a RunError where, after all, one has no file."""
    already = 0
    for source, there in _done(job, done).items():
        wanted = {f"{number:05d}.{job.format}" for number in range(lengths.get(source, 0))}
        missing = len(wanted - there)
        if missing or not wanted:
            found = f"{missing or 'all'} parts of {source} have no results"
            raise RunError(found, where=job.out, remedy="Give the same command: it does those that are missing")
        already += len(wanted & done[source])
    return already


def _parts(batch: dict[str, Any], job: Job) -> Iterator[dict[str, list[Any]]]:
    """The parts of a file that have no results; and last, without content, how many parts it has."""
    for source, kind, names in zip(*(batch[key].tolist() for key in ("source", "kind", "done")), strict=True):
        done, length = set(json.loads(names)), 0
        for part in parts(source, kind, job.columns):
            length = part.number + 1
            if f"{part.number:05d}.{job.format}" not in done:
                content = json.dumps([part.header, part.records])
                yield {"source": [source], "kind": [kind], "number": [part.number], "content": [content]}
        yield {"source": [source], "kind": [kind], "number": [length], "content": [""]}


class _Worker:
    """Holds the model, and gives a part to it."""

    def __init__(self, job: Job) -> None:
        import torch

        torch.set_num_threads(1)
        self._job = job
        model = places.joined(job.out, MODEL_FILE)
        content = places.read(model)
        if content is None:
            raise not_seen(model, "Give an --out that all machines of the cluster share")
        self._recognizer = EmotionRecognizer(TrainedModel.from_bytes(content, trust_code=job.trust_code))
        if self._recognizer.encoder is not None:
            # Here, and not with the first part: what is wrong with it is no conversation's fault.
            _ = self._recognizer.encoder.tokenizer, self._recognizer.encoder.model

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        keys = ("source", "kind", "number", "content")
        rows = [self._row(*row) for row in zip(*(batch[key].tolist() for key in keys), strict=True)]
        return {key: [row[key] for row in rows] for key in rows[0]}

    def _row(self, source: str, kind: Kind, number: int, content: str) -> dict[str, Any]:
        counts, length = (0, 0), number
        if content:
            header, records = json.loads(content)
            part = Part(number, header, [Record(*record) for record in records])
            counts, length = predicted(self._recognizer, self._job, part, source, kind), 0
        return {"source": source, "parts": length, "conversations": counts[0], "utterances": counts[1]}


def predicted(recognizer: EmotionRecognizer, job: Job, part: Part, source: str, kind: Kind) -> tuple[int, int]:
    """Writes what of a part could not be read, and last its results; returns how many conversations and utterances."""
    good, faults = list[tuple[Record, Conversation]](), list[tuple[Record, str]]()
    for record in part.records:
        try:
            good.append((record, conversation(record, part.header, kind, source, job.columns)))
        except SaclError as error:
            faults.append((record, str(error)))
    results = list(_recognised(recognizer, job, good, faults))
    if faults:
        faults.sort(key=lambda fault: fault[0].position)
        places.write(job.part(source, part.number, "malformed", "jsonl"), malformed(source, faults))
    places.write(job.part(source, part.number), written(results, source, job.labels, job.format))
    return len(results), sum(len(r.recognised[1]) for r in results)


def _recognised(
    recognizer: EmotionRecognizer,
    job: Job,
    good: Sequence[tuple[Record, Conversation]],
    faults: list[tuple[Record, str]],
) -> Iterator[Result]:
    """All together; where the model refuses one, a vector of another width say, each by itself."""
    try:
        turns = list(recognizer.predict_many([one for _, one in good], RECORDS, threshold=job.threshold))
        for (record, one), recognitions in zip(good, turns, strict=True):
            yield Result(record.line, (one, recognitions))
    except (DataError, FeatureError) as error:
        if len(good) == 1:
            [(record, one)] = good
            if recognizer.encoder is not None and all(u.vector is None for u in one.utterances):
                raise  # whatever a text is, an encoder reads it: it is the worker that fails
            faults.append((record, str(error)))
            return
        for pair in good:
            yield from _recognised(recognizer, job, [pair], faults)


def _gather(job: Job) -> int:
    """One file of all that could not be read, none where all could; how many records that is."""
    home = places.joined(job.out, "malformed")
    folders = [places.joined(home, name) for name in sorted(places.names(home))]
    pieces = [places.joined(folder, name) for folder in folders for name in sorted(places.names(folder))]
    lines = b"".join(places.read(piece) or b"" for piece in pieces)
    if lines:
        places.write(places.joined(job.out, MALFORMED_FILE), lines)
    return lines.count(b"\n")


def _name(source: str) -> str:
    """A folder's name for a file: its own, and what tells it from its namesakes."""
    return f"{source.rpartition('/')[2]}-{hashlib.sha256(source.encode()).hexdigest()[:8]}"
