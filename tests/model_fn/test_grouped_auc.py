import math

import numpy as np
import pytest

from model_fn.grouped_auc import UNKNOWN, UserSample, UserScores, grouped_auc


def pair_auc(scores, labels):
    """Share of pairs of a positive and a negative that are in order, ties as half."""
    above = scores[labels == 1][:, None] - scores[labels == 0][None, :]
    return np.mean((above > 0) + 0.5 * (above == 0))


def test_it_is_the_mean_of_the_users_aucs_weighted_by_impressions():
    rng = np.random.default_rng(1)
    users = rng.integers(0, 40, 600)
    scores = rng.integers(0, 12, 600) / 4
    labels = (rng.random(600) < 0.15).astype(np.int64)
    aucs, weights, left_out = [], [], 0
    for user in np.unique(users):
        mine = users == user
        if labels[mine].min() == labels[mine].max():
            left_out += 1
            continue
        aucs.append(pair_auc(scores[mine], labels[mine]))
        weights.append(mine.sum())
    found = grouped_auc(users, scores, labels)
    assert left_out > 0
    assert found.auc == pytest.approx(np.average(aucs, weights=weights))
    assert found.left_out == pytest.approx(left_out / len(np.unique(users)))


def test_an_impression_of_weight_n_is_as_n_of_them():
    rng = np.random.default_rng(4)
    users, scores, weights = rng.integers(0, 9, 200), rng.integers(0, 12, 200) / 4, rng.integers(0, 4, 200)
    labels = (rng.random(200) < 0.3).astype(np.int64)
    repeated = grouped_auc(*(np.repeat(column, weights) for column in (users, scores, labels)))
    assert grouped_auc(users, scores, labels, weights).auc == pytest.approx(repeated.auc, rel=1e-12)
    assert grouped_auc(users, scores, labels, weights / 3).auc == pytest.approx(repeated.auc, rel=1e-9)


def test_without_a_user_of_both_classes_it_is_absent():
    found = grouped_auc(np.array([1, 1, 2]), np.array([0.1, 0.2, 0.3]), np.array([0, 0, 1]))
    assert math.isnan(found.auc)
    assert found.left_out == 1
    assert math.isnan(grouped_auc(np.array([]), np.array([]), np.array([])).auc)


def columns(users, rng):
    size = len(users)
    click = (rng.random(size) < 0.3).astype(np.uint8)
    ctr, cvr, weights = rng.normal(size=size), rng.normal(size=size), rng.random(size)
    return UserScores(users, ctr, cvr, click, click * (rng.random(size) < 0.5), weights)


def test_below_the_limit_everything_of_a_known_user_is_kept():
    rng = np.random.default_rng(2)
    parts = [columns(rng.integers(0, 50, 100), rng) for _ in range(5)]
    sample = UserSample(most=500)
    for part in parts:
        sample.update(part)
    assert sample.share == 1
    given = [np.concatenate(column) for column in zip(*parts, strict=True)]
    known = given[0] != UNKNOWN
    assert not known.all()
    for kept, column in zip(sample.scores(), given, strict=True):
        np.testing.assert_array_equal(kept, column[known].astype(kept.dtype))


def test_past_the_limit_whole_users_are_kept_whatever_the_order():
    rng = np.random.default_rng(3)
    users = rng.integers(0, 3_000, 40_000)
    everything = columns(users, rng)
    kept = []
    for order in (np.arange(len(users)), rng.permutation(len(users))):
        sample = UserSample(most=7_000)
        for part in np.array_split(order, 13):
            sample.update(UserScores(*(values[part] for values in everything)))
        found = sample.scores()
        assert len(found.user) <= 7_000
        assert sample.share == 1 / 8
        kept.append(set(found.user))
        assert len(found.user) == np.isin(users, list(kept[-1])).sum()
    assert kept[0] == kept[1]
    assert len(kept[0]) == pytest.approx(3_000 / 8, rel=0.2)
