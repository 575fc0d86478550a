"""How well representations fall into emotions: the scores that the released test mode prints, and t-SNE."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from sacl.model.batch import ConversationBatch


def agreement(labels: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """Predictions as a clustering of the utterances, against the labels as another; 1 is the best of each.

    Args:
        labels: shape (utterances,); a negative label is left out.
        predictions: shape (utterances,).

    Returns:
        `ari` and `ami` (0 by chance), `nmi` and `fmi` (from 0).
    """
    from sklearn import metrics

    known = labels >= 0
    labels, predictions = labels[known], predictions[known]
    return {
        "ari": float(metrics.adjusted_rand_score(labels, predictions)),
        "nmi": float(metrics.normalized_mutual_info_score(labels, predictions)),
        "ami": float(metrics.adjusted_mutual_info_score(labels, predictions)),
        "fmi": float(metrics.fowlkes_mallows_score(labels, predictions)),
    }


def separation(log_probabilities: np.ndarray, clusters: int | None = None, seed: int = 0) -> dict[str, float] | None:
    """How far apart the log-probabilities lie once k-means has clustered them; no label is needed.

    Args:
        log_probabilities: shape (utterances, emotions).
        clusters: k; by default as many as emotions. Fewer where fewer utterances differ.
        seed: of k-means, the best of 10 starts.

    Returns:
        `silhouette` (-1 to 1), `calinski_harabasz` (above 0): higher is better; `davies_bouldin` (from 0): lower is.
        None where fewer than two clusters, or as many as utterances, are to be had: they are not defined there.
    """
    from sklearn import metrics
    from sklearn.cluster import KMeans

    # In single precision k-means may part points that are one; the silhouette of such a part is noise.
    points = np.asarray(log_probabilities, dtype=np.float64)
    k = min(clusters or points.shape[1], len(np.unique(points, axis=0)))
    if not 2 <= k < len(points):
        return None
    found = KMeans(k, n_init=10, random_state=seed).fit_predict(points)
    return {
        "silhouette": float(metrics.silhouette_score(points, found)),
        "calinski_harabasz": float(metrics.calinski_harabasz_score(points, found)),
        "davies_bouldin": float(metrics.davies_bouldin_score(points, found)),
    }


@torch.inference_mode()
def representations(model: nn.Module, batches: Iterable[ConversationBatch]) -> np.ndarray:
    """Hidden states under the classifier, shape (utterances, width), in the order of the batches."""
    model.eval()
    return torch.cat([model(batch)[1] for batch in batches]).cpu().numpy()


def tsne(points: np.ndarray, *, perplexity: float = 30.0, seed: int = 0) -> np.ndarray:
    """Two coordinates a point (van der Maaten and Hinton 2008), from PCA's, the same for a seed.

    Some 15 s for 2,600 points on one core.

    Args:
        points: shape (points, width).
        perplexity: about how many neighbours count; a third of the points at most.

    Returns:
        Shape (points, 2).

    Raises:
        ValueError: fewer than four different points.
    """
    from sklearn.manifold import TSNE

    different = len(np.unique(points, axis=0))
    if different < 4:
        raise ValueError(f"t-SNE of {different} different points shows nothing: give at least four")
    nearest = min(perplexity, (len(points) - 1) / 3)
    return TSNE(2, init="pca", perplexity=nearest, random_state=seed).fit_transform(points)  # type: ignore[no-any-return]
