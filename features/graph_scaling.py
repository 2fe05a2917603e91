"""`features.scaling`, computed by TensorFlow ops: what the served model does with raw numbers."""

from __future__ import annotations

import tensorflow as tf

from features.scaling import LARGEST_DEVIATIONS, Moments
from features.schema import LOG1P, STANDARD, Field


def scaled(field: Field, values: tf.Tensor, moments: Moments | None) -> tf.Tensor:
    """Values as the model gets them: float32 [n] -> float32 [n]; NaN stays NaN."""
    exact = tf.cast(values, tf.float64)
    if field.scale == LOG1P:
        exact = tf.sign(exact) * tf.math.log1p(tf.abs(exact))
    elif field.scale == STANDARD:
        assert moments is not None
        exact = (exact - moments.mean) / moments.deviation
        # Not clip_by_value: what that makes of NaN is not said.
        exact = tf.where(tf.abs(exact) > LARGEST_DEVIATIONS, tf.sign(exact) * LARGEST_DEVIATIONS, exact)
    return tf.cast(exact, tf.float32)
