"""`model_fn.evaluation` as the `eval_metric_ops` of an EstimatorSpec."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from model_fn import slices
from model_fn.evaluation import Evaluation
from model_fn.losses import Labels, Logits
from model_fn.slices import Slices

MetricOps = dict[str, tuple[tf.Tensor, tf.Operation]]


def calibration_table_name(task: str) -> str:
    """Name of the metric that holds a task's calibration table: float64 [10, 3]."""
    return f"{task}_calibration_table"


def slice_table_name(field: str) -> str:
    """Name of the metric that holds the metrics by a field's values: float64 [slices, columns] (`slices.columns`)."""
    return f"slices_by_{field}"


def metric_ops(
    logits: Logits,
    labels: Labels,
    floor: tf.Tensor,
    users: tf.Tensor | None,
    sliced: Mapping[str, tf.Tensor] | None = None,
) -> MetricOps:
    """Every metric, calibration table and table of slices: (value, update), the update the same for all.

    What has been collected lives in Python and belongs to the graph. It is thrown away where a session initializes
    its tables, so that an evaluation which starts anew counts nothing twice.

    Args:
        logits: of the batch.
        labels: of the batch.
        floor: smallest propensity that a weight divides by.
        users: integer that names the user, [impressions]; None: not known.
        sliced: by field, its id in each impression, int64 [impressions].
    """
    sliced = sliced or {}
    state = _HostState(users is not None, labels.weight is not None, list(sliced))
    tf.compat.v1.add_to_collection(tf.compat.v1.GraphKeys.TABLE_INITIALIZERS, state.reset_op())
    update = state.update_op(logits, labels, floor, users, list(sliced.values()))
    empty = state.empty()
    found = {name: (value, update) for name, value in _unpacked(state.metrics_op(), list(empty.metrics()))}
    tables = _unpacked(state.tables_op(), [calibration_table_name(task) for task in empty.calibration_tables()])
    tables += [(slice_table_name(field), state.slices_op(field)) for field in sliced]
    return found | {name: (value, update) for name, value in tables}


def _unpacked(values: tf.Tensor, names: list[str]) -> list[tuple[str, tf.Tensor]]:
    return list(zip(names, tf.unstack(values, num=len(names)), strict=True))


class _HostState:
    """An `Evaluation`, and the `Slices` of some fields, that graph ops fill and read."""

    def __init__(self, with_users: bool, with_weights: bool, sliced: list[str]) -> None:
        self._with_users = with_users
        self._with_weights = with_weights
        self._sliced = sliced
        self._reset()

    def empty(self) -> Evaluation:
        """One that has seen nothing."""
        return Evaluation(self._with_users, self._with_weights)

    def reset_op(self) -> tf.Operation:
        return tf.numpy_function(self._reset, [], tf.bool).op

    def update_op(
        self, logits: Logits, labels: Labels, floor: tf.Tensor, users: tf.Tensor | None, sliced: list[tf.Tensor]
    ) -> tf.Operation:
        columns = [logits.ctr, logits.cvr, labels.click, labels.conversion, floor]
        known = [column for column in (users, labels.weight) if column is not None]
        return tf.numpy_function(self._update, [*columns, *known, *sliced], tf.bool).op

    def metrics_op(self) -> tf.Tensor:
        return tf.numpy_function(
            lambda: np.array(list(self._evaluation.metrics().values()), np.float32), [], tf.float32
        )

    def tables_op(self) -> tf.Tensor:
        return tf.numpy_function(lambda: np.stack(list(self._evaluation.calibration_tables().values())), [], tf.float64)

    def slices_op(self, field: str) -> tf.Tensor:
        table = tf.numpy_function(lambda: self._slices[field].table(), [], tf.float64)
        return tf.ensure_shape(table, [None, len(slices.columns(self._with_weights))])

    def _reset(self) -> np.bool_:
        self._evaluation = self.empty()
        self._slices = {field: Slices(self._with_weights) for field in self._sliced}
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
        rest = list(more)
        users = rest.pop(0) if self._with_users else None
        weights = rest.pop(0) if self._with_weights else None
        self._evaluation.update(ctr, cvr, click, conversion, float(floor), users, weights)
        for part, ids in zip(self._slices.values(), rest, strict=True):
            part.update(ids, ctr, cvr, click, conversion, float(floor), weights)
        return np.True_
