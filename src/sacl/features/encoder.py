"""Text to one vector an utterance, by a pretrained transformer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from sacl.errors import FeatureError
from sacl.features.files import (
    check_minilm,
    check_own,
    digests,
    hub_folder,
    minilm_folder,
    quiet,
    refuse_foreign_code,
    refuse_larger,
    refused_with,
)
from sacl.features.packed import packed
from sacl.features.pieces import Pieces
from sacl.textfile import kind_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Pooling = Literal["mean", "first"]
Progress = Callable[[str, int, int], None]

# Padded tokens in one forward pass. With minilm on one CPU thread 512 to 4096 are alike; less memory is the better.
_TOKENS = 1024
# What another forward pass costs beside its tokens, as a number of tokens: less padding than that is the cheaper.
_PASS = 32
# From how many tokens on weights are laid out anew for a call: that costs about as much as a hundred tokens.
_PACKED = 2048
_FETCH = "Fetch it again, or name another encoder"


@dataclass(frozen=True, eq=False)
class Encoder:
    """A pretrained transformer that reads one utterance at a time; made by `Encoder.load`.

    Vectors are hidden states as they come: they are not brought to unit length, as the sentence-transformers
    pipeline of minilm does at its end, because features are standardised later on.

    The model itself is read at the first `encode`, so that features found in a cache cost neither its import (some
    4 s) nor its memory.

    Args:
        folder: where its files lie.
        pooling: `mean` of all tokens' hidden states, special tokens included, or the `first` token's (`<s>`, `[CLS]`).
        layer: whose hidden states; -1 is the last, 0 the embeddings.
        max_tokens: what a longer text is cut to, special tokens included.
        identity: what a manifest records: name, sha256, pooling, layer, max_tokens, revision.

    >>> from sacl import Encoder
    >>> Encoder.load().identity["pooling"]
    'mean'
    """

    folder: Path
    pooling: Pooling
    layer: int
    max_tokens: int
    identity: Mapping[str, Any]

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = "minilm",
        *,
        pooling: Pooling | None = None,
        layer: int = -1,
        max_tokens: int = 256,
        revision: str | None = None,
    ) -> Encoder:
        """Find an encoder's files and check them.

        Args:
            name_or_path: `minilm`, which needs no network; a transformers folder with safetensors; or a model of the
                Hugging Face hub, `roberta-large` say.
            pooling: by default `mean` for minilm, for an encoder that was fine-tuned here as it was then, and `first`
                for every other.
            layer: -1 is the last.
            max_tokens: what a longer text is cut to.
            revision: branch, tag or commit on the hub.

        Raises:
            FeatureError: no such folder or model, no network, no safetensors among its files, or a file of minilm
                that is not the published one.

        >>> from sacl import Encoder
        >>> Encoder.load().encode(["You came!", "I said I would."]).shape
        (2, 384)
        """
        if pooling not in ("mean", "first", None):
            raise FeatureError(f"unknown pooling {pooling!r}", remedy="Use mean or first")
        name, commit = str(name_or_path), None
        if name == "minilm":
            folder = minilm_folder()
        elif kind_of(Path(name)) == "folder":
            # Absolute: a model that is trained on its vectors is to find it from every place.
            folder = Path(name).absolute()
            name = str(folder)
        else:
            folder = hub_folder(name, revision)
            commit = folder.name
        sha256 = digests(folder)
        if name == "minilm":
            check_minilm(folder, sha256)
        check_own(folder, sha256)
        pooling = pooling or ("mean" if name == "minilm" else _own_pooling(folder))
        identity = {
            "name": name,
            "sha256": hashlib.sha256(json.dumps(sorted(sha256.items())).encode()).hexdigest(),
            "pooling": pooling,
            "layer": layer,
            "max_tokens": max_tokens,
            "revision": commit,
        }
        return cls(folder, pooling, layer, max_tokens, identity)

    @classmethod
    def from_identity(cls, identity: Mapping[str, Any]) -> Encoder:
        """The encoder that a manifest names, with the same files to the bit.

        Raises:
            FeatureError: it cannot be found any more, or its files have changed.
        """
        settings = {key: identity[key] for key in ("pooling", "layer", "max_tokens", "revision")}
        encoder = cls.load(identity["name"], **settings)
        if encoder.identity["sha256"] != identity["sha256"]:
            raise FeatureError(
                "its files are not those that the features were made with",
                where=f"encoder {identity['name']}",
                remedy="Put the former files back, or encode and train again",
            )
        return encoder

    @property
    def width(self) -> int:
        """Length of a vector."""
        return int(self.model.config.hidden_size)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        from transformers import AutoTokenizer

        with quiet():
            return _loaded(self.folder, AutoTokenizer)  # type: ignore[no-any-return]

    @cached_property
    def model(self) -> PreTrainedModel:
        """The transformer in evaluation mode and single precision; `encode` runs on whatever device it is moved to."""
        import torch
        from transformers import AutoConfig, AutoModel

        refuse_foreign_code(self.folder)
        with quiet():
            config = _loaded(self.folder, AutoConfig)
            with torch.device("meta"), refused_with("transformers cannot read it", str(self.folder), _FETCH):
                claims = AutoModel.from_config(config, trust_remote_code=False)  # it takes no memory
            refuse_larger(self.folder, sum(t.numel() for t in (*claims.parameters(), *claims.buffers())))
            model, report = _loaded(self.folder, AutoModel, use_safetensors=True, output_loading_info=True)
        # A pooler is read by no pooling here, and many published encoders lack one: it may be made up.
        missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
        if missing:
            raise FeatureError(
                f"{len(missing)} weights are missing, {missing[0]} first",
                where=str(self.folder),
                remedy="Give a folder that holds the whole model",
            )
        _check_settings(model, self)
        return model.float().eval()  # type: ignore[no-any-return]

    def encode(
        self,
        texts: Sequence[str],
        batch_size: int = 256,
        progress: Progress | None = None,
        pieces: BinaryIO | None = None,
    ) -> np.ndarray:
        """One vector a text.

        A text's vector does not depend on the other texts by more than rounding (1e-5). A repeated text is encoded
        once. Texts that are empty or blank are encoded as the bare special tokens.

        Args:
            texts: any number of them.
            batch_size: most texts in one forward pass; long ones are taken fewer at a time, and lengths apart.
            progress: called as progress("encode", texts done, texts in all), repeated ones counted once.
            pieces: a file, open for reading and writing, that keeps what is done, batch by batch (`Pieces`): an earlier
                call that was cut off, with the same texts by the same encoder, is gone on with.

        Returns:
            (texts, width), float32.

        Raises:
            FeatureError: the model cannot be read, or gives numbers that are not finite.
            OSError: `pieces` cannot be written.
        """
        import torch

        place_of = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        vectors = np.empty((len(place_of), self.width), np.float32)
        tokens = self._tokens(list(place_of))
        done = 0
        lengths = [len(ids) for ids in tokens]
        begun = None if pieces is None else Pieces(pieces, self._decided_by(list(place_of)))
        with torch.inference_mode(), packed(self.model, _TOKENS) if sum(lengths) >= _PACKED else nullcontext():
            for rows in _batches(lengths, batch_size):
                kept = None if begun is None else begun.kept(len(rows), self.width)
                vectors[rows] = self._forward([tokens[row] for row in rows]) if kept is None else kept
                if begun is not None and kept is None:
                    begun.keep(vectors[rows])
                done += len(rows)
                if progress is not None:
                    progress("encode", done, len(tokens))
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(bad):
            raise FeatureError(
                f"{len(bad)} of {len(tokens)} texts give numbers that are not finite",
                where=f"encoder {self.identity['name']}",
                remedy="Its weights are damaged: fetch them again",
            )
        return vectors[[place_of[text] for text in texts]]

    def _tokens(self, texts: list[str]) -> list[torch.Tensor]:
        """Token ids of each text. A tokenizer without special tokens gives a blank text one padding token."""
        import torch

        if not texts:
            return []
        # JSON can carry half a surrogate pair, which no tokenizer takes.
        clean = [text.encode("utf-8", "replace").decode() for text in texts]
        # Always the same truncation and no padding: a change of either is no longer safe with threads.
        with refused_with("its tokenizer fails", str(self.folder), _FETCH):
            ids = self.tokenizer(clean, truncation=True, max_length=self.max_tokens, padding=False)["input_ids"]
        return [torch.tensor(row or [self._padding]) for row in ids]

    def _decided_by(self, texts: list[str]) -> str:
        """Whatever decides the bits of their vectors, on one machine."""
        import torch
        import transformers

        own = [self.identity[key] for key in ("sha256", "pooling", "layer", "max_tokens")]
        how = [torch.__version__, transformers.__version__, torch.get_num_threads(), str(self.model.device)]
        return json.dumps([own, how, texts])

    @property
    def _padding(self) -> int:
        return int(self.tokenizer.pad_token_id or 0)

    def _forward(self, tokens: list[torch.Tensor]) -> np.ndarray:
        """(batch, width) from the token ids of a batch, padded on the right to its longest."""
        from torch.nn.utils.rnn import pad_sequence

        device = self.model.device
        ids = pad_sequence(tokens, batch_first=True, padding_value=self._padding).to(device)
        mask = pad_sequence([t.new_ones(len(t)) for t in tokens], batch_first=True).to(device)
        known = int(getattr(self.model.config, "vocab_size", 2**31))
        if ids.max() >= known:
            found = f"its tokenizer knows more words than the {known} of its model"
            raise FeatureError(found, where=str(self.folder), remedy=_FETCH)
        output = self.model(input_ids=ids, attention_mask=mask, output_hidden_states=self.layer != -1)
        hidden = output.last_hidden_state if self.layer == -1 else output.hidden_states[self.layer]
        if self.pooling == "first":
            return hidden[:, 0].cpu().numpy()  # type: ignore[no-any-return]
        weights = mask[:, :, None].to(hidden.dtype)
        return ((hidden * weights).sum(1) / weights.sum(1)).cpu().numpy()  # type: ignore[no-any-return]


def _own_pooling(folder: Path) -> Pooling:
    """What `sacl.training.finetune` wrote into the configuration; `first` where it did not."""
    try:
        found = json.loads((folder / "config.json").read_bytes()).get("sacl_pooling")
    except (OSError, ValueError, AttributeError, RecursionError):
        found = None  # damaged: transformers says so when it reads the model
    return "mean" if found == "mean" else "first"


def _batches(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Positions in order of length, cut where a batch is full by texts or by padded tokens, or would be padded much."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        full = len(batch) == batch_size or (len(batch) + 1) * lengths[row] > _TOKENS
        if batch and (full or len(batch) * (lengths[row] - lengths[batch[-1]]) > _PASS):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _loaded(folder: Path, auto: Any, **options: Any) -> Any:
    # transformers lets out whatever a damaged file provokes below it
    with refused_with("transformers cannot read it", str(folder), _FETCH):
        return auto.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False, **options)


def _check_settings(model: Any, encoder: Encoder) -> None:
    """Refuse a layer or a length that the model does not have, and models that cannot read a text alone."""
    where = f"encoder {encoder.identity['name']}"
    if getattr(model.config, "is_encoder_decoder", False):
        raise FeatureError("it is an encoder with a decoder", where=where, remedy="Name one that is an encoder only")
    layers, positions = model.config.num_hidden_layers, _positions(model)
    if not -layers - 1 <= encoder.layer <= layers:
        raise FeatureError(f"there is no layer {encoder.layer}", where=where, remedy=f"Use 0 to {layers}, or -1")
    shortest = encoder.tokenizer.num_special_tokens_to_add() + 1
    if not shortest <= encoder.max_tokens <= positions:
        raise FeatureError(
            f"max_tokens is {encoder.max_tokens}", where=where, remedy=f"Use a number from {shortest} to {positions}"
        )


def _positions(model: Any) -> int:
    """The most tokens that the model's table of positions has room for."""
    table: Any = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    # RoBERTa counts positions from the row after its padding token's.
    offset = 0 if getattr(table, "padding_idx", None) is None else table.padding_idx + 1
    return int(getattr(model.config, "max_position_embeddings", 512)) - offset
