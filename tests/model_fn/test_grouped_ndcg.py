import math

import numpy as np
import pytest

from model_fn.grouped_ndcg import grouped_ndcg


def by_hand(groups, scores, labels, places):
    """One user after the other, every order of equal scores by its mean."""
    found = []
    for group in set(groups.tolist()):
        score, label = scores[groups == group], labels[groups == group]
        if not label.any():
            continue
        worth = np.array([1 / math.log2(2 + i) if i < places else 0 for i in range(len(score))])
        order = np.argsort(-score, kind="stable")
        total = 0.0
        for value in set(score.tolist()):
            where = score[order] == value
            total += worth[where].mean() * label[order][where].sum()
        found.append(total / worth[: label.sum()].sum())
    return float(np.mean(found))


@pytest.mark.parametrize("places", [1, 3, 10])
def test_is_that_of_each_user_by_hand(places):
    rng = np.random.default_rng(places)
    groups, labels = rng.integers(0, 40, 600), (rng.random(600) < 0.15).astype(int)
    scores = rng.integers(0, 12, 600) / 4
    assert grouped_ndcg(groups, scores, labels, places) == pytest.approx(by_hand(groups, scores, labels, places))


def test_a_perfect_list_has_one_and_no_positive_none():
    groups, labels = np.array([1, 1, 1, 2, 2]), np.array([1, 0, 1, 0, 0])
    assert grouped_ndcg(groups, labels.astype(float), labels) == 1.0
    assert math.isnan(grouped_ndcg(groups, labels.astype(float), np.zeros(5, int)))
    assert math.isnan(grouped_ndcg(np.empty(0, int), np.empty(0), np.empty(0, int)))
