"""Assertions of a serving graph. TensorFlow Serving answers 400 with their text, so it must tell what to do."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def require(message: str, names: Sequence[str], holds: tf.Tensor) -> tf.Operation:
    """Fails with the message and the names of the inputs that do not hold.

    Args:
        message: what is required.
        names: inputs, n of them.
        holds: bool [n].
    """
    wrong = tf.gather(tf.constant(list(names)), tf.where(tf.logical_not(holds))[:, 0])
    return tf.debugging.Assert(tf.reduce_all(holds), [message, wrong], summarize=len(names))


def require_of_values(message: str, names: Sequence[str], edges: tf.Tensor, holds: tf.Tensor) -> tf.Operation:
    """Fails with the message and the names of the inputs that have a value that does not hold.

    Args:
        message: what is required.
        names: inputs, n of them.
        edges: int64 [n + 1], first value of each input among all values.
        holds: bool [values].
    """
    # Which input a value is of is searched for the wrong ones alone, of which there are nearly always none.
    wrong = tf.where(tf.logical_not(holds))[:, 0]
    inputs = tf.unique(tf.searchsorted(edges[1:], wrong, side="right"))[0]
    return tf.debugging.Assert(
        tf.reduce_all(holds), [message, tf.gather(tf.constant(list(names)), inputs)], summarize=len(names)
    )
