"""Files that were made to harm: nothing in them runs, and none takes time or memory out of proportion.

All are read by `watched.py` in one process, which says of each what it cost and which events of Python's audit there
were. Time is the process's own, so that a busy machine fails nothing.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import io
import json
import os
import pickle
import runpy
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sacl.conversation import LabelSet
from sacl.errors import DataError, FeatureError, ModelError, RecipeError
from sacl.experiment.recipe import load_recipe
from sacl.features.encoder import Encoder
from sacl.formats import read_conversations
from sacl.settings import FeatureSettings, ModelSettings
from sacl.textfile import UNPACKED_FREELY
from sacl.training.checkpoint import save
from sacl.training.released import LARGEST_FILE, import_released
from sacl.training.trained import TrainedModel

HERE = Path(__file__).parent
SECONDS, MIB = 2.0, 1024
LONGEST_ERROR = 2_000
"""Characters: one line that a person reads, whatever the file says."""


def beside(name: str) -> Any:
    """A test module of the unpickler; its classes are pickled by the module's name."""
    spec = importlib.util.spec_from_file_location(f"hostile_{name}", HERE.parent / "datasets" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


UNPICKLER = beside("test_unpickler")
GREEDY: dict[str, bytes] = beside("test_unpickler_limits").GREEDY
PROTOCOL = b"\x80\x02"
LAUGHS = b"]p0\n" + b"".join(b"(" + b"g%d\n" % n * 10 + b"lp%d\n" % (n + 1) for n in range(40)) + b"."
COLLIDING = b"".join(b"\x8a\x0a" + (k * (2**61 - 1) + 1).to_bytes(10, "little") + b"N" for k in range(9_900))
PICKLES = {
    **{f"greedy: {name}": content for name, content in GREEDY.items()},
    "a billion laughs": LAUGHS,
    "lists in lists": b"]" * 10**5 + b"a" * (10**5 - 1) + b".",
    "a list that holds itself": b"]q\x00h\x00a.",
    "a memo read a million times": b"]q\x00" + b"h\x000" * 10**6 + b".",
    "tuples of one another": b")" + b"2\x86" * 10**5 + b".",
    "a bytearray of gigabytes": PROTOCOL + b"c__builtin__\nbytearray\nJ\x00\x2f\x68\x59\x85R.",
    "a set of a billion": PROTOCOL + b"c__builtin__\nset\nc__builtin__\nrange\nJ\x00\xca\x9a\x3b\x85R\x85R.",
    "a text of escapes": b"V" + b"\\u0041" * 10**6 + b"\n.",
}


def archive(program: bytes, name: str = "data.pkl", compression: int = zipfile.ZIP_STORED, **more: bytes) -> bytes:
    """A checkpoint as PyTorch packs it, with this pickle in it."""
    torch.save({"a": torch.ones(1)}, stream := io.BytesIO())
    made = io.BytesIO()
    with zipfile.ZipFile(stream) as whole, zipfile.ZipFile(made, "w", compression) as changed:
        root = whole.namelist()[0].split("/")[0]
        for entry in whole.namelist():
            is_pickle = entry.endswith("data.pkl")
            changed.writestr(f"{root}/{name}" if is_pickle else entry, program if is_pickle else whole.read(entry))
        for entry, content in more.items():
            changed.writestr(entry.replace("ROOT", root), content)
    return made.getvalue()


def before_2020(state: bytes, rest: bytes = b"") -> bytes:
    """A checkpoint as PyTorch wrote it before, with this pickle in it."""
    torch.save({"a": torch.ones(1)}, stream := io.BytesIO(), _use_new_zipfile_serialization=False)
    head = io.BytesIO(stream.getvalue())
    for _ in range(3):
        pickle.load(head)
    return stream.getvalue()[: head.tell()] + state + pickle.dumps(["0"], 2) + rest


def tensor(elements: int, storage: int, last: bytes = b"") -> bytes:
    """The pickle of a tensor that claims so many numbers, of a storage that claims so many."""
    sizes = [b"J" + struct.pack("<i", n) for n in (storage, elements)]
    where = b"X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    made = b"ctorch._utils\n_rebuild_tensor_v2\n((" + where + sizes[0] + last + b"tQK\x00" + sizes[1]
    return PROTOCOL + b"}X\x01\x00\x00\x00a" + made + b"\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtRs."


def tar(canary: Path) -> bytes:
    """What begins like a checkpoint of 2019 and is a tar archive with links, as the first PyTorch wrote them."""
    whole = before_2020(b"N.")
    name = whole[: whole.index(b".", whole.index(b"M\xe9\x03")) + 1].decode("latin-1") + "N.N.N."
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT, encoding="latin-1") as packed:
        packed.addfile(tarfile.TarInfo(name))
        for link in ("storages", "tensors", "pickle", f"../../../../../../../..{canary}"):
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, str(canary)
            packed.addfile(entry)
    return stream.getvalue()


def checkpoints(canary: Path) -> dict[str, bytes]:
    system = UNPICKLER.hostile(canary)["os.system, protocol 2"]
    opcodes = PROTOCOL + b"]0" * 10**6 + b"N."
    huge = 2 * 10**9
    return {
        "huge tensor in an archive": archive(tensor(huge, huge)),
        "huge tensor of a small storage": archive(tensor(huge, 1)),
        "huge tensor, before 2020": before_2020(tensor(huge, huge, b"N"), struct.pack("<q", huge) + b"abcd"),
        "huge tensor of a small storage, before 2020": before_2020(
            tensor(huge, 1, b"N"), struct.pack("<q", 1) + b"abcd"
        ),
        "a million opcodes": archive(opcodes),
        "a million opcodes under a name in capitals": archive(opcodes, "DATA.PKL"),
        "a million opcodes, before 2020": before_2020(opcodes),
        "keys that collide": archive(PROTOCOL + b"}(" + COLLIDING + b"u."),
        "a pickle that unpacks to gigabytes": archive(PROTOCOL + b"N" * 10**8 + b".", "data.pkl", zipfile.ZIP_DEFLATED),
        "paths out of the folder": archive(system, **{f"../../../../../../../..{canary}": b"x", "/etc/x": b"x"}),
        "a model of TorchScript": archive(system, **{"ROOT/constants.pkl": system, "ROOT/code/a.py": b"import os"}),
        "a tar archive with links": tar(canary),
    }


YAML = {
    "laughs": b"a: &a [ha]\n" + b"".join(b"a%d: &a%d [%s]\n" % (i, i, b", ".join([b"*a"] * 9)) for i in range(12)),
    "nested laughs": b"a0: &a0 [ha, ha]\n"
    + b"".join(b"a%d: &a%d [%s]\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 12)),
    "merged laughs": b"a0: &a0 {x: y}\n"
    + b"".join(b"a%d: &a%d {<<: [%s]}\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 12)),
    "an alias of itself": b"&a [*a]",
    "a call": b"!!python/object/apply:os.system [ls]",
    "an object": b"!!python/object/new:os.system [ls]",
    "a module": b"a: !!python/module:os\nb: !!python/name:os.system",
    "nested lists": b"[" * 60_000,
    "nested mappings": b"{a: " * 15_000,
    "nested by indent": b"".join(b" " * i + b"a:\n" for i in range(300)),
    "a long number": b"a: " + b"9" * 60_000,
    "sixty in sixty": b"a: " + b":".join([b"59"] * 20_000),
    "a long word": b"a" * 60_000,
    "many keys": b"".join(b"%d: a\n" % i for i in range(7_000)),
    "a binary": b"a: !!binary " + b"A" * 60_000,
    "larger than is read": b"a: b\n" * 20_000_000,
}

NESTED = b"[" * 10**6
LONG = {"speaker": "A", "text": "x" * 2**20}
JSON = {
    "nested lists": NESTED,
    "nested objects": b'{"a":' * 10**6,
    "nested within a turn": b'{"utterances": [{"speaker": "A", "text": ' + NESTED,
    "a number of a million digits": b"[" + b"9" * 10**6 + b"]",
    "a number beyond all": b'{"utterances": [{"speaker": "A", "text": "x", "time": 1e999}]}',
    "a key of a megabyte": json.dumps({"utterances": [LONG | {"k" * 2**20: 1}]}).encode(),
    "an id of a megabyte": json.dumps({"id": "i" * 2**20, "utterances": [LONG | {"emotion": 5}]}).encode(),
    "many keys": json.dumps({f"k{i}": i for i in range(2 * 10**5)}).encode(),
    "half a surrogate": b'{"utterances": [{"speaker": "\\ud800", "text": "x"}]}',
    "NaN": b"NaN",
    "a lone quote": b'"',
    "only spaces": b" " * 10**7,
}

TEXTS = {
    "field.csv": b'speaker,text\nAnn,"' + b"x" * 100 * 2**20 + b'"\n',
    "field of lines.csv": b'speaker,text\nAnn,"' + b"xxxxxxx\n" * (100 * 2**17) + b'"\n',
    "no quote.csv": b"speaker,text\n" + b'Ann,"x' * 10**6,
    "columns.csv": b",".join(b"c%d" % i for i in range(10**6)) + b"\n",
    "columns twice.csv": b"speaker,text," * 10**6 + b"\n",
    "cells.csv": b"speaker,text\n" + b"," * 10**7 + b"\n",
    "line.txt": b"Ann: " + b"x" * 100 * 2**20,
    "blanks.txt": b"Ann: x" + b" " * 10**7 + b"y\n",
    "colons.txt": b"a:" * 10**6,
    "brackets.txt": b"[" * 10**6 + b"10:15] Ann: x",
    "dates.txt": b"12/31/23, 9:41 PM - " * 10**5,
    "whatsapp of blanks.txt": b"12/31/23, 9:41 PM - Ann: hi" + b" \n" * 10**6,
    "voices.vtt": b"WEBVTT\n\n00:01.000 --> 00:02.000\n" + b"<v " * 10**6 + b"\n",
    "tags.vtt": b"WEBVTT\n\n00:01.000 --> 00:02.000\n<v Ann>" + b"<i" * 10**6 + b"\n",
    "cue of blanks.vtt": b"WEBVTT\n\n00:01.000 -->" + b" " * 10**6 + b"00:02.000 x\nhi\n",
    "brackets.srt": b"1\n00:00:01,000 --> 00:00:02,000\n" + b"[a" * 10**6 + b"\n",
    "zeros.csv": bytes(100 * 2**20),
    "zeros.jsonl": bytes(100 * 2**20),
    "random.txt": bytes(range(256)) * 4096,
}


def packed(begin: bytes, part: bytes, size: int) -> bytes:
    """A gzip archive of so many bytes."""
    with gzip.GzipFile(fileobj=(made := io.BytesIO()), mode="wb", mtime=0) as stream:
        stream.write(begin)
        for _ in range(size >> 20):
            stream.write(part * (2**20 // len(part)))
    return made.getvalue()


def bombs() -> dict[str, bytes]:
    return {
        "zeros.jsonl.gz": packed(b"", b"\0", 2**26),
        "one line.jsonl.gz": packed(b'{"utterances": [', b"{},", 60 * 2**20),
        "document.json.gz": packed(b"[\n", b"{},\n", 2**26),
        "blank lines.jsonl.gz": packed(b"", b"\n", 2**26),
        "rows.csv.gz": packed(b"speaker,text\n", b"A,x\n", 2**26),
        "chat.txt.gz": packed(b"", b"12/31/23, 9:41 PM - Ann: hi\n", 2**26),
    }


NAMES = (
    "data:text/plain,Ann: hi", "data:application/x-python,import os", "file:///etc/passwd", "http://127.0.0.1:9/x",
    "https://127.0.0.1:9/model.safetensors", "ftp://127.0.0.1:9/x.yaml", "../../../etc/passwd", "/dev/zero",
    "//127.0.0.1/share/x.csv", "|touch canary", "$(touch canary)", "a/../../b", "x" * 10_000, "../../etc", "..", "-",
    "\udcff", "a\0b", "s3://bucket/x.jsonl", "hf://owner/name",
)  # fmt: skip
"""Given where the name of a file, a model or an encoder is expected."""


def safetensors(header: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + body


HEADER = b'{"a":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}'
MODELS = {
    "a header of exabytes": struct.pack("<Q", 2**63) + b"{}",
    "a header of gigabytes": struct.pack("<Q", 2**31) + b"{}",
    "a tensor of exabytes": safetensors(HEADER % (2**61, 2**63)),
    "a tensor of nothing and exabytes": safetensors(
        b'{"a":{"dtype":"F32","shape":[0,%d],"data_offsets":[0,0]}}' % 2**62
    ),
    "a shape that wraps": safetensors(HEADER.replace(b"[%d]", b"[%d,4]") % (2**62, 4), b"abcd"),
    "offsets that overlap": safetensors(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b"abcd",
    ),
    "nested JSON": safetensors(b'{"__metadata__":{"sacl":"' + b"[" * 10**6 + b'"}}'),
    "a nested header": safetensors(b'{"a":' * 10**6),
}


def cases(folder: Path, canary: Path) -> Iterator[tuple[str, str, Path, Any]]:
    """Name, reader, file and content; every content that is bytes is written."""

    def made(kind: str, reader: str, contents: dict[str, Any], suffix: str) -> Iterator[tuple[str, str, Path, Any]]:
        for i, (name, content) in enumerate(contents.items()):
            yield f"{kind}: {name}", reader, folder / f"{kind}-{i}{suffix}", content

    hostile = UNPICKLER.hostile(canary)
    for content in (hostile, PICKLES):
        yield from made(f"pickle {len(content)}", "pickle", content, ".pkl")
        yield from made(f"released {len(content)}", "released", content, ".pkl")
        yield from made(f"checkpoint {len(content)}", "checkpoint", content, ".pt")
        yield from made(f"archive {len(content)}", "checkpoint", {k: archive(v) for k, v in content.items()}, ".pt")
    yield from made("checkpoint", "checkpoint", checkpoints(canary), ".pt")
    yield from made("tensors", "checkpoint", MODELS, ".safetensors")
    yield from made("model", "model", MODELS, ".safetensors")
    yield from made("pickle as a model", "model", hostile, ".safetensors")
    yield from made("recipe", "recipe", YAML, ".yaml")
    yield from made("map", "map", YAML, ".yaml")
    for reader, suffix in (("conversations", ".jsonl"), ("conversations", ".json"), ("map", ".json")):
        yield from made(f"{reader}{suffix}", reader, JSON, suffix)
    for reader in ("predictions", "robustness"):
        yield from made(reader, reader, JSON, ".json")
    for name, content in (TEXTS | bombs()).items():
        yield name, "conversations", folder / name, content
    for reader in ("named encoder", "named model", "named conversations", "named recipe"):
        yield from made(
            reader,
            reader,
            {name[:40]: name.encode("utf-8", "surrogateescape") for name in NAMES if "\udcff" not in name},
            ".name",
        )


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder, canary = tmp_path_factory.mktemp("hostile"), tmp_path_factory.mktemp("canary") / "c"
    listed = []
    for name, reader, path, content in cases(folder, canary):
        path.write_bytes(content)
        listed.append([name, reader, str(path)])
    done = subprocess.run(
        [sys.executable, "-W", "error", str(HERE / "watched.py")],
        input=json.dumps(listed),
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=280,
    )
    found = {one["name"]: one for one in map(json.loads, done.stdout.splitlines())}
    missing = [name for name, _, _ in listed if name not in found]
    assert not missing, f"{missing[0]} ended the process: {done.stderr[-2000:]}"
    return found | {"canary": canary, "folder": folder, "files": {str(path) for _, _, path in listed}}


def each(told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (one for one in told.values() if isinstance(one, dict))


def test_nothing_in_a_hostile_file_is_run_fetched_or_left_behind(told: dict[str, Any]) -> None:
    assert [one for one in each(told) if one["did"]] == []
    assert not told["canary"].exists()
    assert {str(path) for path in told["folder"].iterdir()} == told["files"]


def test_a_hostile_file_is_read_or_refused_by_an_error_of_our_own(told: dict[str, Any]) -> None:
    assert [one for one in each(told) if not one["outcome"].startswith(("read", "SaclError"))] == []


def test_a_hostile_file_is_told_in_one_short_line(told: dict[str, Any]) -> None:
    assert [one for one in each(told) if one["length"] > LONGEST_ERROR or not one["outcome"].isprintable()] == []


def test_no_hostile_file_takes_seconds_or_gigabytes(told: dict[str, Any]) -> None:
    assert [one for one in each(told) if one["seconds"] > SECONDS or one["mib"] > MIB] == []


def test_there_are_as_many_as_are_spoken_of(told: dict[str, Any]) -> None:
    assert sum(name.startswith("pickle") for name in told) > 100
    assert len(told) > 500


def test_an_export_with_a_link_or_a_pipe_in_it_is_refused_and_the_link_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('[{"user": "U", "text": "secret", "ts": "1.0"}]')
    real = tmp_path / "real"
    for name, target in (("2024-01-31.json", secret), ("users.json", secret), ("channel", tmp_path / "elsewhere")):
        export = tmp_path / f"export of {name}"
        (export / "general").mkdir(parents=True)
        (export / "general" / "2024-01-30.json").write_bytes(secret.read_bytes())
        linked = export / name if name != "2024-01-31.json" else export / "general" / name
        if name == "channel":
            target.mkdir()
            (target / "2024-01-30.json").write_bytes(secret.read_bytes())
        linked.symlink_to(target)
        with pytest.raises(DataError, match="it is a link"):
            list(read_conversations(export))
    (real / "general").mkdir(parents=True)
    os.mkfifo(real / "general" / "2024-01-30.json")
    with pytest.raises(DataError, match="it is a link, or no file"):
        list(read_conversations(real))
    # The user's own link to a whole export is followed: nobody else made it.
    (real / "general" / "2024-01-30.json").unlink()
    (real / "general" / "2024-01-30.json").write_bytes(secret.read_bytes())
    (tmp_path / "link").symlink_to(real)
    for own in (tmp_path / "link", tmp_path / "link" / "general"):
        assert [len(c) for c in read_conversations(own)] == [1]


def test_a_released_checkpoint_beyond_half_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.pt"
    with path.open("wb") as stream:
        stream.truncate(LARGEST_FILE + 1)
    with pytest.raises(ModelError, match="it is larger than 512 MiB"):
        import_released(path, LabelSet(("joy",)))


def test_conversations_that_pack_well_are_read(tmp_path: Path) -> None:
    turns = [{"speaker": "AB"[i % 2], "text": f"turn {i}"} for i in range(5_000)]
    line = json.dumps({"utterances": turns}) + "\n"
    path = tmp_path / "long.jsonl.gz"
    path.write_bytes(gzip.compress((line * 10).encode()))
    assert len(line) * 10 > UNPACKED_FREELY
    assert sum(map(len, read_conversations(path))) == 50_000


OWN = "evil:Network"


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module on the path that leaves a mark when it is imported; the mark."""
    (tmp_path / "evil.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'mark')!r}).touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "mark"


def test_a_recipe_or_a_model_that_names_code_runs_none_of_it_untrusted(evil: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"name: r\ndescription: d\ndata: {{name: sample}}\nmodel: {{kind: '{OWN}'}}\n")
    with pytest.raises(RecipeError, match="it would run code from outside this package, evil:Network"):
        load_recipe(str(recipe))
    settings = ModelSettings(kind=OWN).model_dump()
    content = {"labels": ["joy"], "input_size": 1, "model": settings, "features": FeatureSettings().model_dump()}
    save(tmp_path / "m.safetensors", "model", {"model.a": torch.ones(1)}, content | {"encoder": None, "about": {}})
    with pytest.raises(ModelError, match="it would run code from outside this package, evil:Network"):
        TrainedModel.load(tmp_path / "m.safetensors")
    assert not evil.exists()
    with pytest.raises(ModelError):  # it is the code that runs once it is trusted; it has no such class
        TrainedModel.load(tmp_path / "m.safetensors", trust_code=True)
    assert evil.exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"vocab_size": 10**9},
        {"vocab_size": 3 * 10**7},
        {"hidden_size": 2 * 10**5},
        {"num_hidden_layers": 10**7},
        {"max_position_embeddings": 10**9},
        {"max_position_embeddings": 3 * 10**7},
        {"intermediate_size": 10**7},
        {"num_attention_heads": 0},
        {"hidden_act": "__import__"},
        {"model_type": "../x"},
        {"attn_implementation": "owner/kernel"},
        {"auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Network"}},
        {"quantization_config": {"quant_method": "evil"}},
    ],
    ids=str,
)
def test_an_encoder_settings_run_nothing_and_take_no_memory(
    evil: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    folder = runpy.run_path(str(HERE.parent / "fixtures" / "tiny_encoder.py"))["write_encoder"](tmp_path / "encoder")
    (folder / "evil.py").write_bytes((tmp_path / "evil.py").read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))
    peak = runpy.run_path(str(HERE / "watched.py"))["peak"]
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that of this folder
    before, started = peak(), time.process_time()
    with contextlib.suppress(FeatureError):
        Encoder.load(folder).encode(["the cake"])
    # The first of them imports as well.
    assert time.process_time() - started < 10 * SECONDS
    assert peak() - before < MIB
    assert not evil.exists()
