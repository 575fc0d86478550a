"""An encoder adapted on single utterances, as COSMIC did for the published features.

It is given training and validation conversations, and nothing else. Source: Ghosal, Majumder, Gelbukh, Mihalcea, Poria,
"COSMIC: COmmonSense knowledge for eMotion Identification in Conversations", Findings of EMNLP 2020, and its scripts.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from sacl.aside import folder_beside, reason, remedy
from sacl.conversation import Conversation, Corpus, LabelSet
from sacl.errors import DataError, FeatureError, NumericalError, RecipeError, place
from sacl.features.encoder import Encoder
from sacl.features.files import digests, first_line, quiet
from sacl.metrics import score
from sacl.settings import Count, NotNegative, Positive, Settings

Progress = Callable[[str, int, int], None]

CARD_FILE, FORMAT_VERSION = "finetuned.json", 1

# Batches of like length are cut from so many at a time: long enough to save padding, short enough to stay random.
_POOL = 16


class FinetuneSettings(Settings):
    """How an encoder is fine-tuned. The defaults are COSMIC's for MELD and EmoryNLP, made for RoBERTa-large."""

    learning_rate: Positive = 1e-5
    """At its peak, of Adam (1e-6 on IEMOCAP). A small encoder wants more: 5e-5 for MiniLM."""
    epochs: Count = 30
    """All of them are run, for the learning rate falls to 0 at the last; the best is kept."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Within the encoder and its head (0.2 on IEMOCAP)."""
    batch_size: Count = 32
    """Utterances an update."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.06
    """Share of all updates in which the learning rate rises to its peak; then it falls in a straight line."""
    weight_decay: NotNegative = 0.1
    """Of Adam, decoupled, as in the library that COSMIC used."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Of the head's weights, the order of utterances, and dropout."""
    device: str = "cpu"
    """A PyTorch device."""


@dataclass(frozen=True, eq=False)
class Finetuned:
    """What `finetune` gives.

    Args:
        encoder: with the weights of the chosen epoch, in memory until it is saved.
        card: what it was made from and how: plain JSON values.
    """

    encoder: Encoder
    card: Mapping[str, Any]

    def save(self, folder: Path) -> Encoder:
        """Writes a transformers folder with the card in it, to the side first, and reads it back.

        Args:
            folder: a new or empty one. The head is not kept: it is of no use to features.

        Raises:
            FeatureError: something is there already, or it cannot be written.
        """
        refuse_taken(folder)
        model, base = self.encoder.model, self.encoder.folder
        model.config.sacl_pooling = self.encoder.pooling
        try:
            with folder_beside(folder) as aside, quiet():
                new = aside / "encoder"
                model.save_pretrained(new)
                for weights in new.glob("*.safetensors"):
                    # safetensors makes files that only their owner may read.
                    weights.chmod((new / "config.json").stat().st_mode)
                # The base's own files: a tokenizer in use writes the truncation it was last used with.
                for name in digests(base):
                    if name != "config.json" and ".safetensors" not in name:
                        shutil.copyfile(base / name, new / name)
                card = {**self.card, "files": digests(new)}
                (new / CARD_FILE).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
                moved(new, folder)
        except (OSError, SafetensorError) as error:
            found = f"the encoder cannot be written ({reason(error)})"
            raise FeatureError(found, where=str(folder), remedy=remedy(error)) from error
        chosen = self.encoder
        return Encoder.load(folder, pooling=chosen.pooling, layer=chosen.layer, max_tokens=chosen.max_tokens)


