"""One embedding table: each distinct id of a batch is gathered once, and all fields are pooled by one sparse product.

Every field of a request or impression is a *bag* of ids with weights, pooled into one vector. Bags are numbered so that
the pooled vectors, reshaped, are the network's input:

    request * context_fields + i              context field i of a request
    impression * impression_fields + j        field j of an impression, behind all bags of the contexts

Pooling is the product of a sparse [bags, distinct ids] matrix of weights with the dense [distinct ids, size]
matrix of gathered rows. Its gradient to the rows is the transposed product: one gradient for each distinct row, which
is what the optimizer needs. Nothing in a step grows with the table.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from features.schema import Field, Schema
from model_fn.hyperparameters import MEAN, SQRTN, Hyperparameters
from model_fn.representation import Features, Representation, Requests, requests_of, rows_of_splits

TABLE = "embedding_table"


@dataclasses.dataclass(frozen=True)
class Embedded:
    """What the embedding gives to the network.

    Attributes:
        requests: which request an impression belongs to.
        fields: pooled vectors of each field: float32 [requests or impressions, embedding_size].
        everything: the same side by side.
        looked_up: float32 [n, embedding_size], the rows that the batch uses; in training each of them once.
    """

    requests: Requests
    fields: dict[str, tf.Tensor]
    everything: Representation
    looked_up: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Bags:
    """The ids of one field: int64 ids [n], float32 weights [n], int32 request or impression [n] of each."""

    ids: tf.Tensor
    weights: tf.Tensor
    rows: tf.Tensor


def embed(
    features: Features, schema: Schema, vocabulary_size: int, settings: Hyperparameters, training: bool
) -> Embedded:
    """Looks up and pools every field of a batch."""
    requests = requests_of(features, schema)
    context, impression = schema.context_fields, schema.impression_fields
    context_bags = requests.count * len(context)
    fields = [(field, requests.count, len(context), i, 0) for i, field in enumerate(context)]
    fields += [(field, requests.impressions, len(impression), i, context_bags) for i, field in enumerate(impression)]
    found = []
    places = []
    for field, count, stride, index, first in fields:
        bags = bags_of(features, field, count, settings.combiner)
        found.append(bags)
        places.append(bags.rows * stride + (first + index))
    ids = tf.concat([bags.ids for bags in found], 0)
    rows, columns = _gather(embedding_table(vocabulary_size, settings), ids, distinct=training)
    bag_count = context_bags + requests.impressions * len(impression)
    weights = tf.concat([bags.weights for bags in found], 0)
    pooled = _sparse_product(tf.concat(places, 0), columns, weights, rows, bag_count)
    return _embedded(requests, schema, pooled, context_bags, rows)


def _embedded(
    requests: Requests, schema: Schema, pooled: tf.Tensor, context_bags: tf.Tensor, looked_up: tf.Tensor
) -> Embedded:
    """Cuts the pooled vectors [bags, size] up, by ops whose gradients only copy; those of slices add as well."""
    size = int(looked_up.shape[1])
    fields: dict[str, tf.Tensor] = {}
    parts: list[tf.Tensor | None] = []
    sides = (schema.context_fields, schema.impression_fields)
    vectors = tf.split(pooled, [context_bags, tf.shape(pooled)[0] - context_bags])
    for side, rows in zip(sides, vectors, strict=True):
        parts.append(tf.reshape(rows, [-1, len(side) * size]) if side else None)
        if side:
            columns = tf.unstack(tf.reshape(rows, [-1, len(side), size]), axis=1)
            fields |= {field.name: column for field, column in zip(side, columns, strict=True)}
    return Embedded(requests, fields, Representation(requests, *parts), looked_up)


def bags_of(features: Features, field: Field, count: tf.Tensor, combiner: str) -> Bags:
    """The ids of a field, flat, with the weights that its combiner gives them.

    A field of kind one is its row times its weight, whatever the combiner. The mean of a field with many divides by
    the sum of weights, sqrtn by the root of the sum of their squares.
    """
    values = features[field.name]
    if not field.is_context:
        values = values.values
    ids, rows = (values.values, rows_of_splits(values.row_splits)) if field.is_many else (values, tf.range(count))
    if field.weighted:
        given = features[field.weight_key]
        weights = given.flat_values if isinstance(given, tf.RaggedTensor) else given
    else:
        weights = tf.ones_like(ids, tf.float32)
    return Bags(ids, _combined(weights, rows, count, combiner) if field.is_many else weights, rows)


def _combined(weights: tf.Tensor, rows: tf.Tensor, count: tf.Tensor, combiner: str) -> tf.Tensor:
    if combiner == MEAN:
        divisor = tf.math.unsorted_segment_sum(weights, rows, count)
    elif combiner == SQRTN:
        divisor = tf.sqrt(tf.math.unsorted_segment_sum(tf.square(weights), rows, count))
    else:
        return weights
    return tf.math.divide_no_nan(weights, tf.gather(divisor, rows))


def embedding_table(vocabulary_size: int, settings: Hyperparameters) -> tf.Variable:
    """The table: float32 [vocabulary_size, embedding_size], uniform around 0."""
    return tf.compat.v1.get_variable(
        TABLE,
        [vocabulary_size, settings.embedding_size],
        initializer=tf.compat.v1.random_uniform_initializer(-settings.embedding_range, settings.embedding_range),
        use_resource=True,
    )


def _gather(table: tf.Variable, ids: tf.Tensor, distinct: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """Rows of ids, and the row of each id. Distinct rows cost a hash of each id and save the optimizer doing it."""
    if not distinct:
        return tf.gather(table, ids), tf.range(tf.shape(ids)[0])
    found, columns = tf.unique(ids)
    return tf.gather(table, found), columns


def _sparse_product(
    places: tf.Tensor, columns: tf.Tensor, weights: tf.Tensor, rows: tf.Tensor, count: tf.Tensor
) -> tf.Tensor:
    """Sum of weights[i] * rows[columns[i]] into places[i]: float32 [count, embedding_size]."""
    return tf.raw_ops.SparseTensorDenseMatMul(
        a_indices=tf.stack([places, columns], 1),
        a_values=weights,
        a_shape=tf.cast(tf.stack([count, tf.shape(rows)[0]]), tf.int64),
        b=rows,
    )
