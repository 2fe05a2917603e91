import numpy as np
import pytest
import tensorflow as tf

from model_fn import losses, propensity, terms
from model_fn.hyperparameters import Hyperparameters


def test_a_floor_that_is_given_is_the_floor():
    with tf.Graph().as_default():
        found = propensity.floor(tf.zeros([4]), Hyperparameters(propensity_floor=0.02), training=True)
        assert not found.updates
        assert not tf.compat.v1.global_variables()
        with tf.compat.v1.Session() as session:
            assert session.run(found.value) == np.float32(0.02)


def test_the_default_floor_is_a_third_of_the_click_rate_so_far():
    batches = [[1, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1]]
    with tf.Graph().as_default():
        click = tf.compat.v1.placeholder(tf.float32, [None])
        training = propensity.floor(click, Hyperparameters(), training=True)
        later = propensity.floor(click, Hyperparameters(), training=False)
        assert not later.updates
        with tf.compat.v1.Session() as session:
            session.run(tf.compat.v1.global_variables_initializer())
            clicks = seen = 0
            for batch in batches:
                clicks, seen = clicks + sum(batch), seen + len(batch)
                floor = session.run(training.value, {click: batch})
                session.run(training.updates, {click: batch})
                assert floor == pytest.approx((clicks + 1) / (seen + 1) / 3)
                assert session.run(later.value, {click: [1.0]}) == pytest.approx(floor)


def scored(labels, ctr):
    return terms.Scored(labels, losses.Logits(ctr, ctr, {}), tf.constant(0.1), Hyperparameters())


def test_diagnostics_are_over_the_clicks():
    click = np.array([1, 1, 1, 0], np.float64)
    logits = np.array([-3.0, -1.0, 1.0, -9.0])
    labels = losses.Labels(tf.constant(click, tf.float32), tf.zeros([4]))
    found = propensity.diagnostics(scored(labels, tf.constant(logits, tf.float32)))
    weights = 1 / np.maximum(1 / (1 + np.exp(-logits[:3])), 0.1)
    assert found["clipped_share"].numpy() == pytest.approx(1 / 3)
    assert found["max_weight"].numpy() == pytest.approx(10)
    assert found["ess"].numpy() == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    nothing = propensity.diagnostics(scored(losses.Labels(tf.zeros([4]), tf.zeros([4])), tf.zeros([4])))
    assert [nothing[name].numpy() for name in ("clipped_share", "max_weight", "ess")] == [0, 0, 0]
