"""Assertions of a serving graph. TensorFlow Serving answers 400 with their text, so it must tell what to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Requirement:
    """What inputs must be.

    Attributes:
        message: what is required.
        names: inputs, n of them.
        holds: bool [n].
    """

    message: str
    names: Sequence[str]
    holds: tf.Tensor


def require_in_order(requirements: Sequence[Requirement]) -> list[tf.Operation]:
    """Fails with the message of the first that does not hold, and the names of the inputs that it does not hold for.

    In order, since a later one may suppose what an earlier one requires: side by side, chance would choose the message.
    """
    made: list[tf.Operation] = []
    for required in requirements:
        wrong = tf.gather(tf.constant(list(required.names)), tf.where(tf.logical_not(required.holds))[:, 0])
        holds = tf.reduce_all(required.holds)
        with tf.control_dependencies(made[-1:]):
            made.append(tf.debugging.Assert(holds, [required.message, wrong], summarize=len(required.names)))
    return made


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
