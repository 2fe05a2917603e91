"""Fields whose numbers go to the network as they are: no ids, no embedding."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from features import parse_spec
from features.schema import Field, Schema
from model_fn.representation import Features


def columns(features: Features, schema: Schema) -> dict[str, tf.Tensor]:
    """Input of each dense field: float32 [requests or impressions, numbers + 1].

    A missing number is 0, and the last column says by a 1 that it is missing: 0 may be a value.
    """
    return {field.name: _column(features[field.name], field) for field in schema.dense_fields}


def _column(values: tf.Tensor | tf.RaggedTensor, field: Field) -> tf.Tensor:
    rows = tf.reshape(parse_spec.flat(values), [-1, field.width])
    is_missing = tf.math.is_nan(rows)
    numbers = tf.where(is_missing, tf.zeros_like(rows), rows)
    return tf.concat([numbers, tf.cast(tf.reduce_any(is_missing, 1, keepdims=True), tf.float32)], 1)


def of_side(found: Mapping[str, tf.Tensor], schema: Schema, is_context: bool) -> list[tf.Tensor]:
    """The columns of the contexts, or of the impressions."""
    return [found[field.name] for field in schema.dense_fields if field.is_context == is_context]
