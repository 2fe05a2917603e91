"""Against rank AUC, log loss and deciles of the scores themselves."""

import math

import numpy as np
import pytest

from model_fn.score_histogram import ScoreHistogram


def rank_auc(scores, labels):
    order = np.argsort(scores, kind="stable")
    ranks = np.empty(len(scores))
    ranks[order] = np.arange(1, len(scores) + 1)
    for value in np.unique(scores[labels == 1]) if len(scores) < 10_000 else ():
        ranks[scores == value] = ranks[scores == value].mean()
    positives = labels.sum()
    return (ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(labels) - positives))


def filled(scores, labels, parts=7):
    histogram = ScoreHistogram()
    for some, truth in zip(np.array_split(scores, parts), np.array_split(labels, parts), strict=True):
        histogram.update(some.astype(np.float32), truth)
    return histogram


@pytest.mark.parametrize("spread", [0.02, 1.0, 6.0])
def test_auc_is_the_rank_auc_where_two_in_ten_thousand_convert(spread):
    rng = np.random.default_rng(4)
    interest = rng.normal(size=1_000_000)
    labels = (rng.random(len(interest)) < 1 / (1 + np.exp(9.1 - interest))).astype(np.int64)
    assert 1e-4 < labels.mean() < 4e-4
    scores = spread * interest - 8.5
    exact = rank_auc(scores, labels)
    assert 0.7 < exact < 0.85
    assert filled(scores, labels).auc() == pytest.approx(exact, abs=2e-4)


def test_ties_count_half():
    scores, labels = np.array([1.0, 1.0, 2.0, 0.0]), np.array([1, 0, 0, 1])
    assert filled(scores, labels, 1).auc() == pytest.approx((0.5 + 0 + 0 + 0) / 4)
    assert filled(np.zeros(5), np.array([1, 0, 1, 0, 0]), 1).auc() == 0.5


def test_scores_beyond_the_range_are_kept_at_its_ends():
    assert filled(np.array([-90.0, 90.0, -50.0, 50.0]), np.array([0, 1, 0, 1]), 1).auc() == 1


def test_log_loss_entropy_and_calibration_are_those_of_the_impressions():
    rng = np.random.default_rng(5)
    scores = rng.normal(size=5_000).astype(np.float32) * 3
    labels = rng.integers(0, 2, 5_000)
    p = 1 / (1 + np.exp(-scores.astype(np.float64)))
    log_loss = -np.mean(labels * np.log(p) + (1 - labels) * np.log1p(-p))
    rate = labels.mean()
    found = filled(scores, labels)
    assert found.log_loss() == pytest.approx(log_loss, rel=1e-9)
    entropy = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))
    assert found.normalized_entropy() == pytest.approx(log_loss / entropy, rel=1e-9)
    assert found.calibration() == pytest.approx(p.sum() / labels.sum(), rel=1e-9)
    assert found.mean_prediction() == pytest.approx(p.mean(), rel=1e-9)


def test_the_calibration_table_holds_the_deciles():
    rng = np.random.default_rng(6)
    scores = rng.normal(size=20_000)
    labels = (rng.random(20_000) < 0.3).astype(np.int64)
    p = 1 / (1 + np.exp(-scores))
    order = np.argsort(scores)
    found = filled(scores, labels)
    table = found.calibration_table()
    assert table.shape == (10, 3)
    assert table[:, 0].sum() == 20_000
    for row, decile in zip(table, np.split(order, 10), strict=True):
        # Bins are 0.0012 wide, so a handful of impressions falls into the neighbour.
        np.testing.assert_allclose(row, [2_000, p[decile].mean(), labels[decile].mean()], rtol=0.02)
    error = sum(abs(row[1] - row[2]) * row[0] for row in table) / 20_000
    assert found.expected_calibration_error() == pytest.approx(error)


def test_what_the_labels_do_not_determine_is_absent():
    none = filled(np.zeros(4), np.zeros(4, np.int64), 1)
    for metric in (
        none.auc,
        none.log_loss,
        none.normalized_entropy,
        none.calibration,
        none.expected_calibration_error,
        ScoreHistogram().mean_prediction,
        filled(np.zeros(4), np.ones(4, np.int64), 1).auc,
        filled(np.zeros(4), np.ones(4, np.int64), 1).normalized_entropy,
    ):
        assert math.isnan(metric())
    assert none.mean_prediction() == 0.5
    table = none.calibration_table()
    assert table[:, 0].sum() == 4
    assert np.isnan(table[table[:, 0] == 0][:, 1:]).all()


def test_nan_stops():
    with pytest.raises(ValueError, match="diverged"):
        ScoreHistogram().update(np.array([0.0, np.nan]), np.array([0, 1]))
