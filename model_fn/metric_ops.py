"""`model_fn.evaluation` as the `eval_metric_ops` of an EstimatorSpec."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from model_fn.evaluation import Evaluation
from model_fn.losses import Labels, Logits

MetricOps = dict[str, tuple[tf.Tensor, tf.Operation]]


def calibration_table_name(task: str) -> str:
    """Name of the metric that holds a task's calibration table: float64 [10, 3]."""
    return f"{task}_calibration_table"


def metric_ops(logits: Logits, labels: Labels, floor: tf.Tensor, users: tf.Tensor | None) -> MetricOps:
    """Every metric and calibration table: (value, update), the update the same for all.

    What has been collected lives in Python and belongs to the graph. It is thrown away where a session initializes
    its tables, so that an evaluation which starts anew counts nothing twice.
    """
    state = _HostState(with_users=users is not None, with_weights=labels.weight is not None)
    tf.compat.v1.add_to_collection(tf.compat.v1.GraphKeys.TABLE_INITIALIZERS, state.reset_op())
    update = state.update_op(logits, labels, floor, users)
    empty = state.empty()
    found = {name: (value, update) for name, value in _unpacked(state.metrics_op(), list(empty.metrics()))}
    tables = _unpacked(state.tables_op(), [calibration_table_name(task) for task in empty.calibration_tables()])
    return found | {name: (value, update) for name, value in tables}


def _unpacked(values: tf.Tensor, names: list[str]) -> list[tuple[str, tf.Tensor]]:
    return list(zip(names, tf.unstack(values, num=len(names)), strict=True))


class _HostState:
    """An `Evaluation` that graph ops fill and read."""

    def __init__(self, with_users: bool, with_weights: bool) -> None:
        self._with_users = with_users
        self._with_weights = with_weights
        self._evaluation = self.empty()

    def empty(self) -> Evaluation:
        """One that has seen nothing."""
        return Evaluation(self._with_users, self._with_weights)

    def reset_op(self) -> tf.Operation:
        return tf.numpy_function(self._reset, [], tf.bool).op

    def update_op(self, logits: Logits, labels: Labels, floor: tf.Tensor, users: tf.Tensor | None) -> tf.Operation:
        columns = [logits.ctr, logits.cvr, labels.click, labels.conversion, floor]
        more = [column for column in (users, labels.weight) if column is not None]
        return tf.numpy_function(self._update, columns + more, tf.bool).op

    def metrics_op(self) -> tf.Tensor:
        return tf.numpy_function(
            lambda: np.array(list(self._evaluation.metrics().values()), np.float32), [], tf.float32
        )

    def tables_op(self) -> tf.Tensor:
        return tf.numpy_function(lambda: np.stack(list(self._evaluation.calibration_tables().values())), [], tf.float64)

    def _reset(self) -> np.bool_:
        self._evaluation = self.empty()
        return np.True_

    def _update(
        self,
        ctr: np.ndarray,
        cvr: np.ndarray,
        click: np.ndarray,
        conversion: np.ndarray,
        floor: np.ndarray,
        *more: np.ndarray,
    ) -> np.bool_:
        users = more[0] if self._with_users else None
        weights = more[-1] if self._with_weights else None
        self._evaluation.update(ctr, cvr, click, conversion, float(floor), users, weights)
        return np.True_
