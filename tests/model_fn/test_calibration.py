"""Maps of logits: what they bring right, that they keep the order, and that a graph computes the same."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from model_fn import calibration, network
from model_fn.calibration import IDENTITY, ISOTONIC, METHODS, PLATT, Calibration, Curve
from model_fn.score_histogram import ScoreHistogram


def histogram(logits, labels, weights=None):
    made = ScoreHistogram()
    made.update(logits, labels, weights)
    return made


def sample(true_logit, count=200_000, seed=1):
    """Logits of a model, and labels whose true logit is a function of them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-2, 1.5, count)
    return logits, (rng.random(count) < 1 / (1 + np.exp(-true_logit(logits)))).astype(int)


def test_platt_finds_the_line_that_labels_were_drawn_from():
    found = calibration.fit(histogram(*sample(lambda x: 0.6 * x - 1.0)), PLATT)
    x = np.linspace(-6, 3, 50)
    np.testing.assert_allclose(found.of(x), 0.6 * x - 1.0, atol=0.06)


def test_isotonic_follows_what_is_no_line():
    def true_logit(x):
        return np.where(x < -2, -3.0 + 0.2 * (x + 2), -3.0 + 1.5 * (x + 2))

    logits, labels = sample(true_logit)
    before, line, free = (
        histogram(curve.of(logits), labels)
        for curve in [IDENTITY] + [calibration.fit(histogram(logits, labels), method) for method in (PLATT, ISOTONIC)]
    )
    assert free.log_loss() < line.log_loss() < before.log_loss()
    assert free.expected_calibration_error() < 0.1 * before.expected_calibration_error()
    assert free.calibration() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [40, 3000, 200_000])
def test_the_order_stays_and_a_graph_computes_the_same(method, count):
    logits, labels = sample(lambda x: 0.5 * x - 0.5, count)
    found = calibration.fit(histogram(logits, labels), method)
    assert np.all(np.diff(found.logits) > 0) and np.all(np.diff(found.calibrated) > 0)
    x = np.sort(np.concatenate([logits[:2000], np.linspace(-45, 45, 500), found.logits])).astype(np.float32)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        in_graph = session.run(network.mapped(tf.constant(x), found))
    np.testing.assert_allclose(in_graph, found.of(x.astype(np.float64)), rtol=1e-5, atol=1e-5)
    assert np.all(np.diff(in_graph) >= 0)


@pytest.mark.parametrize("method", METHODS)
def test_weights_count_as_impressions_do(method):
    logits, labels = sample(lambda x: x + 0.7, 20_000)
    weights = np.where(labels, 1, 3)
    repeated = histogram(np.repeat(logits, weights), np.repeat(labels, weights))
    once = calibration.fit(histogram(logits, labels, weights.astype(float)), method)
    assert once == calibration.fit(repeated, method)


@pytest.mark.parametrize("method", METHODS)
def test_labels_of_one_kind_tell_nothing_and_a_turned_order_is_not_turned_back(method):
    logits = np.linspace(-3, 3, 1000)
    for label in (0, 1):
        assert calibration.fit(histogram(logits, np.full(1000, label)), method) == IDENTITY
    turned = calibration.fit(histogram(logits, (logits < 0).astype(int)), method)
    assert turned.of(np.array([1.0])) > turned.of(np.array([-1.0]))
    assert (1 / (1 + np.exp(-turned.of(logits)))).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("method", METHODS)
def test_scores_that_are_perfect_or_alike_give_finite_maps(method):
    logits = np.linspace(-3, 3, 500)
    for one in (logits, np.zeros(500)):
        found = calibration.fit(histogram(one, (logits > 0.5).astype(int)), method)
        assert np.isfinite(found.of(np.array([-40.0, 0.0, 40.0]))).all()


def test_maps_survive_json():
    made = Calibration(Curve((-1.0, 0.5), (-2.0, 0.25), 0.5, 2.0), IDENTITY)
    assert Calibration.from_dict(json.loads(json.dumps(dataclasses.asdict(made)))) == made
