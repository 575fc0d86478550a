"""A large corpus encoded on Ray: an `Encoder` whose texts are encoded by Ray Data, block by block."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from sacl.features.encoder import Encoder, Progress
from sacl.features.pieces import Pieces
from sacl.scale.cluster import LOCAL, connected, mapped, told

BLOCK = 2048
"""Distinct texts that a worker is given at a time: some seconds of work, and 3 MiB of vectors of minilm."""


@dataclass(frozen=True, eq=False)
class RayEncoder(Encoder):
    """An encoder whose `encode` is done by workers, which find its files under the same name, with the same hashes.

    A text's vector is that of `Encoder.encode` to rounding (1e-5): other texts are beside it.

    Args:
        address: of Ray, see `connected`.
    """

    address: str = LOCAL

    @classmethod
    def on(cls, encoder: Encoder, address: str = LOCAL) -> RayEncoder:
        """The same encoder, on Ray."""
        return cls(encoder.folder, encoder.pooling, encoder.layer, encoder.max_tokens, encoder.identity, address)

    def encode(
        self,
        texts: Sequence[str],
        batch_size: int = 256,
        progress: Progress | None = None,
        pieces: BinaryIO | None = None,
    ) -> np.ndarray:
        """As `Encoder.encode`; `pieces` keeps what is done block by block, and is gone on with."""
        place_of = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        distinct = list(place_of)
        vectors = np.empty((len(distinct), self.width), np.float32)
        # Those of like length together: what a text is padded to depends on its neighbours.
        order = sorted(range(len(distinct)), key=lambda row: len(distinct[row]))
        blocks = [order[start : start + BLOCK] for start in range(0, len(order), BLOCK)]
        about = json.dumps([self._decided_by(distinct), BLOCK, batch_size])
        begun = None if pieces is None else Pieces(pieces, about)
        done = 0
        for rows, made in zip(blocks, self._made(blocks, distinct, batch_size, begun), strict=True):
            vectors[rows] = made
            done += len(rows)
            if progress is not None:
                progress("encode", done, len(distinct))
        return vectors[[place_of[text] for text in texts]]

    def _made(
        self, blocks: Sequence[list[int]], texts: Sequence[str], batch_size: int, begun: Pieces | None
    ) -> Iterator[np.ndarray]:
        """Each block's vectors, (texts, width), in order: those that were kept, then the workers'."""
        kept = 0
        while begun is not None and kept < len(blocks):
            made = begun.kept(len(blocks[kept]), self.width)
            if made is None:
                break
            yield made
            kept += 1
        # As JSON, which holds half a surrogate pair too.
        todo = [json.dumps([texts[row] for row in rows]) for rows in blocks[kept:]]
        for made in self._workers(todo, batch_size) if todo else ():
            if begun is not None:
                begun.keep(made)
            yield made

    def _workers(self, todo: list[str], batch_size: int) -> Iterator[np.ndarray]:
        """The vectors of blocks of texts, in order."""
        with connected(self.address) as ray, told(where=f"encoder {self.identity['name']}"):
            ray.data.DataContext.get_current().execution_options.preserve_order = True
            workers = max(1, int(ray.cluster_resources().get("CPU", 1)))
            data = ray.data.from_items([{"texts": block} for block in todo], override_num_blocks=len(todo))
            data = mapped(
                data,
                _Worker,
                fn_constructor_args=(dict(self.identity), batch_size),
                num_cpus=1,
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(workers, len(todo))),
            )
            for row in data.iter_rows():
                yield np.frombuffer(row["vectors"], np.float32).reshape(-1, self.width)


class _Worker:
    """Holds the encoder, and gives it a block of texts."""

    def __init__(self, identity: dict[str, Any], batch_size: int) -> None:
        import torch

        torch.set_num_threads(1)
        self._encoder, self._batch_size = Encoder.from_identity(identity), batch_size

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        made = (self._encoder.encode(json.loads(texts), self._batch_size) for texts in batch["texts"])
        return {"vectors": [vectors.tobytes() for vectors in made]}
