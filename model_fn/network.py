"""From features to logits: embedding, backbone, towers. The same for training, evaluation and the served model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from features import names
from features.schema import Schema
from model_fn import backbones, embedding, towers
from model_fn.calibration import Calibration, Curve
from model_fn.hyperparameters import Hyperparameters
from model_fn.layers import Layers
from model_fn.losses import Logits, log_sigmoid
from model_fn.models import COUNTERFACTUAL, CTR, CVR, IMPUTATION, MODELS, TEACHER
from model_fn.representation import Features, Requests


@dataclasses.dataclass(frozen=True)
class Network:
    """A batch's way through the model, and what the training step needs beside the logits.

    Attributes:
        logits: of the towers.
        requests: which request an impression belongs to.
        looked_up: float32 [n, embedding_size], rows of the table that the batch uses.
        kernels: the weight matrices.
        updates: ops that a training step must run.
    """

    logits: Logits
    requests: Requests
    looked_up: tf.Tensor
    kernels: list[tf.Variable]
    updates: list[tf.Operation]


def logits(
    features: Features, schema: Schema, vocabulary_size: int, hyperparameters: Hyperparameters, training: bool
) -> Logits:
    """Logits of a batch; makes the model's variables, or uses those of the variable scope again.

    Args:
        features: as `features.parse_spec.record_spec` parses them (with or without sample_id).
        schema: what the fields are.
        vocabulary_size: rows of the embedding table.
        hyperparameters: of the model.
        training: whether dropout and batch norm act as in training.
    """
    return build(features, schema, vocabulary_size, hyperparameters, training).logits


def scores(
    found: Logits, negative_sampling_rate: float = 1.0, calibration: Calibration | None = None
) -> dict[str, tf.Tensor]:
    """pCTR, pCVR and pCTCVR = pCTR * pCVR of logits: float32 [impressions] each.

    Where the log kept a share w of the impressions without click, its odds of a click are 1/w times the true ones:
    p = q / (q + (1 - q) / w) of the log's q (He et al. 2014, section 6.3), which moves the logit by log w. Calibration
    comes behind that.
    """
    ctr = found.ctr if negative_sampling_rate == 1.0 else found.ctr + math.log(negative_sampling_rate)
    cvr = found.cvr
    if calibration is not None:
        ctr, cvr = mapped(ctr, calibration.ctr), mapped(cvr, calibration.cvr)
    return {
        names.PCTR: tf.sigmoid(ctr),
        names.PCVR: tf.sigmoid(cvr),
        names.PCTCVR: tf.exp(log_sigmoid(ctr) + log_sigmoid(cvr)),
    }


def mapped(logits: tf.Tensor, curve: Curve) -> tf.Tensor:
    """A curve's map of logits: float32 [n]. Rounding turns no order around: each piece ends at the knots beside it."""
    x, y = (np.array(values, np.float32) for values in (curve.logits, curve.calibrated))
    slopes = [curve.below, *(np.diff(curve.calibrated) / np.diff(curve.logits)), curve.above]
    piece = tf.searchsorted(x, logits, side="right")
    start, begin, slope, low, high = (
        tf.gather(np.array(values, np.float32), piece)
        for values in ([x[0], *x], [y[0], *y], slopes, [-np.inf, *y], [*y, np.inf])
    )
    return tf.clip_by_value(begin + (logits - start) * slope, low, high)


def start_logits(impressions: int, clicks: int, conversions: int) -> dict[str, float]:
    """What the bias of each tower's logit begins with: the rate in the log of what the tower predicts.

    From 0, which is a rate of a half, the first hundreds of steps would only bring every logit down to it.
    """
    conversion = math.log((conversions + 0.5) / (clicks - conversions + 0.5))
    return {
        CTR: math.log((clicks + 0.5) / (impressions - clicks + 0.5)),
        **dict.fromkeys((CVR, IMPUTATION, TEACHER), conversion),
        COUNTERFACTUAL: -conversion,
    }


def build(
    features: Features,
    schema: Schema,
    vocabulary_size: int,
    settings: Hyperparameters,
    training: bool,
    starts: Mapping[str, float] | None = None,
    partitions: int = 1,
) -> Network:
    """As `logits`, with what training needs.

    Args:
        features: see `logits`, as for the next four.
        schema: see there.
        vocabulary_size: see there.
        settings: of the model.
        training: see there.
        starts: what the logits' biases begin with, by tower; 0 unless given.
        partitions: parts of the embedding table.
    """
    tasks = MODELS[settings.model].towers
    with tf.compat.v1.variable_scope("model", reuse=tf.compat.v1.AUTO_REUSE):
        embedded = embedding.embed(features, schema, vocabulary_size, settings, training, partitions)
        layers = Layers(settings, training)
        inputs = backbones.tower_inputs(embedded, schema, settings, layers, tasks)
        made = towers.logits(inputs, layers, tasks, starts or {}, settings)
    return Network(made, embedded.requests, embedded.looked_up, layers.kernels, layers.updates)
