"""The model_fn that Estimator gets: the model's own, with what resuming, progress and diagnosis need beside it.

The input of training carries columns that are no features: the file of each request, and how far the data were read.
They are taken out here, before the model. How far the data were read is kept in variables of the checkpoint
(`trainer.input_state`), so that a resumed run goes on there instead of training the start of the epoch twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from features import names
from input_fn import dataset
from model_fn import embedding, estimator_model
from model_fn import estimator as tf_estimator
from trainer import input_state, run_config, warm_start
from trainer.input_state import Phase
from trainer.pretrained import Rows

v1 = tf.compat.v1

# Collections of the training graph; one entry for each replica.
LOSS = "trainer/loss"
IMPRESSIONS = "trainer/impressions"
FILE_INDEX = "trainer/file_index"
SAMPLE_IDS = "trainer/sample_ids"
POSITION = "trainer/position"
# In lock step with other processes: whether the batch is the last one of this process's data, and how many of the
# others have had theirs.
LAST = "trainer/last"
READ_BY = "trainer/read_by"
# Ops that note where a run begins to read, and that all passes are over.
BEGIN = "trainer/begin"
COMPLETE = "trainer/complete"


# Columns of an input that predictions carry along: int64 [impressions].
KEPT = "kept/"


class Params(estimator_model.Params, total=False):
    """The model's parameters, and what a training run adds.

    Attributes:
        phase: that the run is in.
        positions: of all workers when the run begins.
        epochs: passes that the phase ends with.
        warm_start: checkpoint of another model to take weights from; empty: none.
        pretrained: rows of the table that do not begin at random; None: all do.
    """

    phase: Phase
    positions: tuple[tuple[int, int], ...]
    epochs: int
    warm_start: str
    pretrained: Rows | None


def model_fn(
    features: dict[str, Any],
    labels: dict[str, Any] | None,
    mode: str,
    params: Params,
    config: tf_estimator.RunConfig,
) -> tf_estimator.EstimatorSpec:
    """`estimator_model.model_fn` on what is left of the features."""
    features = dict(features)
    file_index, position, repeated, last = (features.pop(name, None) for name in dataset.TRACE)
    kept = {key: features.pop(key) for key in list(features) if key.startswith(KEPT)}
    # In lock step with others a batch is noted before its gradients leave, so that a checkpoint knows of whole steps.
    in_lock_step = mode == tf_estimator.ModeKeys.TRAIN and params.get("exchange") is not None
    noted = _lock_step_ops(position, repeated, last, params, config) if in_lock_step else []
    with tf.control_dependencies(noted):
        spec = estimator_model.model_fn(features, labels, mode, params, config)
    if mode == tf_estimator.ModeKeys.PREDICT:
        return spec._replace(predictions={**spec.predictions, **kept})
    if mode != tf_estimator.ModeKeys.TRAIN or labels is None or position is None:
        return spec
    if params["warm_start"]:
        warm_start.take(params["warm_start"], shown=_is_first_replica())
    if (rows := params.get("pretrained")) is not None:
        v1.add_to_collection(BEGIN, _write_rows(rows))
    v1.add_to_collection(LOSS, spec.loss)
    count = tf.size(labels[names.CLICK].values)
    v1.add_to_collection(IMPRESSIONS, tf.where(repeated, 0, count))
    v1.add_to_collection(FILE_INDEX, file_index)
    v1.add_to_collection(SAMPLE_IDS, features[names.SAMPLE_ID].values)
    v1.add_to_collection(POSITION, position)
    if in_lock_step:
        return spec
    return spec._replace(train_op=tf.group(spec.train_op, *_progress_ops(position, params, config)))


def _write_rows(rows: Rows) -> tf.Operation:
    """Op that writes rows into the table of a model that has not been trained yet."""
    (table,) = (one for one in v1.global_variables() if one.op.name.endswith(f"/{embedding.TABLE}"))
    # By a call, as they may be larger than a graph may hold.
    ids, vectors = (tf.numpy_function(lambda values=values: values, [], values.dtype) for values in rows)
    update = tf.IndexedSlices(tf.ensure_shape(vectors, [None, table.shape[1]]), tf.ensure_shape(ids, [None]))
    is_new = tf.equal(v1.train.get_or_create_global_step(), 0)
    return tf.cond(is_new, lambda: tf.group(table.scatter_update(update)), tf.no_op)


def _lock_step_ops(
    position: tf.Tensor, repeated: tf.Tensor, last: tf.Tensor, params: Params, config: tf_estimator.RunConfig
) -> list[tf.Operation]:
    """Ops that note how far this worker has read, and the last batch of its own."""
    once = tf.cast(last & ~repeated & (run_config.worker_index(config) > 0), tf.int32)
    with tf.device("/job:ps/task:0"):
        read = tf.queue.FIFOQueue(params["phase"].workers, [tf.int32], [[]], shared_name="trainer_read")
        note_last = read.enqueue_many(tf.zeros([once], tf.int32))
        v1.add_to_collection(READ_BY, read.size())
    v1.add_to_collection(LAST, last)
    # Behind the last batch there is nothing to go on with, and a worker that has nothing cannot take part.
    return [note_last, *_progress_ops(lambda before: tf.where(last, before, position), params, config)]


def _is_first_replica() -> bool:
    context = tf.distribute.get_replica_context()
    return context is None or int(tf.get_static_value(context.replica_id_in_sync_group) or 0) == 0


def _progress_ops(
    position: tf.Tensor | Callable[[tf.Variable], tf.Tensor], params: Params, config: tf_estimator.RunConfig
) -> list[tf.Operation]:
    """Ops that note how far this worker has read, by what it noted before where that is to be looked at.

    Every worker's graph has the variables of all.
    """
    phase = params["phase"]
    positions = [
        _variable(input_state.position_name(worker), input_state.NOTHING_READ) for worker in range(phase.workers)
    ]
    state = _variable(input_state.STATE, phase.to_array())
    nothing = _constant(input_state.NOTHING_READ)
    begin = [one.assign(_constant(place)) for one, place in zip(positions, params["positions"], strict=True)]
    begin.append(state.assign(_constant(phase.to_array())))
    complete = [one.assign(nothing) for one in positions]
    complete.append(state.assign(_constant(phase.complete(params["epochs"]).to_array())))
    if _is_first_replica():
        for name, ops in ((BEGIN, begin), (COMPLETE, complete)):
            for op in ops:
                v1.add_to_collection(name, op)
    own = positions[run_config.worker_index(config)]
    reached = position(own) if callable(position) else position
    return [_assign_last(own, reached), state.assign(_constant(phase.to_array()))]


def _assign_last(variable: tf.Variable, value: tf.Tensor) -> tf.Operation:
    """Assigns the value of the last replica, whose batch comes behind those of the others."""
    context = tf.distribute.get_replica_context()
    if context is None or not tf.distribute.has_strategy():
        return variable.assign(value)

    def assign(strategy: tf.distribute.Strategy, values: Any) -> tf.Operation:
        last = strategy.experimental_local_results(values)[-1]
        return strategy.extended.update(variable, lambda one, new: one.assign(new), args=(last,))

    return context.merge_call(assign, args=(value,))


def _constant(value: Any) -> tf.Tensor:
    """As a tensor: between replicas a strategy hands no other on."""
    return tf.constant(np.array(value, np.int64))


def _variable(name: str, value: Any) -> tf.Variable:
    start = np.array(value, np.int64)
    return v1.get_variable(
        name,
        start.shape,
        tf.int64,
        tf.constant_initializer(start),
        trainable=False,
        use_resource=True,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
