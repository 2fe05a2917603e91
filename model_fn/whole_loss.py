"""The loss of an evaluation: that of all its impressions, however they come in batches.

The mean of the batches' losses is another number: the last batch is shorter, a mean over clicks has as many as there
are, and a squared mean is no mean of squares. So the sums that a loss is made of run on over the batches, and the
loss is made of them.
"""

from __future__ import annotations

import tensorflow as tf

v1 = tf.compat.v1


class WholeSet:
    """Means over all batches of an evaluation, for `terms.Scored.over`.

    Attributes:
        updates: ops that add the batch at hand.
    """

    def __init__(self) -> None:
        self.updates: list[tf.Operation] = []

    def over(self, total: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """The mean, float32 scalar, of all batches that were added, given a batch's sum and what it is divided by."""
        return tf.cast(tf.math.divide_no_nan(self._sum(total), self._sum(count)), tf.float32)

    def _sum(self, value: tf.Tensor) -> tf.Tensor:
        collections = [v1.GraphKeys.LOCAL_VARIABLES, v1.GraphKeys.METRIC_VARIABLES]
        start = tf.constant(0.0, tf.float64)
        made = v1.Variable(start, trainable=False, use_resource=True, collections=collections, name="whole_set")
        self.updates.append(made.assign_add(tf.cast(value, tf.float64), read_value=False))
        return made.read_value()
