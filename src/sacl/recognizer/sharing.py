"""A model written into a folder with its card, and handed to the Hugging Face hub.

Not by `huggingface_hub.ModelHubMixin`: it takes settings that it does not know in silence, and wants a second file for
them, where a model here is one file that holds everything.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sacl.errors import DataError, ModelError
from sacl.features.files import first_line, quiet
from sacl.recognizer.sources import HUB_NAME
from sacl.textfile import written_aside
from sacl.training.trained import MODEL_FILE, TrainedModel

CARD_FILE = "README.md"

_HEADER = "---\nlibrary_name: sacl\npipeline_tag: text-classification\ntags: [emotion-recognition, conversations]\n---"


def save_folder(trained: TrainedModel, folder: Path, name: str | None = None) -> Path:
    """Writes the model and, if there is none yet, its card; returns the folder.

    Args:
        name: what the card says to load; by default the folder.

    Raises:
        ModelError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(
            f"it cannot be made ({error.strerror})", where=str(folder), remedy="Choose another folder"
        ) from error
    trained.save(folder / MODEL_FILE)
    card = folder / CARD_FILE
    if not card.exists():  # one that is there may have been written by hand
        try:
            with written_aside(card) as out:
                out.write(card_of(trained, name or folder.resolve().name))
        except DataError as error:
            raise ModelError(error.found, where=error.where, remedy=error.remedy) from error
    return folder


def push(trained: TrainedModel, name: str, private: bool, token: str | None, message: str) -> str:
    """See `EmotionRecognizer.push_to_hub`."""
    if not HUB_NAME.fullmatch(name):
        raise ModelError(f"{name!r:.80} is no name of the hub", remedy="Write owner/name")
    encoder = trained.encoder
    if encoder is not None and encoder["name"] != "minilm" and encoder.get("revision") is None:
        raise ModelError(
            "its encoder is a folder of this machine, which whoever loads the model would not have",
            where=f"encoder {encoder['name']}",
            remedy="Put the encoder on the hub and train with its name there, or hand on the folder and the model",
        )
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import HfApi

    with tempfile.TemporaryDirectory() as folder, quiet():
        save_folder(trained, Path(folder), name)
        try:
            api = HfApi(token=token)
            made = api.create_repo(name, private=private, exist_ok=True)
            api.upload_folder(repo_id=name, folder_path=folder, commit_message=message)
        except Exception as error:  # no network, no leave to write, no such owner: errors of three libraries
            raise ModelError(
                f"the hub does not take it ({first_line(error)})",
                where=name,
                remedy="Check the name and the network, and log in with `hf auth login`",
            ) from error
    return str(made)


def card_of(trained: TrainedModel, name: str) -> str:
    """The card, in Markdown under the hub's YAML header: what the model is, how to use it, what is known of it."""
    causal = trained.settings.kind == "dual_lstm" and not trained.settings.bidirectional
    parts = [
        _HEADER,
        f"# {name}",
        "Names the emotion of every utterance of a conversation: one of "
        + ", ".join(f"`{label}`" for label in trained.labels)
        + ". "
        + (
            "It reads a turn and the turns before it, so it can follow a conversation that goes on."
            if causal
            else "It reads a turn in the light of the whole conversation, the later turns included."
        ),
        _usage(trained, name, causal),
        "## What it is\n\n" + _table(_facts(trained)),
        "## Figures\n\n" + _figures(trained.about),
        "## Limits\n\n"
        "- It learnt from the conversations named above, and knows their language and their kind of talk. Elsewhere "
        "it may be wrong and sure of it: try it on labelled conversations of yours first.\n"
        "- It names what words seem to express, not what a person feels. It is not made for judging people, employees "
        "or applicants say, nor for medicine.\n"
        "- Whether it may be used and handed on also depends on the licence of the data that it learnt from. This card "
        "does not know it: add it here.",
    ]
    return "\n\n".join(parts) + "\n"


def _usage(trained: TrainedModel, name: str, causal: bool) -> str:
    trust = ", trust_code=True" if ":" in trained.settings.kind else ""
    turn = '"Ann", "You came!"'
    lines = [
        "from sacl import EmotionRecognizer",
        "",
        f"recognizer = EmotionRecognizer.from_pretrained({json.dumps(name, ensure_ascii=False)}{trust})",
    ]
    if trained.encoder is None:
        return _code([*lines, "recognizer.predict(conversation)  # a Conversation whose utterances have vectors"])
    lines.append(f"for turn in recognizer.predict([({turn})]):")
    lines.append("    print(turn.speaker, turn.emotion, round(turn.confidence, 2))")
    if causal:
        lines += ["", "live = recognizer.stream()", f"live.add({turn})"]
    return _code(lines)


def _code(lines: list[str]) -> str:
    return "\n".join(["```python", *lines, "```"])


def _facts(trained: TrainedModel) -> dict[str, str]:
    about, settings, encoder = trained.about, trained.settings, trained.encoder
    counts = about.get("conversations")
    facts = {
        "Network": f"{settings.kind}, {settings.layers} layer(s) of {settings.hidden_size}, "
        + ("both directions" if settings.bidirectional else "one direction"),
        "Parameters": f"{sum(p.numel() for p in trained.model.parameters()):,}",
        # The name alone, where it is a path: where a folder lies on the maker's machine is nobody's business.
        "Encoder": f"none: it reads vectors of {trained.input_size} numbers"
        if encoder is None
        else f"{_base(encoder['name'])}, {encoder['pooling']} pooling (SHA-256 {encoder['sha256'][:12]}...)",
        "Trained on": _base(str(about["corpus"])) if about.get("corpus") else "not known",
        "Recipe": _known(about, "recipe"),
        "Seed": _known(about, "seed"),
        "Epoch, chosen on validation": _known(about, "epoch"),
        "Temperature, fitted on validation": f"{trained.temperature:.3g}",
    }
    if isinstance(counts, Mapping):
        facts["Conversations"] = ", ".join(f"{n} {split}" for split, n in counts.items())
    started = about.get("started_from")
    if isinstance(started, Mapping):
        facts["Started from"] = f"a model trained on {_base(str(started.get('corpus', 'what is not known')))}"
    return facts


def _figures(about: Mapping[str, Any]) -> str:
    valid = about.get("valid")
    if not isinstance(valid, Mapping) or not valid:
        return "None are known."
    # Percent, but for the loss: as everywhere in this library.
    names = {"weighted_f1": "weighted F1, %", "accuracy": "accuracy, %", "macro_f1": "macro F1, %", "loss": "loss"}
    known = {title: f"{valid[key]:.2f}" for key, title in names.items() if isinstance(valid.get(key), float)}
    errors = about.get("calibration")
    if isinstance(errors, Mapping) and all(isinstance(errors.get(key), float) for key in ("ece_before", "ece_after")):
        both = " / ".join(f"{errors[key]:.2f}" for key in ("ece_before", "ece_after"))
        known["calibration error before / after the temperature, %"] = both
    return (
        _table(known)
        + "\n\nOn the validation conversations, which also chose the epoch: on others expect less. Probabilities are "
        "calibrated on the same ones."
    )


def _table(rows: Mapping[str, str]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {value.replace('|', ' ')} |" for key, value in rows.items())])


def _known(about: Mapping[str, Any], key: str) -> str:
    return str(about.get(key, "not known"))


def _base(name: str) -> str:
    """The last part of a path; a name of the hub as it is."""
    return name if HUB_NAME.fullmatch(name) else Path(name).name
