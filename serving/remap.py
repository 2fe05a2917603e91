"""From raw columns to the model's features: the rules of preprocessing, in the graph.

One value: missing -> the field's missing id, unknown -> its OOV id. Many: unknown ids are dropped (or become the OOV
id, as the vocabulary says); where nothing is left, the missing id with weight 1.

All fields go through as one ragged tensor `[rows of all fields, (values)]`: an op costs its overhead once and not once
for each field, and the vocabulary is asked once.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import tensorflow as tf

from features.schema import Field
from features.vocabulary import UNKNOWN
from model_fn.representation import Features, rows_of_splits
from serving import checks
from serving.graph_vocabulary import GraphVocabulary
from serving.raw_columns import RawCall, RawColumn

# The id of values that are left out: padding, and unknown ids where the vocabulary drops them.
_DROPPED = UNKNOWN


@dataclasses.dataclass(frozen=True)
class _Stack:
    """Columns one under the other.

    Attributes:
        ids: int64 [values].
        weights: float32 [values].
        row_splits: int64 [rows + 1].
        field_splits: int64 [fields + 1], first row of each field.
    """

    ids: tf.Tensor
    weights: tf.Tensor
    row_splits: tf.Tensor
    field_splits: tf.Tensor

    @functools.cached_property
    def lengths(self) -> tf.Tensor:
        """Number of values of each row: int64 [rows]."""
        return self.row_splits[1:] - self.row_splits[:-1]

    @functools.cached_property
    def field_of_rows(self) -> tf.Tensor:
        """Place of each row's field: int32 [rows]."""
        return rows_of_splits(self.field_splits)

    @functools.cached_property
    def field_of_values(self) -> tf.Tensor:
        """Place of each value's field: int32 [values]."""
        return rows_of_splits(tf.gather(self.row_splits, self.field_splits))


def features_of(call: RawCall, vocabulary: GraphVocabulary) -> Features:
    """The features of a call, as `features.parse_spec.record_spec` parses them of a record."""
    fields = [column.field for column in call.columns]
    kept = _without_dropped(_looked_up(call.columns, vocabulary))
    with tf.control_dependencies(_checks(fields, kept)):
        filled = _with_missing(kept, [vocabulary.schema.missing_id(field) for field in fields])
        return _features(fields, filled, call.impression_splits)


def _looked_up(columns: Sequence[RawColumn], vocabulary: GraphVocabulary) -> _Stack:
    ids = vocabulary.lookup(tf.concat([vocabulary.keys(column.field, column.values) for column in columns], 0))
    weights = [tf.ones_like(c.values, tf.float32) if c.weights is None else c.weights for c in columns]
    sizes = tf.stack([tf.size(column.values, tf.int64) for column in columns])
    first = tf.unstack(tf.cumsum(sizes, exclusive=True))
    splits = [column.row_splits[:-1] + start for column, start in zip(columns, first, strict=True)]
    rows = tf.stack([tf.size(part, tf.int64) for part in splits])
    stack = _Stack(ids, tf.concat(weights, 0), tf.concat([*splits, tf.reduce_sum(sizes)[tf.newaxis]], 0), _starts(rows))
    unknown_ids = tf.constant([_id_of_unknown(vocabulary, column.field) for column in columns], tf.int64)
    ids = tf.where(tf.equal(ids, UNKNOWN), tf.gather(unknown_ids, stack.field_of_values), ids)
    padding = tf.concat([column.is_padding() for column in columns], 0)
    return dataclasses.replace(stack, ids=tf.where(padding, tf.constant(_DROPPED, tf.int64), ids))


def _id_of_unknown(vocabulary: GraphVocabulary, field: Field) -> int:
    return _DROPPED if field.is_many and vocabulary.drops_unknown else vocabulary.schema.oov_id(field)


def _without_dropped(stack: _Stack) -> _Stack:
    keep = tf.not_equal(stack.ids, _DROPPED)
    places = tf.where(keep)[:, 0]
    return dataclasses.replace(
        stack,
        ids=tf.gather(stack.ids, places),
        weights=tf.gather(stack.weights, places),
        row_splits=tf.gather(_starts(tf.cast(keep, tf.int64)), stack.row_splits),
    )


def _checks(fields: Sequence[Field], stack: _Stack) -> list[tf.Operation]:
    single = tf.gather(tf.constant([not field.is_many for field in fields]), stack.field_of_rows)
    several = tf.where(single & tf.greater(stack.lengths, 1))[:, 0]
    unfit = tf.where(~(tf.greater_equal(stack.weights, 0) & tf.less(stack.weights, math.inf)))[:, 0]
    return [
        checks.require_of_places(
            "a field of kind one takes one value; more in:",
            [field.name for field in fields],
            tf.gather(stack.field_of_rows, several),
        ),
        checks.require_of_places(
            "weights must be finite numbers of at least 0; not so:",
            [field.weight_key for field in fields],
            tf.gather(stack.field_of_values, unfit),
        ),
    ]


def _with_missing(stack: _Stack, missing_ids: Sequence[int]) -> _Stack:
    """Each row without values gets its field's missing id, with weight 1."""
    empty = tf.equal(stack.lengths, 0)
    row_splits = _starts(tf.maximum(stack.lengths, 1))
    rows = rows_of_splits(row_splits)
    missing = tf.gather(tf.constant(missing_ids, tf.int64), tf.gather(stack.field_of_rows, rows))
    # Values move back by the number of empty rows before them. One entry more: the last row may be empty.
    moved = tf.range(row_splits[-1]) - tf.gather(row_splits[:-1] - stack.row_splits[:-1], rows)
    is_missing = tf.gather(empty, rows)
    return dataclasses.replace(
        stack,
        ids=tf.where(is_missing, missing, tf.gather(tf.pad(stack.ids, [[0, 1]]), moved)),
        weights=tf.where(is_missing, 1.0, tf.gather(tf.pad(stack.weights, [[0, 1]]), moved)),
        row_splits=row_splits,
    )


def _features(fields: Sequence[Field], stack: _Stack, impression_splits: tf.Tensor) -> Features:
    edges = tf.gather(stack.row_splits, stack.field_splits)
    sizes = edges[1:] - edges[:-1]
    ids = tf.split(stack.ids, sizes, num=len(fields))
    weights = tf.split(stack.weights, sizes, num=len(fields))
    features: dict[str, tf.Tensor | tf.RaggedTensor] = {}
    for i, field in enumerate(fields):
        rows = slice(stack.field_splits[i], stack.field_splits[i + 1] + 1)
        row_splits = stack.row_splits[rows] - edges[i]
        features[field.name] = _structured(field, ids[i], row_splits, impression_splits)
        if field.weighted:
            features[field.weight_key] = _structured(field, weights[i], row_splits, impression_splits)
    return features


def _structured(
    field: Field, values: tf.Tensor, row_splits: tf.Tensor, impression_splits: tf.Tensor
) -> tf.Tensor | tf.RaggedTensor:
    # The splits are made above and right, so they are not validated: that costs more ops than the rest.
    if field.is_many:
        values = tf.RaggedTensor.from_row_splits(values, row_splits, validate=False)
    if field.is_context:
        return values
    return tf.RaggedTensor.from_row_splits(values, impression_splits, validate=False)


def _starts(lengths: tf.Tensor) -> tf.Tensor:
    """Splits of rows with these lengths: int64 [rows] -> int64 [rows + 1]."""
    return tf.pad(tf.cumsum(lengths), [[1, 0]])
