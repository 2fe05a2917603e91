"""What a batch needs of the embedding table: which rows, and into which sums they go. Index arithmetic, no variable.

Every field of a request or impression is a *bag* of ids with weights, pooled into one vector. Bags are numbered so that
the pooled vectors, reshaped, are the network's input:

    request * context_fields + i              context field i of a request
    impression * impression_fields + j        field j of an impression, behind all bags of the contexts

Training makes the lookup in the input pipeline, where the batch is made: it is ready when a step begins, and the step
is left with a gather and a product. Evaluation and the served model make it in their graphs, by the same code.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from features import parse_spec
from features.schema import Field, Schema
from model_fn.hyperparameters import MEAN, SQRTN
from model_fn.representation import Features, Requests, requests_of, requests_of_splits, rows_of_splits

_PREFIX = "lookup/"


@dataclasses.dataclass(frozen=True)
class Lookup:
    """Rows of a batch and the sparse matrix [bags, rows] of their weights.

    Attributes:
        row_splits: int64 [requests + 1], first impression of each request.
        ids: int64 [rows]; in training each id of the batch once.
        cells: int32 [entries, 2], bag and row of each entry of the matrix.
        weights: float32 [entries].
    """

    row_splits: tf.Tensor
    ids: tf.Tensor
    cells: tf.Tensor
    weights: tf.Tensor

    @property
    def requests(self) -> Requests:
        """How impressions belong to requests."""
        return requests_of_splits(self.row_splits)

    def to_features(self) -> dict[str, tf.Tensor]:
        """The parts as columns of a batch."""
        return {_PREFIX + field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


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


def context_fields(schema: Schema) -> tuple[Field, ...]:
    """Fields of the contexts that have bags."""
    return tuple(field for field in schema.id_fields if field.is_context)


def impression_fields(schema: Schema) -> tuple[Field, ...]:
    """Fields of the impressions that have bags."""
    return tuple(field for field in schema.id_fields if not field.is_context)


def make(features: Features, schema: Schema, combiner: str, distinct: bool) -> Lookup:
    """The lookup of a batch.

    Args:
        features: as `features.parse_spec.record_spec` parses them, or with a lookup among them, which is taken.
        schema: of the features.
        combiner: of fields with many values.
        distinct: whether each id shall come once. It costs a hash an id, and saves the optimizer one.
    """
    if _PREFIX + "ids" in features:
        return Lookup(*(features[_PREFIX + field.name] for field in dataclasses.fields(Lookup)))
    requests = requests_of(features, schema)
    context = Side(context_fields(schema), requests.count, tf.constant(0))
    impression = Side(impression_fields(schema), requests.impressions, context.end)
    parts = [bags for side in (context, impression) for bags in bags_of_side(features, side, combiner)]
    ids, weights, numbers = (tf.concat(columns, 0) for columns in zip(*map(_columns, parts), strict=True))
    rows, places = tf.unique(ids) if distinct else (ids, tf.range(tf.shape(ids)[0]))
    return Lookup(requests.row_splits, rows, _pairs(numbers, places), weights)


def _pairs(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """int32 [n] and int32 [n], none negative, side by side: [n, 2].

    As halves of an int64, the low one first in memory: to stack them takes TensorFlow four times as long.
    """
    return tf.bitcast(tf.cast(second, tf.int64) * (1 << 32) + tf.cast(first, tf.int64), tf.int32)


def in_place_of_fields(features: Features, schema: Schema, combiner: str) -> dict[str, tf.Tensor | tf.RaggedTensor]:
    """A training batch with its lookup in place of the columns of its ids; sample_id and dense fields stay."""
    dense = {field.name for field in schema.dense_fields}
    columns = parse_spec.record_spec(schema).keys() - dense
    others = {key: column for key, column in features.items() if key not in columns}
    return others | make(features, schema, combiner, distinct=True).to_features()


def _columns(bags: Bags) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    return bags.ids, bags.weights, bags.numbers


def bags_of_side(features: Features, side: Side, combiner: str) -> list[Bags]:
    """All ids of a side, flat: the fields of kind one together, each other one by itself."""
    ones = [(index, field) for index, field in enumerate(side.fields) if not field.is_many]
    many = [(index, field) for index, field in enumerate(side.fields) if field.is_many]
    found = [_bags_of_ones(features, side, ones)] if ones else []
    return found + [_bags_of_many(features, side, index, field, combiner) for index, field in many]


def _bags_of_ones(features: Features, side: Side, ones: list[tuple[int, Field]]) -> Bags:
    """A row times its weight, whatever the combiner: the mean of one row would lose the weight."""
    ids = tf.stack([parse_spec.flat(features[field.name]) for _, field in ones], 1)
    unweighted = tf.ones([side.rows])
    columns = [parse_spec.flat(features[field.weight_key]) if field.weighted else unweighted for _, field in ones]
    first_of_row = side.first + tf.range(side.rows) * len(side.fields)
    numbers = first_of_row[:, tf.newaxis] + tf.constant([index for index, _ in ones])
    return Bags(*(tf.reshape(values, [-1]) for values in (ids, tf.stack(columns, 1), numbers)))


def _bags_of_many(features: Features, side: Side, index: int, field: Field, combiner: str) -> Bags:
    """The mean divides by the sum of weights, sqrtn by the root of the sum of their squares."""
    values = features[field.name] if field.is_context else features[field.name].values
    rows = rows_of_splits(values.row_splits)
    weights = parse_spec.flat(features[field.weight_key]) if field.weighted else tf.ones_like(values.values, tf.float32)
    numbers = side.first + index + rows * len(side.fields)
    return Bags(values.values, _combined(weights, rows, side.rows, combiner), numbers)


def _combined(weights: tf.Tensor, rows: tf.Tensor, count: tf.Tensor, combiner: str) -> tf.Tensor:
    if combiner == MEAN:
        divisor = tf.math.unsorted_segment_sum(weights, rows, count)
    elif combiner == SQRTN:
        divisor = tf.sqrt(tf.math.unsorted_segment_sum(tf.square(weights), rows, count))
    else:
        return weights
    return tf.math.divide_no_nan(weights, tf.gather(divisor, rows))
