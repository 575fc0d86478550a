"""What a run directory does not hold, read again where it was trained from: conversations and representations."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sacl.conversation import Conversation
from sacl.errors import DataError
from sacl.experiment.data import Progress, corpus_of
from sacl.experiment.evaluate import load_seed
from sacl.report.runs import UNLABELLED, Run


def data_folder(run: Run, data: Path | None) -> Path | None:
    """The folder asked for, or else the one that the run was trained on."""
    kept = run.record.get("data_folder")
    return data or (Path(kept) if isinstance(kept, str) and kept else None)


def conversations_of(run: Run, data: Path | None = None) -> list[Conversation]:
    """The conversations that the run was tested on, texts and speakers included.

    Raises:
        DataError: the data set is not there, or its test split is another.
    """
    # Whichever validation split a seed drew, the test split is the same.
    corpus = corpus_of(run.recipe, data_folder(run, data))
    conversations = list(corpus["test"])
    keys = [(c.id, u.id) for c in conversations for u in c.utterances]
    index = {name: i for i, name in enumerate(run.labels)}
    gold = [index.get(u.emotion or "", UNLABELLED) for c in conversations for u in c.utterances]
    if keys != list(run.keys) or gold != run.gold.tolist():
        raise DataError(
            "its test split is not the one that the run was tested on", where=corpus.name, remedy="Give the same data"
        )
    return conversations


def representations_of(
    run: Run, data: Path | None = None, cache: Path | None = None, progress: Progress | None = None
) -> np.ndarray:
    """Hidden states of the run's first seed on the test split, shape (utterances, width).

    Raises:
        SaclError: data or features that are not there, or are not those of the run.
    """
    from sacl.evaluation.clustering import representations
    from sacl.evaluation.robustness import batching

    trained, given = load_seed(run.folder, run.seeds[0].seed, data=data, cache=cache, progress=progress)
    batched = batching(trained.model, trained.settings, run.recipe.training.batch_size)
    return representations(trained.model, batched(trained.items(*given.split("test"))))