def finetune(
    encoder: Encoder,
    train: Sequence[Conversation],
    valid: Sequence[Conversation],
    labels: LabelSet,
    settings: FinetuneSettings | None = None,
    *,
    name: str = "corpus",
    warnings: Sequence[str] = (),
    progress: Progress | None = None,
) -> Finetuned:
    """Adapts an encoder to name the emotion of an utterance by itself; keeps the epoch of best validation accuracy.

    Same settings, data, machine and thread count give the same bits. The encoder that is given stays as it is.

    Args:
        encoder: the base. Its pooling is what the head reads, of the last layer.
        train, valid: conversations; utterances without a label are left out.
        labels: the emotions.
        settings: COSMIC's by default.
        name: the data set's, for the card.
        warnings: what the card is to say of the data.
        progress: called as progress("fine-tune", updates done, updates in all), after a tab the epoch's accuracy.

    Raises:
        DataError: a split without labels, or an emotion that no training utterance has.
        FeatureError: a labelled utterance without text, or an encoder that cannot be read.
        RecipeError: a device that is not there.
        NumericalError: a loss that is not finite.
    """
    settings = settings or FinetuneSettings()
    _require_device(settings.device)
    seen = Corpus(name, labels, {"train": train, "valid": valid})
    tuned = replace(encoder)  # its model is read anew
    examples = {split: _examples(tuned, seen, split) for split in seen.splits}
    _require_every_label(examples["train"], seen)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        classifier = _Classifier(tuned, len(labels), settings.dropout).to(settings.device)
        history, best = _trained(classifier, examples["train"], examples["valid"], len(labels), settings, progress)
    tuned.model.load_state_dict(best)
    tuned.model.cpu().eval()
    chosen = max(history, key=lambda figures: figures["valid_accuracy"])
    card = {
        "format_version": FORMAT_VERSION,
        "base": dict(encoder.identity),
        "corpus": name,
        "fingerprint": seen.fingerprint(),
        "labels": list(labels),
        "seen": {
            split: {"conversations": len(seen[split]), "labelled utterances": len(examples[split]), "for": purpose}
            for split, purpose in (("train", "weights"), ("valid", "choice of the epoch"))
        },
        "warnings": list(warnings),
        "settings": settings.model_dump(),
        "threads": torch.get_num_threads(),
        "versions": {package: version(package) for package in ("sacl", "torch", "transformers")},
        "epochs": history,
        "epoch": chosen["epoch"],
        "valid_accuracy": chosen["valid_accuracy"],
    }
    return Finetuned(tuned, card)


def refuse_taken(folder: Path) -> None:
    """Refuse a place where something stands that a new folder would hide.

    Raises:
        FeatureError: it is no folder, not empty, or may not be looked into.
    """
    try:
        taken = folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))
    except OSError as error:
        found = f"it cannot be looked into ({first_line(error)})"
        raise FeatureError(found, where=str(folder), remedy="Name another folder") from error
    if taken:
        raise FeatureError("something is there already", where=str(folder), remedy="Name a new folder")


def moved(new: Path, folder: Path) -> None:
    """Gives a finished folder its name, which nothing or an empty folder has."""
    if folder.exists():
        folder.rmdir()
    new.rename(folder)


Example = tuple[Tensor, int]
"""Token ids of an utterance, and the index of its emotion."""


class _Classifier(nn.Module):
    """An encoder under the head of RoBERTa's sentence classifier, which reads the encoder's own pooling."""

    def __init__(self, encoder: Encoder, classes: int, dropout: float) -> None:
        super().__init__()
        self.encoder, self.mean = encoder.model, encoder.pooling == "mean"
        self.padding, width = int(encoder.tokenizer.pad_token_id or 0), encoder.width
        self.head = nn.Sequential(
            nn.Dropout(), nn.Linear(width, width), nn.Tanh(), nn.Dropout(), nn.Linear(width, classes)
        )
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = dropout

    def forward(self, tokens: Sequence[Tensor]) -> Tensor:
        """(utterances, classes), before the softmax. Pooling as in `Encoder`, but with gradients."""
        device = self.encoder.device
        ids = pad_sequence(list(tokens), batch_first=True, padding_value=self.padding).to(device)
        mask = pad_sequence([t.new_ones(len(t)) for t in tokens], batch_first=True).to(device)
        hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        if self.mean:
            weights = mask[:, :, None].to(hidden.dtype)
            pooled = (hidden * weights).sum(1) / weights.sum(1)
        else:
            pooled = hidden[:, 0]
        return self.head(pooled)  # type: ignore[no-any-return]


