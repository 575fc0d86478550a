"""Utterances to vectors: by an encoder, by a cache of what it gave, or from vectors that come from elsewhere."""

from sacl.features.corpus import encode_corpus, features_of
from sacl.features.encoder import Encoder
from sacl.features.store import FeatureStore, fingerprint, write_store

__all__ = ["Encoder", "FeatureStore", "encode_corpus", "features_of", "fingerprint", "write_store"]
