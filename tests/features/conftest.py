"""Random transformers of 32 numbers and two layers, with a tokenizer: quick, and no better than random."""

from __future__ import annotations

from pathlib import Path

import pytest

SIGNS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "!", ".", "?", "##s", "##ing"]
WORDS = [
    "you",
    "came",
    "i",
    "said",
    "would",
    "we",
    "are",
    "late",
    "again",
    "and",
    "nobody",
    "told",
    "me",
    "walk",
    "wait",
]


def write_tiny(folder: Path, architecture: str) -> Path:
    """A folder as transformers saves it, with room for 40 tokens."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {word: i for i, word in enumerate([*SIGNS, *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    config = getattr(transformers, f"{architecture}Config")(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=40 + (architecture == "Roberta"),  # its first row is the padding's
        pad_token_id=0,
        initializer_range=0.5,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        getattr(transformers, f"{architecture}Model")(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("bert") / "encoder", "Bert")


@pytest.fixture(scope="session")
def tiny_roberta_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("roberta") / "encoder", "Roberta")
