"""The Estimator's model_fn: wires network, losses, metrics and optimizers together."""

from __future__ import annotations

from typing import TypedDict

import tensorflow as tf

from features import names
from features.schema import Schema
from model_fn import estimator as tf_estimator
from model_fn import losses, metric_ops, network, optimizers, propensity, terms
from model_fn.calibration import Calibration
from model_fn.hyperparameters import Hyperparameters
from model_fn.network import Network
from model_fn.representation import Features
from model_fn.sync_gradients import Exchange
from model_fn.whole_loss import WholeSet

ModeKeys = tf_estimator.ModeKeys

# Begins the names of a loss's terms in TensorBoard.
LOSS_SCOPE = "loss/"


class _Needed(TypedDict):
    schema: Schema
    vocabulary_size: int
    hyperparameters: Hyperparameters


class Params(_Needed, total=False):
    """What `model_fn` needs to know: the log's schema, rows of the embedding table, and the settings.

    Attributes:
        first_step: training: global step at which the schedule of learning rates begins.
        start_logits: training: what the biases of the towers' logits begin with, by tower.
        partitions: training: parts of the embedding table, one for each parameter server.
        exchange: training: how the gradients of several processes come together before they are applied.
        calibration: prediction: of the towers' logits.
        slice_by: evaluation: fields of kind one by whose values the metrics are given as well.
    """

    first_step: int
    start_logits: dict[str, float]
    partitions: int
    exchange: Exchange | None
    calibration: Calibration | None
    slice_by: tuple[str, ...]


def model_fn(
    features: Features,
    labels: dict[str, tf.RaggedTensor] | None,
    mode: str,
    params: Params,
    config: tf_estimator.RunConfig | None = None,
) -> tf_estimator.EstimatorSpec:
    """EstimatorSpec of a batch of requests.

    Args:
        features: model inputs, as `features.parse_spec.record_spec` parses them, and sample_id.
        labels: click and conversion, int64 ragged [requests, (impressions)]; None in PREDICT.
        mode: TRAIN, EVAL or PREDICT.
        params: see Params.
        config: of the run; unused, but Estimator passes it.
    """
    settings = params["hyperparameters"]
    training = mode == ModeKeys.TRAIN
    starts, partitions = params.get("start_logits"), params.get("partitions", 1)
    net = network.build(features, params["schema"], params["vocabulary_size"], settings, training, starts, partitions)
    if mode == ModeKeys.PREDICT:
        return tf_estimator.EstimatorSpec(mode, predictions=_predictions(features, net, params))
    known_labels = _labels(labels or {})
    truth = known_labels._replace(conversion=known_labels.click * known_labels.conversion)
    if training:
        truth = truth.expected(net.logits.cvr)
    floor = propensity.floor(truth.click, settings, training)
    known = propensity.known(features, settings) if training else None
    scored = terms.Scored(truth, net.logits, floor.value, settings, net.requests, known)
    parts = terms.task_losses(scored)
    loss = terms.total_loss(parts, settings)
    if training:
        loss += losses.l2_penalty(net.looked_up, net.kernels, settings)
        _summarize(parts, propensity.diagnostics(scored), network.scores(net.logits))
        return tf_estimator.EstimatorSpec(
            mode,
            loss=loss,
            train_op=optimizers.train_op(
                loss, settings, net.updates + floor.updates, params.get("first_step", 0), params.get("exchange")
            ),
        )
    users = features[names.SAMPLE_USER].values if names.SAMPLE_USER in features else None
    sliced = {name: _ids(features[name], net) for name in params.get("slice_by", ())}
    found = metric_ops.metric_ops(net.logits, known_labels, floor.value, users, sliced)
    found[tf_estimator.WHOLE_LOSS] = _whole_loss(scored, settings)
    return tf_estimator.EstimatorSpec(mode, loss=loss, eval_metric_ops=found)


def _whole_loss(scored: terms.Scored, settings: Hyperparameters) -> tuple[tf.Tensor, tf.Operation]:
    """The loss of all batches together, and the op that adds one."""
    whole = WholeSet()
    value = terms.total_loss(terms.task_losses(scored._replace(over=whole.over)), settings)
    return value, tf.group(whole.updates)


def _ids(column: tf.Tensor | tf.RaggedTensor, net: Network) -> tf.Tensor:
    """The id of each impression in a field of kind one: int64 [impressions]."""
    values = column.values if isinstance(column, tf.RaggedTensor) else net.requests.to_impressions(column)
    return tf.reshape(values, [-1])


def _predictions(features: Features, net: Network, params: Params) -> dict[str, tf.Tensor]:
    rate = params["hyperparameters"].negative_sampling_rate
    found = network.scores(net.logits, rate, params.get("calibration"))
    if names.SAMPLE_ID in features:
        found[names.SAMPLE_ID] = features[names.SAMPLE_ID].values
    return found


def _labels(labels: dict[str, tf.RaggedTensor]) -> losses.Labels:
    """The labels, and what the log has beside them. A conversion may be known without a click."""
    keys = {names.SAMPLE_WEIGHT: "weight"}
    found = {keys.get(name, name): tf.cast(labels[name].values, tf.float32) for name in names.LABELS if name in labels}
    return losses.Labels(**found)


def _summarize(parts: dict[str, tf.Tensor], diagnostics: dict[str, tf.Tensor], scores: dict[str, tf.Tensor]) -> None:
    for name, value in parts.items():
        tf.compat.v1.summary.scalar(LOSS_SCOPE + name, value)
    for name, value in diagnostics.items():
        tf.compat.v1.summary.scalar(f"propensity/{name}", value)
    for name, value in scores.items():
        # A histogram refuses NaN in TensorFlow's words, before whoever watches the loss can say what it is.
        tf.compat.v1.summary.histogram(f"scores/{name}", tf.boolean_mask(value, tf.math.is_finite(value)))
