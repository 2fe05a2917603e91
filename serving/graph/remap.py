"""From raw columns to the model's features: the rules of preprocessing, in the graph.

One value: missing -> the field's missing id, unknown -> its OOV id. Many: unknown ids are dropped (or become the OOV
id, as the vocabulary says); where nothing is left, the missing id with weight 1.

The fields of a kind go through together, one column behind the other: an op costs its overhead once and not once for
each field.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from features.schema import Field
from features.vocabulary import UNKNOWN
from model_fn.representation import Features, rows_of_splits, splits_of_lengths
from serving.graph import checks
from serving.graph.graph_vocabulary import GraphVocabulary
from serving.graph.raw_columns import DenseColumn, ManyColumn, OneColumn, RawCall, is_padding

# The id of values that are left out: padding, and unknown ids where the vocabulary drops them.
_DROPPED = UNKNOWN


def features_of(call: RawCall, vocabulary: GraphVocabulary) -> Features:
    """The features of a call, as `features.parse_spec.record_spec` parses them of a record."""
    flat: dict[str, tf.Tensor | tf.RaggedTensor] = {}
    flat |= _ones(call.ones, vocabulary) if call.ones else {}
    flat |= _manys(call.manys, vocabulary) if call.manys else {}
    flat |= _denses(call.denses, vocabulary) if call.denses else {}
    features = {}
    for field in vocabulary.schema.fields:
        for key in [field.name] + [field.weight_key] * field.weighted:
            features[key] = flat[key] if field.is_context else _ragged(flat[key], call.impression_splits)
    return features


def _denses(columns: Sequence[DenseColumn], vocabulary: GraphVocabulary) -> dict[str, tf.Tensor]:
    """Numbers of the dense fields: float32 [rows, numbers] each."""
    values = [tf.reshape(column.values, [-1]) for column in columns]
    names = [column.field.name for column in columns]
    flat = tf.concat(values, 0)
    check = checks.require_of_values(
        "numbers must be finite, NaN for none; not so:",
        names,
        splits_of_lengths(_sizes(values)),
        tf.logical_not(tf.math.is_inf(flat)),
    )
    with tf.control_dependencies([check]):
        checked = tf.identity_n(values)
    return {
        column.field.name: tf.reshape(vocabulary.scaled(column.field, numbers), [-1, column.field.width])
        for column, numbers in zip(columns, checked, strict=True)
    }


def _ones(columns: Sequence[OneColumn], vocabulary: GraphVocabulary) -> Features:
    """Features of the fields of kind one, by row: int64 and float32 [rows]."""
    fields = [column.field for column in columns]
    keys = _keys(columns, vocabulary)
    sizes = _sizes(keys)
    field_of_rows = rows_of_splits(splits_of_lengths(sizes))
    ids = vocabulary.lookup(tf.concat(keys, 0))
    ids = tf.where(tf.equal(ids, UNKNOWN), _by_field(fields, vocabulary.schema.oov_id, field_of_rows), ids)
    padding = is_padding(columns)
    ids = tf.where(padding, _by_field(fields, vocabulary.schema.missing_id, field_of_rows), ids)
    features = dict(zip([field.name for field in fields], tf.split(ids, sizes, num=len(fields)), strict=True))
    for column, is_missing in zip(columns, tf.split(padding, sizes, num=len(fields)), strict=True):
        if column.weights is not None:
            features[column.field.weight_key] = tf.where(is_missing, 1.0, column.weights)
    weights = {field.weight_key: features[field.weight_key] for field in fields if field.weighted}
    return features | _checked_weights(weights)


def _checked_weights(weights: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    if not weights:
        return {}
    values = list(weights.values())
    check = _weights_check(list(weights), splits_of_lengths(_sizes(values)), tf.concat(values, 0))
    with tf.control_dependencies([check]):
        return dict(zip(weights, tf.identity_n(values), strict=True))


def _weights_check(names: Sequence[str], edges: tf.Tensor, weights: tf.Tensor) -> tf.Operation:
    fit = tf.greater_equal(weights, 0) & tf.less(weights, math.inf)
    return checks.require_of_values("weights must be finite numbers of at least 0; not so:", names, edges, fit)


@dataclasses.dataclass(frozen=True)
class _Stack:
    """Columns of fields of kind many, one behind the other.

    Attributes:
        fields: of the columns.
        ids: int64 [values].
        weights: float32 [values].
        row_splits: int64 [rows + 1].
        field_splits: int64 [fields + 1], first row of each field.
    """

    fields: Sequence[Field]
    ids: tf.Tensor
    weights: tf.Tensor
    row_splits: tf.Tensor
    field_splits: tf.Tensor

    @functools.cached_property
    def lengths(self) -> tf.Tensor:
        """Number of values of each row: int64 [rows]."""
        return self.row_splits[1:] - self.row_splits[:-1]

    @functools.cached_property
    def edges(self) -> tf.Tensor:
        """First value of each field: int64 [fields + 1]."""
        return tf.gather(self.row_splits, self.field_splits)


def _manys(columns: Sequence[ManyColumn], vocabulary: GraphVocabulary) -> Features:
    """Features of the fields of kind many: ragged [rows, (values)], int64 and float32."""
    stack = _without_dropped(_stacked(columns, vocabulary))
    names = [field.weight_key for field in stack.fields]
    with tf.control_dependencies([_weights_check(names, stack.edges, stack.weights)]):
        stack = dataclasses.replace(stack, weights=tf.identity(stack.weights))
    stack = _with_missing(stack, vocabulary)
    sizes = stack.edges[1:] - stack.edges[:-1]
    ids = tf.split(stack.ids, sizes, num=len(columns))
    weights = tf.split(stack.weights, sizes, num=len(columns))
    features = {}
    for i, field in enumerate(stack.fields):
        row_splits = stack.row_splits[stack.field_splits[i] : stack.field_splits[i + 1] + 1] - stack.edges[i]
        features[field.name] = _ragged(ids[i], row_splits)
        if field.weighted:
            features[field.weight_key] = _ragged(weights[i], row_splits)
    return features


def _stacked(columns: Sequence[ManyColumn], vocabulary: GraphVocabulary) -> _Stack:
    """The columns with new ids; what is to be left out is marked."""
    keys = _keys(columns, vocabulary)
    sizes = _sizes(keys)
    edges = splits_of_lengths(sizes)
    starts = tf.unstack(edges, len(columns) + 1)
    row_starts = [column.row_splits[:-1] + start for column, start in zip(columns, starts[:-1], strict=True)]
    weights = [
        tf.fill(size, 1.0) if column.weights is None else column.weights
        for column, size in zip(columns, tf.split(sizes, len(columns)), strict=True)
    ]
    stack = _Stack(
        fields=[column.field for column in columns],
        ids=vocabulary.lookup(tf.concat(keys, 0)),
        weights=tf.concat(weights, 0),
        row_splits=tf.concat([*row_starts, edges[-1:]], 0),
        field_splits=splits_of_lengths(_sizes(row_starts)),
    )
    if vocabulary.drops_unknown:
        # UNKNOWN is the mark.
        ids = stack.ids
    else:
        oov = _by_field(stack.fields, vocabulary.schema.oov_id, rows_of_splits(edges))
        ids = tf.where(tf.equal(stack.ids, UNKNOWN), oov, stack.ids)
    return dataclasses.replace(stack, ids=tf.where(is_padding(columns), tf.constant(_DROPPED, tf.int64), ids))


def _without_dropped(stack: _Stack) -> _Stack:
    places = tf.where(tf.not_equal(stack.ids, _DROPPED))[:, 0]
    return dataclasses.replace(
        stack,
        ids=tf.gather(stack.ids, places),
        weights=tf.gather(stack.weights, places),
        # How many of the kept ones stand before each split.
        row_splits=tf.searchsorted(places, stack.row_splits, out_type=tf.int64),
    )


def _with_missing(stack: _Stack, vocabulary: GraphVocabulary) -> _Stack:
    """Each row without values gets its field's missing id, with weight 1."""
    row_splits = splits_of_lengths(tf.maximum(stack.lengths, 1))
    rows = rows_of_splits(row_splits)
    is_missing = tf.gather(tf.equal(stack.lengths, 0), rows)
    missing = tf.gather(_by_field(stack.fields, vocabulary.schema.missing_id, rows_of_splits(stack.field_splits)), rows)
    # Values move back by the number of empty rows before them. One entry more: the last row may be empty.
    moved = tf.range(row_splits[-1]) - tf.gather(row_splits[:-1] - stack.row_splits[:-1], rows)
    return dataclasses.replace(
        stack,
        ids=tf.where(is_missing, missing, tf.gather(tf.concat([stack.ids, [0]], 0), moved)),
        weights=tf.where(is_missing, 1.0, tf.gather(tf.concat([stack.weights, [0]], 0), moved)),
        row_splits=row_splits,
    )


def _keys(columns: Sequence[OneColumn] | Sequence[ManyColumn], vocabulary: GraphVocabulary) -> list[tf.Tensor]:
    """Keys of the values of each column: int64 [n] each."""
    return [vocabulary.keys(column.field, column.values) for column in columns]


def _sizes(vectors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Number of values in each of n vectors of the same type: int64 [n]."""
    return tf.concat(tf.shape_n(vectors, tf.int64), 0)


def _by_field(fields: Sequence[Field], new_id: Callable[[Field], int], places: tf.Tensor) -> tf.Tensor:
    """A reserved id for each place of a field in `fields`: int32 [n] -> int64 [n]."""
    return tf.gather(tf.constant([new_id(field) for field in fields], tf.int64), places)


def _ragged(values: tf.Tensor | tf.RaggedTensor, row_splits: tf.Tensor) -> tf.RaggedTensor:
    # The splits are made here and right; to validate them costs more ops than all the rest.
    return tf.RaggedTensor.from_row_splits(values, row_splits, validate=False)
