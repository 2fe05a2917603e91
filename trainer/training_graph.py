"""The model_fn that Estimator gets: the model's own, with what resuming, progress and diagnosis need beside it.

The input of training carries two columns that are no features: the file of each request, and how far the data were
read. They are taken out here, before the model. How far the data were read is kept in variables of the checkpoint,
with a fingerprint of the files, so that a resumed run goes on there instead of training the start of the epoch twice.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from features import names
from input_fn import dataset
from model_fn import estimator as tf_estimator
from model_fn import estimator_model
from trainer import run_config

v1 = tf.compat.v1

# Collections of the training graph; one entry for each replica.
LOSS = "trainer/loss"
IMPRESSIONS = "trainer/impressions"
FILE_INDEX = "trainer/file_index"
SAMPLE_IDS = "trainer/sample_ids"
POSITION = "trainer/position"

FINGERPRINT_VARIABLE = "input/fingerprint"
_NO_FINGERPRINT = -1


class Params(estimator_model.Params):
    """The model's parameters, and the fingerprint of the record files."""

    fingerprint: int


def position_variable(worker: int) -> str:
    """Name of the variable that says how many records a worker has read."""
    return f"input/position_{worker}"


def model_fn(
    features: dict[str, Any],
    labels: dict[str, Any] | None,
    mode: str,
    params: Params,
    config: tf_estimator.RunConfig,
) -> tf_estimator.EstimatorSpec:
    """`estimator_model.model_fn` on what is left of the features."""
    features = dict(features)
    file_index, position = features.pop(dataset.FILE_INDEX, None), features.pop(dataset.POSITION, None)
    spec = estimator_model.model_fn(features, labels, mode, params, config)
    if mode != tf_estimator.ModeKeys.TRAIN or labels is None or position is None:
        return spec
    v1.add_to_collection(LOSS, spec.loss)
    v1.add_to_collection(IMPRESSIONS, tf.size(labels[names.CLICK].values))
    v1.add_to_collection(FILE_INDEX, file_index)
    v1.add_to_collection(SAMPLE_IDS, features[names.SAMPLE_ID].values)
    v1.add_to_collection(POSITION, position)
    return spec._replace(train_op=tf.group(spec.train_op, *_progress_ops(position, params["fingerprint"], config)))


def _progress_ops(position: tf.Tensor, fingerprint: int, config: tf_estimator.RunConfig) -> list[tf.Operation]:
    """Ops that note how far this worker has read; every worker's graph has the variables of all."""
    variables = [_variable(position_variable(worker), 0) for worker in range(run_config.worker_count(config))]
    known = _variable(FINGERPRINT_VARIABLE, _NO_FINGERPRINT)
    return [
        v1.assign(variables[run_config.worker_index(config)], position),
        v1.assign(known, tf.constant(fingerprint, tf.int64)),
    ]


def _variable(name: str, value: int) -> tf.Variable:
    return v1.get_variable(
        name,
        [],
        tf.int64,
        tf.constant_initializer(value),
        trainable=False,
        use_resource=True,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


def records_read(checkpoint: str | None, worker: int, fingerprint: int) -> int:
    """Records of these files that a checkpoint's training has read already; 0 where it was trained on others."""
    if checkpoint is None:
        return 0
    reader = tf.train.load_checkpoint(checkpoint)
    name = position_variable(worker)
    if not reader.has_tensor(name) or int(reader.get_tensor(FINGERPRINT_VARIABLE)) != fingerprint:
        return 0
    return int(reader.get_tensor(name))
