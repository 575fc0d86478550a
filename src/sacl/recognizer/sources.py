"""Where a trained model comes from: the package itself, a run, a file, or the Hugging Face hub."""

from __future__ import annotations

import os
import re
from importlib.resources import as_file, files
from pathlib import Path

from sacl.errors import ModelError
from sacl.features.files import first_line, quiet
from sacl.textfile import kind_of
from sacl.training.trained import MODEL_FILE, TrainedModel

SHIPPED, SHIPPED_CAUSAL = "meld-minilm.safetensors", "meld-minilm-causal.safetensors"
"""The models that come with the package, in its folder `pretrained`."""

HUB_NAME = re.compile(r"[\w][\w.-]{0,95}/[\w][\w.-]{0,95}")
"""What the hub calls a model: owner/name."""


def load_model(
    source: str | os.PathLike[str] | None, *, causal: bool, revision: str | None, trust_code: bool
) -> TrainedModel:
    """See `EmotionRecognizer.from_pretrained`.

    Raises:
        ModelError: there is no model, it is damaged, or it is not causal and a causal one is asked for.
    """
    if source is None:
        trained = _shipped(SHIPPED_CAUSAL if causal else SHIPPED)
    elif is_hub_name(source):
        trained = TrainedModel.load(_from_hub(str(source), revision), trust_code=trust_code)
    else:
        trained = TrainedModel.load(find_model(Path(source)), trust_code=trust_code)
    if causal and trained.settings.bidirectional:
        raise ModelError(
            "it is not causal: it reads the later turns too",
            where=str(source or SHIPPED_CAUSAL),
            remedy="Train with model.bidirectional=false and model.min_speaker_utterances=1",
        )
    return trained


def is_hub_name(source: str | os.PathLike[str]) -> bool:
    """Whether a string names a model of the hub, `owner/name`: what lies on this machine under that name comes first.

    >>> is_hub_name("someone/calls-in-dutch"), is_hub_name("./runs/mine"), is_hub_name("model.safetensors")
    (True, False, False)
    """
    return isinstance(source, str) and HUB_NAME.fullmatch(source) is not None and kind_of(Path(source)) == "nothing"


def find_model(path: Path) -> Path:
    """The model file that a path means: the file, one in a folder, or the best on validation of a run's seeds.

    Raises:
        ModelError: there is none.
    """
    if kind_of(path) != "nothing" and (path.is_file() or (path / MODEL_FILE).exists()):
        return path / MODEL_FILE if path.is_dir() else path
    from sacl.experiment.run import RESULT_FILE, read_result

    is_folder = kind_of(path) == "folder"
    complete = [folder.parent for folder in sorted(path.glob(f"seed-*/{RESULT_FILE}"))] if is_folder else []
    if not complete:
        found = "it holds no completed model" if is_folder else "there is no such file or folder"
        remedy = "Name a run's folder, a model.safetensors, or a model of the hub as owner/name"
        raise ModelError(found, where=str(path), remedy=remedy)
    return max(complete, key=lambda folder: read_result(folder)["valid"]["weighted_f1"]) / MODEL_FILE


def _shipped(name: str) -> TrainedModel:
    resource = files("sacl") / "pretrained" / name
    if not resource.is_file():
        raise ModelError(
            f"the model that ships with the package, {name}, is not in this installation",
            remedy="Install the package again, or name a model: a run's folder, a file, or owner/name of the hub",
        )
    with as_file(resource) as path:
        return TrainedModel.load(path)


def _from_hub(name: str, revision: str | None) -> Path:
    """The model's file, fetched where it is not at hand."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import hf_hub_download

    with quiet():
        try:
            return Path(hf_hub_download(name, MODEL_FILE, revision=revision))
        except Exception as error:  # no network, no such name, no leave to read: errors of three libraries
            raise ModelError(
                f"there is no such file or folder, and the hub gives no such model ({first_line(error)})",
                where=name,
                remedy="Check the path; for a model of the hub, its name and the network",
            ) from error
