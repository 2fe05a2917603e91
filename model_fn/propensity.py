"""The smallest propensity that a weight divides by, and how hard it binds."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from features import names
from model_fn.hyperparameters import Hyperparameters
from model_fn.propensity_file import PropensityFile
from model_fn.representation import Features
from model_fn.terms import Scored

# A floor of CTR/4 to CTR/2 cuts the largest weights and leaves nearly all of the correction (docs/models.md).
FLOOR_PER_CLICK_RATE = 1.0 / 3.0

# Where propensity_power does the floor's work: what is below it is a tower gone wrong, not an impression.
LEAST_FLOOR = 1e-6


@dataclasses.dataclass(frozen=True)
class Floor:
    """The floor, a float32 scalar, and the ops that keep it up to date in training."""

    value: tf.Tensor
    updates: list[tf.Operation]


def floor(click: tf.Tensor, settings: Hyperparameters, training: bool) -> Floor:
    """The floor that the settings give; where it is 0, a third of the click rate of all training batches so far.

    The rate is (clicks + 1) / (impressions + 1), counted in two variables of the checkpoint: never 0, and after a
    resume as before it. In training the batch at hand counts already, so that the first step has a rate.

    Args:
        click: float32 [impressions].
        settings: propensity_floor.
        training: whether the batch is counted.
    """
    if settings.propensity_floor or settings.propensity_power:
        return Floor(tf.constant(settings.propensity_floor or LEAST_FLOOR, tf.float32), [])
    clicks, impressions = _counter("clicks"), _counter("impressions")
    seen_clicks, seen = tf.convert_to_tensor(clicks), tf.convert_to_tensor(impressions)
    updates = []
    if training:
        new_clicks, new = tf.cast(tf.reduce_sum(click), tf.float64), tf.cast(tf.size(click), tf.float64)
        updates = [clicks.assign_add(new_clicks), impressions.assign_add(new)]
        seen_clicks, seen = seen_clicks + new_clicks, seen + new
    rate = tf.cast((seen_clicks + 1.0) / (seen + 1.0), tf.float32)
    return Floor(rate * FLOOR_PER_CLICK_RATE, updates)


def known(features: Features, settings: Hyperparameters) -> tf.Tensor | None:
    """Chances of a click from `propensity_from`, for training: float32 [impressions]; None without such a file."""
    if not settings.propensity_from:
        return None
    return PropensityFile(settings.propensity_from).of(features[names.SAMPLE_ID].values)


def _counter(name: str) -> tf.Variable:
    """Exact up to 2^53. Not an integer: replicas share a restored sum, and halves of an odd one would be lost."""
    with tf.compat.v1.variable_scope("propensity", reuse=tf.compat.v1.AUTO_REUSE):
        return tf.compat.v1.get_variable(
            name,
            [],
            tf.float64,
            tf.zeros_initializer(),
            trainable=False,
            use_resource=True,
            aggregation=tf.VariableAggregation.SUM,
            synchronization=tf.VariableSynchronization.ON_READ,
        )


def diagnostics(scored: Scored) -> dict[str, tf.Tensor]:
    """Over the clicked impressions of a batch: share at the floor, largest weight, effective sample size: scalars.

    The effective sample size is (sum w)^2 / sum w^2 (Kish 1965): how many equally weighted clicks would tell as much.
    """
    weights, click = scored.clicked_weights, scored.labels.click
    clipped = click * tf.cast(scored.propensity < scored.floor, tf.float32)
    return {
        "clipped_share": tf.math.divide_no_nan(tf.reduce_sum(clipped), tf.reduce_sum(click)),
        "max_weight": tf.reduce_max(tf.concat([weights, [0.0]], 0)),
        "ess": tf.math.divide_no_nan(tf.square(tf.reduce_sum(weights)), tf.reduce_sum(tf.square(weights))),
        "floor": scored.floor,
    }
