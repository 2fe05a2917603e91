import numpy as np
import pytest
import tensorflow as tf
from model_batches import evaluate, small

from model_fn.layers import Layers, moments, scale_gradient
from model_fn.representation import Representation, Requests, rows_of_splits

SIZES = [2, 0, 3, 1]
RNG = np.random.default_rng(0)
CONTEXT = RNG.normal(size=(4, 3)).astype(np.float32)
IMPRESSION = RNG.normal(size=(6, 2)).astype(np.float32)
OF_IMPRESSIONS = np.repeat(np.arange(4), SIZES)


def inputs(with_context=True, with_impression=True):
    row_splits = tf.constant(np.concatenate([[0], np.cumsum(SIZES)]), tf.int64)
    requests = Requests(row_splits, rows_of_splits(row_splits))
    return Representation(
        requests,
        tf.constant(CONTEXT) if with_context else None,
        tf.constant(IMPRESSION) if with_impression else None,
    )


def test_rows_of_splits_skip_empty_requests():
    assert list(inputs().requests.of_impressions) == list(OF_IMPRESSIONS)
    assert list(inputs().requests.sizes()) == SIZES


def test_a_linear_layer_is_the_product_with_both_parts_side_by_side():
    layers = Layers(small(), training=True)

    def make():
        outputs = layers.linear(inputs(), 4, "layer")
        return outputs, layers.kernels, tf.compat.v1.global_variables("layer/bias")

    outputs, (context_kernel, kernel), (bias,) = evaluate(make)
    assert context_kernel.shape == (3, 4)
    assert kernel.shape == (2, 4)
    assert not bias.any()
    together = np.hstack([CONTEXT[OF_IMPRESSIONS], IMPRESSION]) @ np.vstack([context_kernel, kernel])
    np.testing.assert_allclose(outputs, together, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("with_context", "rows"), [(True, 4), (False, 6)])
def test_a_layer_on_one_part_keeps_its_rows(with_context, rows):
    def make():
        hidden = Layers(small(), training=True).hidden(inputs(with_context, not with_context), 5, "layer")
        assert (hidden.impression is None) == with_context
        return hidden.context if with_context else hidden.impression

    assert evaluate(make).shape == (rows, 5)


def test_heads_side_by_side_start_as_wide_as_alone():
    def make():
        layers = Layers(small(), training=True)
        layers.linear(inputs(), 4_000, "one")
        layers.linear(inputs(), 4_000 * 3, "three", heads=3)
        return layers.kernels

    one, _, three, _ = evaluate(make)
    limit = np.sqrt(6 / (5 + 4_000))
    for kernel in (one, three):
        assert np.abs(kernel).max() == pytest.approx(limit, rel=0.01)


def test_moments_count_a_row_as_often_as_it_stands():
    rows = tf.constant(CONTEXT)
    found = moments(rows, tf.constant(SIZES, tf.float32))
    repeated = np.repeat(CONTEXT, SIZES, 0)
    np.testing.assert_allclose(found[0].numpy(), repeated.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found[1].numpy(), repeated.var(0), rtol=1e-5)
    np.testing.assert_allclose(moments(rows, None)[1].numpy(), CONTEXT.var(0), rtol=1e-5)


def test_batch_norm_normalizes_in_training_and_follows_with_its_decay():
    settings = small(batch_norm=True, batch_norm_decay=0.75)
    with tf.Graph().as_default():
        tf.compat.v1.set_random_seed(1)
        layers = Layers(settings, training=True)
        linear = layers._batch_norm(tf.constant(IMPRESSION), None, "norm")
        with tf.compat.v1.variable_scope("", reuse=True):
            later = Layers(settings, training=False)._batch_norm(tf.constant(IMPRESSION), None, "norm")
        moving = {v.op.name.split("/")[-1]: v for v in tf.compat.v1.global_variables()}
        assert {v.op.name.split("/")[-1] for v in tf.compat.v1.trainable_variables()} == {"beta", "gamma"}
        with tf.compat.v1.Session() as session:
            session.run(tf.compat.v1.global_variables_initializer())
            normal = session.run(linear)
            np.testing.assert_allclose(normal.mean(0), 0, atol=1e-6)
            np.testing.assert_allclose(normal.var(0), 1, atol=0.01)
            session.run(layers.updates)
            mean, variance = session.run([moving["moving_mean"], moving["moving_variance"]])
            np.testing.assert_allclose(mean, 0.25 * IMPRESSION.mean(0), rtol=1e-5)
            np.testing.assert_allclose(variance, 0.75 + 0.25 * IMPRESSION.var(0), rtol=1e-5)
            wanted = (IMPRESSION - mean) / np.sqrt(variance + 1e-3)
            np.testing.assert_allclose(session.run(later), wanted, rtol=1e-5, atol=1e-6)


def test_dropout_keeps_the_expectation_at_its_drop_rate():
    def make():
        rows = Representation(inputs().requests, None, tf.ones([2_000, 4]))
        layers = Layers(small(), training=True)
        with tf.compat.v1.variable_scope("", reuse=tf.compat.v1.AUTO_REUSE):
            return [layers.hidden(rows, 50, "layer", rate).impression for rate in (0.2, 0.0)]

    dropped, kept = evaluate(make)
    alive = kept[0] > 0
    assert (dropped[:, alive] == 0).mean() == pytest.approx(0.2, abs=0.02)
    np.testing.assert_allclose(dropped[:, alive].mean(), kept[:, alive].mean(), rtol=0.03)


def test_scale_gradient_leaves_values_alone():
    value = tf.constant([1.0, -2.0])
    with tf.GradientTape() as tape:
        tape.watch(value)
        scaled = scale_gradient(value, 8.0)
        total = tf.reduce_sum(scaled * [3.0, 5.0])
    np.testing.assert_array_equal(scaled.numpy(), value.numpy())
    np.testing.assert_array_equal(tape.gradient(total, value).numpy(), [24.0, 40.0])


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_gradients_of_small_losses_survive_lower_precision(precision):
    """A mean over a million impressions gives gradients below float16's smallest number."""

    def make(settings):
        tf.compat.v1.set_random_seed(2)
        layers = Layers(settings, training=True)
        top = layers.stack(inputs(), (8, 4), "tower")
        loss = tf.reduce_mean(tf.nn.softplus(layers.logit(top, "tower"))) * 1e-6
        variables = tf.compat.v1.trainable_variables()
        return dict(zip([v.op.name for v in variables], tf.gradients(loss, variables), strict=True))

    exact = evaluate(lambda: make(small()))
    found = evaluate(lambda: make(small(precision=precision)))
    for name, gradient in exact.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], gradient, atol=0.05 * np.abs(gradient).max() + 1e-12, err_msg=name)
