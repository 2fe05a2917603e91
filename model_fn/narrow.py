"""Fields of fewer numbers than the table is wide: `embedding_size` in the schema.

The table has one width. Of a narrow field the first numbers of a row count; a matrix that is learned, one for each
vocabulary, brings them to the common width before towers, crosses and attention see them. The other numbers have no
gradient and say nothing. So a field of few values, or of many rare ones, cannot say more than its size allows; memory
of the table is not saved.
"""

from __future__ import annotations

import math

import tensorflow as tf

from features.schema import Field
from model_fn import initial, scopes
from model_fn.hyperparameters import Hyperparameters

_KERNEL = "kernel"


def widened(vectors: tf.Tensor, field: Field, settings: Hyperparameters) -> tf.Tensor:
    """Rows or pooled vectors of a field as the network sees them: float32 [n, embedding_size] -> the same shape.

    Raises:
        ValueError: the schema gives the field more numbers than the table is wide.
    """
    size, width = field.embedding_size or settings.embedding_size, settings.embedding_size
    if size > width:
        raise ValueError(
            f"field {field.name}: embedding_size is {size} in the schema and --embedding_size, the width of the table, "
            f"{width}; give --embedding_size={size} or more"
        )
    if size == width:
        return vectors
    with tf.compat.v1.variable_scope(scopes.scope("widening", field.vocabulary), reuse=tf.compat.v1.AUTO_REUSE):
        kernel = tf.compat.v1.get_variable(
            _KERNEL,
            [size, width],
            initializer=initial.uniform(math.sqrt(6.0 / (size + width)), _KERNEL),
            use_resource=True,
        )
    return tf.matmul(vectors[:, :size], kernel)
