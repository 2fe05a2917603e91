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
        return [_accumulator(gradient, variable).apply(gradient) for gradient, variable in pairs]

    def wait(self) -> tf.Operation:
        """Op that ends when a worker may go on; it fails as at the end of data where there is no more."""
        return _tokens(self.index).dequeue().op

    def take(self, pairs: Pairs) -> Pairs:
        """The chief's: the means over all processes, once each has pushed; pushes come before."""
        # These run between steps: they are no part of the one at hand.
        with tf.control_dependencies(None):
            queues = [_tokens(index) for index in range(1, self.workers)]
            v1.add_to_collection(GO_ON, tf.group(*(queue.enqueue(0) for queue in queues)))
            v1.add_to_collection(NO_MORE, tf.group(*(queue.close() for queue in queues)))
        return [
            (_accumulator(gradient, variable).mean(gradient, self.workers), variable) for gradient, variable in pairs
        ]


def _tokens(index: int) -> tf.queue.FIFOQueue:
    with tf.device("/job:ps/task:0"):
        return tf.queue.FIFOQueue(2, [tf.int32], [[]], shared_name=f"sync_go_on_{index}")


class _Dense:
    """Sum of the dense gradients of a variable."""

    def __init__(self, variable: tf.Variable) -> None:
        with tf.device(variable.device):
            self._sum = v1.ConditionalAccumulator(
                variable.dtype.base_dtype, variable.shape, f"{variable.op.name}/sync", reduction_type="SUM"
            )

    def apply(self, gradient: tf.Tensor) -> tf.Operation:
        return self._sum.apply_grad(gradient, _ANY_STEP)

    def mean(self, gradient: tf.Tensor, count: int) -> tf.Tensor:
        return self._sum.take_grad(count) / tf.cast(count, gradient.dtype)


class _Sparse:
    """Sum of gradients that hold some rows of a variable."""

    def __init__(self, variable: tf.Variable) -> None:
        with tf.device(variable.device):
            self._sum = v1.SparseConditionalAccumulator(
                variable.dtype.base_dtype, variable.shape, f"{variable.op.name}/sync", reduction_type="SUM"
            )

    def apply(self, gradient: tf.IndexedSlices) -> tf.Operation:
        return self._sum.apply_indexed_slices_grad(gradient, _ANY_STEP)

    def mean(self, gradient: tf.IndexedSlices, count: int) -> tf.IndexedSlices:
        found = self._sum.take_indexed_slices_grad(count)
        return tf.IndexedSlices(found.values / tf.cast(count, found.values.dtype), found.indices, found.dense_shape)


def _accumulator(gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> _Dense | _Sparse:
    return _Sparse(variable) if isinstance(gradient, tf.IndexedSlices) else _Dense(variable)


def present(pairs: Sequence[tuple[Any, tf.Variable]]) -> Pairs:
    """Pairs whose loss depends on the variable."""
    return [(gradient, variable) for gradient, variable in pairs if gradient is not None]
