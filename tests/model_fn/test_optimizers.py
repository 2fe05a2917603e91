"""Optimizers on a table and gradients that hold some of its rows."""

import math

import numpy as np
import pytest
import tensorflow as tf
from model_batches import SCHEMA, VOCABULARY_SIZE, parsed, requests, small

from features import names
from model_fn import losses, network, optimizers, terms
from model_fn.embedding import TABLE
from model_fn.hyperparameters import OPTIMIZERS, Hyperparameters

ROWS, WIDTH, STEPS = 6, 3, 5
START = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)


def steps_of(optimizer, rows_of_steps, dense=False, seed=1):
    """Table and slots after steps whose gradients hold the given rows; `dense` gives the whole matrix instead."""
    rng = np.random.default_rng(seed)
    with tf.Graph().as_default():
        table = tf.compat.v1.get_variable(TABLE, initializer=tf.constant(START), use_resource=True)
        optimizer = optimizer()
        rows = tf.compat.v1.placeholder(tf.int64, [None])
        values = tf.compat.v1.placeholder(tf.float32, [None, WIDTH])
        gradient = tf.IndexedSlices(values, rows, tf.constant([ROWS, WIDTH], tf.int64))
        if dense:
            gradient = tf.scatter_nd(rows[:, tf.newaxis], values, [ROWS, WIDTH])
        op = optimizer.apply_gradients([(gradient, table)])
        slots = [optimizer.get_slot(table, name) for name in optimizer.get_slot_names()]
        with tf.compat.v1.Session() as session:
            session.run(tf.compat.v1.global_variables_initializer())
            start = session.run(slots)
            for chosen in rows_of_steps:
                session.run(op, {rows: chosen, values: rng.normal(size=(len(chosen), WIDTH))})
            return session.run(table), start, session.run(slots)


def maker(name, **changes):
    return lambda: optimizers.make_optimizer(name, 0.05, Hyperparameters(**changes))


EVERY_ROW = [list(range(ROWS))] * STEPS


def test_lazy_adam_is_adam_on_rows_that_every_batch_touches():
    lazy, _, lazy_slots = steps_of(maker("LazyAdam"), EVERY_ROW)
    adam, _, adam_slots = steps_of(lambda: tf.compat.v1.train.AdamOptimizer(0.05), EVERY_ROW, dense=True)
    np.testing.assert_allclose(lazy, adam, rtol=1e-5)
    np.testing.assert_allclose(lazy_slots, [np.hstack(adam_slots)], rtol=1e-5)


def test_lazy_adam_is_the_papers_formula():
    rng = np.random.default_rng(1)
    value, m, v = START[[1, 4]].astype(np.float64), 0.0, 0.0
    for step in range(1, STEPS + 1):
        gradient = rng.normal(size=(2, WIDTH))
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        value = value - 0.05 * (math.sqrt(1 - 0.999**step) / (1 - 0.9**step)) * m / (np.sqrt(v) + 1e-8)
    table, _, _ = steps_of(maker("LazyAdam"), [[1, 4]] * STEPS)
    np.testing.assert_allclose(table[[1, 4]], value, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "Adam"])
def test_rows_without_gradient_keep_their_value_and_slots(name):
    table, start, slots = steps_of(maker(name), [[0, 1, 3], [1, 5]])
    untouched, touched = [2, 4], [0, 1, 3, 5]
    np.testing.assert_array_equal(table[untouched], START[untouched])
    assert (np.abs(table[touched] - START[touched]) > 0).all()
    assert name == "SGD" or slots
    for before, after in zip(start, slots, strict=True):
        np.testing.assert_array_equal(after[untouched], before[untouched])


def test_adam_on_the_table_moves_untouched_rows_once_they_have_momentum():
    table, _, _ = steps_of(maker("Adam"), [[2], [0]])
    after_one, _, _ = steps_of(maker("Adam"), [[2]])
    assert (np.abs(table[2] - after_one[2]) > 0).all()


@pytest.mark.parametrize(
    ("name", "standard"),
    [
        ("Momentum", lambda: tf.compat.v1.train.MomentumOptimizer(0.05, 0.9)),
        ("Adagrad", lambda: tf.compat.v1.train.AdagradOptimizer(0.05, 0.1)),
        # Without L1 they are the same; TensorFlow's own Ftrl forgets the initial weights in its first step.
        ("Ftrl", lambda: tf.compat.v1.train.AdagradOptimizer(0.05, 0.1)),
        ("SGD", lambda: tf.compat.v1.train.GradientDescentOptimizer(0.05)),
        ("Adam", lambda: tf.compat.v1.train.AdamOptimizer(0.05)),
    ],
)
def test_dense_and_sparse_steps_are_tensorflows(name, standard):
    for dense in (True, False):
        ours = steps_of(maker(name, initial_accumulator=0.1), EVERY_ROW, dense)
        theirs = steps_of(standard, EVERY_ROW, dense)
        np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5)


