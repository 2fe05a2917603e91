"""NDCG@k within each user, averaged over users: how well the top of a list is filled."""

from __future__ import annotations

import numpy as np

# Places of a list that count.
PLACES = 10


def grouped_ndcg(groups: np.ndarray, scores: np.ndarray, labels: np.ndarray, places: int = PLACES) -> float:
    """Mean over groups that have a positive of DCG@k / ideal DCG@k (Järvelin and Kekäläinen 2002); NaN without any.

    A positive at place i counts 1 / log2(1 + i). Impressions of equal scores share the mean of their places: so the
    order of the log tells nothing.

    Args:
        groups: [n] integers.
        scores: [n].
        labels: [n] of 0 and 1.
        places: k.
    """
    if not np.any(labels):
        return float("nan")
    order = np.lexsort((-scores, groups))
    groups, scores, labels = groups[order], scores[order], labels[order]
    new_group = np.concatenate([[True], groups[1:] != groups[:-1]])
    group = np.cumsum(new_group) - 1
    tie = np.cumsum(new_group | np.concatenate([[True], scores[1:] != scores[:-1]])) - 1
    place = np.arange(len(groups)) - np.flatnonzero(new_group)[group]
    worth = _worth(place, places)
    shared = np.bincount(tie, worth) / np.bincount(tie)
    found = np.bincount(group, labels * shared[tie])
    positives = np.bincount(group, labels).astype(np.int64)
    ideal = np.concatenate([[0.0], np.cumsum(_worth(np.arange(places), places))])[np.minimum(positives, places)]
    able = positives > 0
    return float(np.mean(found[able] / ideal[able]))


def _worth(place: np.ndarray, places: int) -> np.ndarray:
    """What a positive at a place counts, the first being 0."""
    return np.where(place < places, 1.0 / np.log2(2.0 + place), 0.0)
