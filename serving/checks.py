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


def require_of_places(message: str, names: Sequence[str], wrong_places: tf.Tensor) -> tf.Operation:
    """Fails with the message and the names of the inputs in which something is wrong.

    Args:
        message: what is required.
        names: inputs, n of them.
        wrong_places: int [m], the input of each thing that is wrong; none where all is right.
    """
    found = tf.gather(tf.constant(list(names)), tf.unique(wrong_places)[0])
    return tf.debugging.Assert(tf.equal(tf.size(wrong_places), 0), [message, found], summarize=len(names))