def test_ftrl_keeps_the_initial_weights_and_l1_holds_weights_at_0_that_gradients_took_there():
    gentle, _, _ = steps_of(lambda: optimizers.RowFtrl(1e-6, 0.1, 0.0), EVERY_ROW)
    np.testing.assert_allclose(gentle, START, atol=1e-4)
    free, _, _ = steps_of(lambda: optimizers.RowFtrl(0.5, 0.1, 0.0), EVERY_ROW)
    sparse, _, _ = steps_of(lambda: optimizers.RowFtrl(0.5, 0.1, 5.0), EVERY_ROW)
    dense, _, _ = steps_of(lambda: optimizers.RowFtrl(0.5, 0.1, 5.0), EVERY_ROW, dense=True)
    assert (sparse == 0).any() and not (free == 0).any()
    np.testing.assert_allclose(sparse, dense, rtol=1e-5)


def schedule(step, **changes):
    return float(optimizers.schedule(tf.constant(step, tf.int64), Hyperparameters(**changes)))


def test_warm_up_rises_to_the_full_rate():
    found = [schedule(step, warmup_steps=4) for step in range(6)]
    np.testing.assert_allclose(found, [0.25, 0.5, 0.75, 1, 1, 1])
    assert schedule(0) == 1


@pytest.mark.parametrize(
    ("decay", "wanted"),
    [
        ("exponential", [1, math.sqrt(0.5), 0.5, 0.25]),
        ("linear", [1, 0.75, 0.5, 0.5]),
        ("cosine", [1, 0.75, 0.5, 0.5]),
    ],
)
def test_decay_starts_behind_the_warm_up(decay, wanted):
    settings = {"decay": decay, "decay_steps": 10, "decay_rate": 0.5, "warmup_steps": 3}
    np.testing.assert_allclose([schedule(3 + step, **settings) for step in (0, 5, 10, 20)], wanted, rtol=1e-6)
    assert schedule(0, **settings) == pytest.approx(1 / 3)


def train_once(settings, **changes):
    """Change of every trainable variable in one step."""
    with tf.Graph().as_default():
        tf.compat.v1.set_random_seed(3)
        features, labels = parsed(requests(6))
        net = network.build(features, SCHEMA, VOCABULARY_SIZE, settings, training=True)
        truth = losses.Labels(*(tf.cast(labels[name].values, tf.float32) for name in (names.CLICK, names.CONVERSION)))
        loss = terms.total_loss(terms.task_losses(terms.Scored(truth, net.logits, 0.1, settings)), settings)
        op = optimizers.train_op(loss, settings, [])
        variables = tf.compat.v1.trainable_variables()
        with tf.compat.v1.Session() as session:
            session.run(tf.compat.v1.global_variables_initializer())
            before = session.run(variables)
            session.run(op)
            after = session.run(variables)
            step = session.run(tf.compat.v1.train.get_global_step())
    assert step == 1
    return {v.op.name: new - old for v, old, new in zip(variables, before, after, strict=True)}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_trains_table_and_towers(name):
    moved = train_once(small(optimizer=name, embedding_optimizer=name, learning_rate=0.1))
    for variable, change in moved.items():
        assert np.isfinite(change).all()
        assert np.abs(change).max() > 0, variable


def test_table_and_dense_part_have_rates_of_their_own():
    moved = train_once(
        small(optimizer="SGD", embedding_optimizer="SGD", learning_rate=0.1, embedding_learning_rate=0.4)
    )
    same = train_once(small(optimizer="SGD", embedding_optimizer="SGD", learning_rate=0.1))
    for name, change in moved.items():
        factor = 4 if name.endswith(TABLE) else 1
        np.testing.assert_allclose(change, factor * same[name], rtol=1e-3, atol=1e-7, err_msg=name)


def test_clipping_scales_all_gradients_to_the_norm():
    settings = {"optimizer": "SGD", "embedding_optimizer": "SGD", "learning_rate": 1.0}
    free, clipped = train_once(small(**settings)), train_once(small(**settings, clip_norm=0.01))
    norm = math.sqrt(sum(float(np.square(change).sum()) for change in free.values()))
    assert norm > 0.01
    for name, change in clipped.items():
        np.testing.assert_allclose(change, free[name] * 0.01 / norm, rtol=2e-3, atol=1e-7, err_msg=name)
    loose = train_once(small(**settings, clip_norm=norm * 2))
    for name, change in loose.items():
        np.testing.assert_allclose(change, free[name], rtol=1e-3, atol=1e-7, err_msg=name)