def _trained(
    classifier: _Classifier,
    train: Sequence[Example],
    valid: Sequence[Example],
    classes: int,
    settings: FinetuneSettings,
    progress: Progress | None,
) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    """Every epoch's figures, and the encoder's weights at the first epoch of best validation accuracy."""
    from transformers import get_polynomial_decay_schedule_with_warmup

    steps = settings.epochs * -(-len(train) // settings.batch_size)
    # Fused: the plain optimiser takes as long as MiniLM's forward pass.
    optimizer = torch.optim.AdamW(
        classifier.parameters(), settings.learning_rate, (0.9, 0.98), 1e-6, settings.weight_decay, fused=True
    )
    schedule = get_polynomial_decay_schedule_with_warmup(optimizer, int(settings.warmup * steps), steps, lr_end=0.0)
    history: list[dict[str, float]] = []
    best: dict[str, Tensor] = {}
    step, told = 0, "fine-tune"
    for epoch in range(1, settings.epochs + 1):
        classifier.train()
        total = 0.0
        for rows in _batches([len(tokens) for tokens, _ in train], settings.batch_size):
            loss = _loss(classifier, [train[row] for row in rows])
            total += float(loss.detach()) * len(rows)
            step += 1
            if not np.isfinite(total):
                raise NumericalError(
                    "the loss of fine-tuning is not a finite number",
                    where=place(epoch=epoch, update=step),
                    remedy="Lower the learning rate",
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if progress is not None:
                progress(told, step, steps)
        figures = {"epoch": epoch, "train_loss": total / len(train), **_validated(classifier, valid, classes, settings)}
        if all(figures["valid_accuracy"] > earlier["valid_accuracy"] for earlier in history):
            best = {name: t.detach().clone() for name, t in classifier.encoder.state_dict().items()}
        history.append(figures)
        told = f"fine-tune\tepoch {epoch}: valid accuracy {figures['valid_accuracy']:.2f}"
    return history, best


def _loss(classifier: _Classifier, batch: Sequence[Example]) -> Tensor:
    scores = classifier([tokens for tokens, _ in batch])
    return nn.functional.cross_entropy(scores, torch.tensor([label for _, label in batch], device=scores.device))


@torch.inference_mode()
def _validated(
    classifier: _Classifier, examples: Sequence[Example], classes: int, settings: FinetuneSettings
) -> dict[str, float]:
    classifier.eval()
    rows = sorted(range(len(examples)), key=lambda row: len(examples[row][0]))
    predicted = np.empty(len(examples), np.int64)
    for start in range(0, len(rows), settings.batch_size):
        batch = rows[start : start + settings.batch_size]
        predicted[batch] = classifier([examples[row][0] for row in batch]).argmax(1).cpu().numpy()
    scores = score(np.array([label for _, label in examples]), predicted, classes)
    return {"valid_accuracy": scores.accuracy, "valid_weighted_f1": scores.weighted_f1}


def _batches(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Every position once, in random order, texts of like length together; drawn from PyTorch's own generator."""
    order = torch.randperm(len(lengths)).tolist()
    batches = []
    for start in range(0, len(order), _POOL * batch_size):
        pool = sorted(order[start : start + _POOL * batch_size], key=lengths.__getitem__)
        batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    for i in torch.randperm(len(batches)).tolist():
        yield batches[i]


def _examples(encoder: Encoder, corpus: Corpus, split: str) -> list[Example]:
    """The labelled utterances of a split."""
    texts, labels = [], []
    for conversation in corpus[split]:
        for utterance in conversation.utterances:
            if utterance.emotion is None:
                continue
            if utterance.text is None:
                where = place(file=corpus.name, split=split, conversation=conversation.id, utterance=utterance.id)
                raise FeatureError("it has no text to encode", where=where, remedy="Give it one")
            texts.append(utterance.text)
            labels.append(corpus.labels.index(utterance.emotion))
    if not texts:
        where = place(file=corpus.name, split=split)
        raise DataError("no utterance is labelled", where=where, remedy="Give some of them an emotion")
    return list(zip(encoder._tokens(texts), labels, strict=True))


def _require_every_label(train: Sequence[Example], corpus: Corpus) -> None:
    where = place(file=corpus.name, split="train")
    known = {label for _, label in train}
    absent = [name for i, name in enumerate(corpus.labels) if i not in known]
    if absent:
        raise DataError(
            f"no utterance is labelled {absent[0]!r}, so it cannot be learnt",
            where=where,
            remedy="Label some, or take the emotion out of the label set",
        )
    if len(known) < 2:
        raise DataError("it has a single emotion", where=where, remedy="Give utterances of two or more")


def _require_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RecipeError(
            f"PyTorch has no device {device!r} here ({first_line(error)})", where="device", remedy="Use cpu"
        ) from error
