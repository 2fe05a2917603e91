"""Synchronous training over machines: the gradients of all workers are added up before the chief applies them.

A step of a worker pushes its gradients into accumulators beside the variables, and ends when the chief has let it go
on. A step of the chief pushes its own, takes the sums of all, and applies their means. It lets the others go on when
its own next step begins: until then nothing moves, so that a checkpoint in between is that of a whole step.

TensorFlow's SyncReplicasOptimizer takes the sums in a thread that waits for ever at the end of the data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

v1 = tf.compat.v1

# Collections of the chief's graph: the op that lets the others go on, and the one that tells them that it is over.
GO_ON = "sync/go_on"
NO_MORE = "sync/no_more"
_FIRST_SERVER = "/job:ps/task:0"
# No gradient is ever too old: nobody is a step ahead.
_ANY_STEP = 1 << 62

Pairs = list[tuple[Any, tf.Variable]]


@dataclasses.dataclass(frozen=True)
class Exchange:
    """How the gradients of a step come together.

    Attributes:
        workers: processes that train, the chief among them.
        index: of this process; 0 is the chief.
    """

    workers: int
    index: int

    def push(self, pairs: Pairs) -> list[tf.Operation]:
        """Ops that add this process's gradients to those of the others."""
        return [_push(gradient, variable) for gradient, variable in pairs]

    def wait(self) -> tf.Operation:
        """Op that ends when a worker may go on; it fails as at the end of data where there is no more."""
        with tf.device(_FIRST_SERVER):
            return _tokens(self.index).dequeue().op

    def take(self, pairs: Pairs) -> Pairs:
        """The chief's: the means over all processes, once each has pushed; pushes come before."""
        # These run between steps: they are no part of the one at hand.
        with tf.control_dependencies(None), tf.device(_FIRST_SERVER):
            queues = [_tokens(index) for index in range(1, self.workers)]
            v1.add_to_collection(GO_ON, tf.group(*(queue.enqueue(0) for queue in queues)))
            v1.add_to_collection(NO_MORE, tf.group(*(queue.close() for queue in queues)))
        return [(_mean(gradient, variable, self.workers), variable) for gradient, variable in pairs]


def _tokens(index: int) -> tf.queue.FIFOQueue:
    return tf.queue.FIFOQueue(2, [tf.int32], [[]], shared_name=f"sync_go_on_{index}")


def _push(gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> tf.Operation:
    # Beside the variable, with the ops that use it: a resource cannot be reached from elsewhere.
    with tf.device(variable.device):
        if isinstance(gradient, tf.IndexedSlices):
            return _accumulator(v1.SparseConditionalAccumulator, variable).apply_indexed_slices_grad(
                gradient, _ANY_STEP
            )
        return _accumulator(v1.ConditionalAccumulator, variable).apply_grad(gradient, _ANY_STEP)


def _mean(gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable, count: int) -> tf.Tensor | tf.IndexedSlices:
    """Mean of the gradients of so many processes, of the kind of this one's; each row is a sum over all of them."""
    share = 1.0 / count
    with tf.device(variable.device):
        if isinstance(gradient, tf.IndexedSlices):
            found = _accumulator(v1.SparseConditionalAccumulator, variable).take_indexed_slices_grad(count)
            # The accumulator merges as if rows came in ascending order: one that does not comes out several times.
            rows, places = tf.unique(found.indices)
            total = tf.math.unsorted_segment_sum(found.values, places, tf.size(rows))
            return tf.IndexedSlices(total * share, rows, found.dense_shape)
        return _accumulator(v1.ConditionalAccumulator, variable).take_grad(count) * share


def _accumulator(kind: type, variable: tf.Variable) -> Any:
    """The accumulator of a variable, one for all processes."""
    return kind(variable.dtype.base_dtype, variable.shape, f"{variable.op.name}/sync", reduction_type="SUM")


def present(pairs: Sequence[tuple[Any, tf.Variable]]) -> Pairs:
    """Pairs whose loss depends on the variable."""
    return [(gradient, variable) for gradient, variable in pairs if gradient is not None]
