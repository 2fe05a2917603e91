"""AUC within each user, averaged over users: exact, from a sample of users where the log is too long to keep."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from features import keys

# The user of an impression whose user the log does not tell: it enters no metric within users.
UNKNOWN = 0

# Impressions kept, at 21 bytes each (twice that while they are put in order).
MOST_IMPRESSIONS = 1 << 24


class UserScores(NamedTuple):
    """Impressions of users: int64 user, float32 logits of click and conversion and weight, uint8 labels; [n] each."""

    user: np.ndarray
    ctr: np.ndarray
    cvr: np.ndarray
    click: np.ndarray
    conversion: np.ndarray
    weight: np.ndarray


_DTYPES = (np.int64, np.float32, np.float32, np.uint8, np.uint8, np.float32)


class UserSample:
    """Impressions of all users or, past a limit, of a part of the users that halves whenever it is reached.

    Which users are kept is decided by a hash of the user, so it does not depend on the order of the impressions, and
    the impressions of a kept user are all there.
    """

    def __init__(self, most: int = MOST_IMPRESSIONS) -> None:
        self._most = most
        self._halvings = 0
        self._parts: list[UserScores] = []
        self._count = 0

    @property
    def share(self) -> float:
        """Share of users that are kept (expected)."""
        return 0.5**self._halvings

    def update(self, scores: UserScores) -> None:
        """Adds impressions."""
        known = np.asarray(scores.user) != UNKNOWN
        arrays = (np.asarray(values, dtype)[known] for values, dtype in zip(scores, _DTYPES, strict=True))
        self._add(self._of_kept_users(UserScores(*arrays)))
        while self._count > self._most:
            self._halvings += 1
            kept = self._of_kept_users(self.scores())
            self._parts, self._count = [], 0
            self._add(kept)

    def scores(self) -> UserScores:
        """All that is kept."""
        if not self._parts:
            return UserScores(*(np.empty(0, dtype) for dtype in _DTYPES))
        self._parts = [UserScores(*map(np.concatenate, zip(*self._parts, strict=True)))]
        return self._parts[0]

    def _add(self, part: UserScores) -> None:
        self._parts.append(part)
        self._count += len(part.user)

    def _of_kept_users(self, part: UserScores) -> UserScores:
        if not self._halvings:
            return part
        with np.errstate(over="ignore"):
            hashes = keys.mix64(part.user.astype(np.int64))
        kept = (hashes & ((1 << self._halvings) - 1)) == 0
        return UserScores(*(values[kept] for values in part))


class GroupedAuc(NamedTuple):
    """Mean over groups of their AUC, weighted by impressions, and the share of groups that have one class only."""

    auc: float
    left_out: float


def grouped_auc(
    groups: np.ndarray, scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> GroupedAuc:
    """Exact AUC (ties count half) within groups; NaN where no group has both classes.

    Args:
        groups: [n] integers.
        scores: [n].
        labels: [n] of 0 and 1.
        weights: what each counts for, [n] of at least 0; None: 1. A class of weight 0 is not there.
    """
    if not len(groups):
        return GroupedAuc(float("nan"), float("nan"))
    order = np.lexsort((scores, groups))
    groups, scores = groups[order], scores[order]
    weight = np.ones(len(groups)) if weights is None else np.asarray(weights, np.float64)[order]
    positive = weight * labels[order]
    new_group = np.concatenate([[True], groups[1:] != groups[:-1]])
    group = np.cumsum(new_group) - 1
    tie = np.cumsum(new_group | np.concatenate([[True], scores[1:] != scores[:-1]])) - 1
    count, positives = np.bincount(group, weight), np.bincount(group, positive)
    negatives = np.bincount(group, weight - positive)
    above = np.bincount(group, positive * (_below(tie, weight - positive) - _before(negatives)[group]))
    pairs = positives * negatives
    both = pairs > 0
    if not both.any():
        return GroupedAuc(float("nan"), 1.0)
    auc = np.average(above[both] / pairs[both], weights=count[both])
    return GroupedAuc(float(auc), 1.0 - float(both.mean()))


def _below(tie: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Negatives that each score is above, all groups before its own included and ties as half: float64 [n]."""
    by_tie = np.bincount(tie, negative)
    return (_before(by_tie) + by_tie / 2)[tie]


def _before(sums: np.ndarray) -> np.ndarray:
    return np.cumsum(sums) - sums
