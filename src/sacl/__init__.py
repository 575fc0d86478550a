"""Emotion recognition in conversations with supervised adversarial contrastive learning (SACL-LSTM).

The public names are those of `__all__`; they are loaded when they are first used, so that importing the package is
quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sacl.conversation import Conversation, Corpus, LabelSet, Utterance
    from sacl.datasets import load_corpus
    from sacl.errors import (
        DataError,
        FeatureError,
        ModelError,
        NumericalError,
        RecipeError,
        RunError,
        SaclError,
    )
    from sacl.experiment.recipe import Recipe, load_recipe
    from sacl.experiment.study import study
    from sacl.features.encoder import Encoder
    from sacl.features.store import FeatureStore, write_store
    from sacl.formats import read_conversations, write_conversations
    from sacl.losses import focal_loss, nt_xent, sup_con
    from sacl.model.batch import ConversationBatch, ConversationItem, collate
    from sacl.model.dual_lstm import DualLSTM
    from sacl.recognizer import EmotionRecognizer, Influence, Recognition, Stream
    from sacl.settings import ObjectiveSettings
    from sacl.training.objective import SACL, Forward

__version__ = "0.1.0"

_HOME = {
    "sacl.conversation": ("Conversation", "Corpus", "LabelSet", "Utterance"),
    "sacl.datasets": ("load_corpus",),
    "sacl.errors": (
        "DataError",
        "FeatureError",
        "ModelError",
        "NumericalError",
        "RecipeError",
        "RunError",
        "SaclError",
    ),
    "sacl.experiment.recipe": ("Recipe", "load_recipe"),
    "sacl.experiment.study": ("study",),
    "sacl.features.encoder": ("Encoder",),
    "sacl.features.store": ("FeatureStore", "write_store"),
    "sacl.formats": ("read_conversations", "write_conversations"),
    "sacl.losses": ("focal_loss", "nt_xent", "sup_con"),
    "sacl.model.batch": ("ConversationBatch", "ConversationItem", "collate"),
    "sacl.model.dual_lstm": ("DualLSTM",),
    "sacl.recognizer": ("EmotionRecognizer", "Influence", "Recognition", "Stream"),
    "sacl.settings": ("ObjectiveSettings",),
    "sacl.training.objective": ("SACL", "Forward"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [  # noqa: RUF022  (by theme)
    "Conversation",
    "Corpus",
    "LabelSet",
    "Utterance",
    "read_conversations",
    "write_conversations",
    "load_corpus",
    "Encoder",
    "FeatureStore",
    "write_store",
    "ConversationBatch",
    "ConversationItem",
    "collate",
    "DualLSTM",
    "focal_loss",
    "nt_xent",
    "sup_con",
    "SACL",
    "Forward",
    "ObjectiveSettings",
    "Recipe",
    "load_recipe",
    "study",
    "EmotionRecognizer",
    "Recognition",
    "Influence",
    "Stream",
    "SaclError",
    "DataError",
    "FeatureError",
    "ModelError",
    "NumericalError",
    "RecipeError",
    "RunError",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'sacl' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
