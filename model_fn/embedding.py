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
class Side:
    """Fields of the contexts, or of the impressions, and their bags.

    Attributes:
        fields: of the side.
        rows: how many requests or impressions there are: int32 scalar.
        first: number of the first bag: int32 scalar.
    """

    fields: tuple[Field, ...]
    rows: tf.Tensor
    first: tf.Tensor

    @property
    def end(self) -> tf.Tensor:
        """One past the number of the last bag: int32 scalar."""
        return self.first + self.rows * len(self.fields)


@dataclasses.dataclass(frozen=True)
class Bags:
    """Ids and where they go: int64 ids [n], float32 weights [n], int32 number of each id's bag [n]."""

    ids: tf.Tensor
    weights: tf.Tensor
    numbers: tf.Tensor


def embed(
    features: Features, schema: Schema, vocabulary_size: int, settings: Hyperparameters, training: bool
) -> Embedded:
    """Looks up and pools every field of a batch."""
    requests = requests_of(features, schema)
    context = Side(schema.context_fields, requests.count, tf.constant(0))
    impression = Side(schema.impression_fields, requests.impressions, context.end)
    parts = [bags for side in (context, impression) for bags in bags_of_side(features, side, settings.combiner)]
    ids, weights, numbers = (tf.concat(columns, 0) for columns in zip(*map(_columns, parts), strict=True))
    rows, places = _gather(embedding_table(vocabulary_size, settings), ids, distinct=training)
    pooled = _sparse_product(numbers, places, weights, rows, impression.end)
    return _embedded(requests, schema, pooled, context.end, rows)


def _columns(bags: Bags) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    return bags.ids, bags.weights, bags.numbers


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


def bags_of_side(features: Features, side: Side, combiner: str) -> list[Bags]:
    """All ids of a side, flat: the fields of kind one together, each other one by itself."""
    ones = [(index, field) for index, field in enumerate(side.fields) if not field.is_many]
    many = [(index, field) for index, field in enumerate(side.fields) if field.is_many]
    found = [_bags_of_ones(features, side, ones)] if ones else []
    return found + [_bags_of_many(features, side, index, field, combiner) for index, field in many]


def _bags_of_ones(features: Features, side: Side, ones: list[tuple[int, Field]]) -> Bags:
    """A row times its weight, whatever the combiner: the mean of one row would lose the weight."""
    ids = tf.stack([_flat(features[field.name]) for _, field in ones], 1)
    unweighted = tf.ones([side.rows])
    columns = [_flat(features[field.weight_key]) if field.weighted else unweighted for _, field in ones]
    first_of_row = side.first + tf.range(side.rows) * len(side.fields)
    numbers = first_of_row[:, tf.newaxis] + tf.constant([index for index, _ in ones])
    return Bags(*(tf.reshape(values, [-1]) for values in (ids, tf.stack(columns, 1), numbers)))


def _bags_of_many(features: Features, side: Side, index: int, field: Field, combiner: str) -> Bags:
    """The mean divides by the sum of weights, sqrtn by the root of the sum of their squares."""
    values = features[field.name] if field.is_context else features[field.name].values
    rows = rows_of_splits(values.row_splits)
    weights = _flat(features[field.weight_key]) if field.weighted else tf.ones_like(values.values, tf.float32)
    numbers = side.first + index + rows * len(side.fields)
    return Bags(values.values, _combined(weights, rows, side.rows, combiner), numbers)


def _flat(values: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
    return values.flat_values if isinstance(values, tf.RaggedTensor) else values


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
    """Rows of ids, and the place of each id among them. Distinct rows cost a hash an id, and save the optimizer one."""
    if not distinct:
        return tf.gather(table, ids), tf.range(tf.shape(ids)[0])
    found, places = tf.unique(ids)
    return tf.gather(table, found), places


def _sparse_product(
    numbers: tf.Tensor, places: tf.Tensor, weights: tf.Tensor, rows: tf.Tensor, count: tf.Tensor
) -> tf.Tensor:
    """Sum of weights[i] * rows[places[i]] into bag numbers[i]: float32 [count, embedding_size]."""
    return tf.raw_ops.SparseTensorDenseMatMul(
        a_indices=tf.stack([numbers, places], 1),
        a_values=weights,
        a_shape=tf.cast(tf.stack([count, tf.shape(rows)[0]]), tf.int64),
        b=rows,
    )
