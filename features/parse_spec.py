"""What a record looks like to TensorFlow: parse specs made of a schema, for input_fn, serving and tests alike.

A record is a `tf.train.Example` of one request:

    F                             context field, one value        int64 [1]
    F, F/weight                   context field, many             int64 [k], float [k]
    F                             impression field, one value     int64 [n]
    F, F/length, (F/weight)       impression field, many          int64 [sum of lengths], int64 [n]
    F                             context number or vector        float [size], NaN for no value
    F                             impression number or vector     float [n * size]
    sample_id, click, conversion                                  int64 [n]
    sample_weight, sample_user    where the log has them          float [n], int64 [n]
    known_share                   where it has conversion times   float [n]
"""

from __future__ import annotations

import tensorflow as tf

from features import names
from features.schema import ID, NUMBER, STRING, VECTOR, Field, Schema

RAW_DTYPES = {ID: tf.int64, STRING: tf.string, NUMBER: tf.float32, VECTOR: tf.float32}

Spec = dict[str, tf.io.FixedLenFeature | tf.io.RaggedFeature]


def record_spec(schema: Schema) -> Spec:
    """Spec of the model inputs in a batch of records.

    Parsed, a context field is int64 `[requests]` or ragged `[requests, (values)]`, an impression field ragged
    `[requests, (impressions)]` or `[requests, (impressions), (values)]`; weights are float32 of the same shape. A
    dense field is float32 `[requests, size]` or `[requests, (impressions), size]`.
    """
    spec: Spec = {}
    for field in schema.fields:
        spec[field.name] = _dense(field) if field.is_dense else _column(field, field.name, tf.int64)
        if field.weighted:
            spec[field.weight_key] = _column(field, field.weight_key, tf.float32)
    return spec


def label_spec(schema: Schema | None = None) -> Spec:
    """Spec of click and conversion, int64, and of what a log has beside them, float32 (`Columns.label_floats`).

    Parsed, each is ragged `[requests, (impressions)]`.
    """
    spec: Spec = {name: _ragged(name, tf.int64) for name in (names.CLICK, names.CONVERSION)}
    floats = schema.columns.label_floats if schema is not None else ()
    return spec | {name: _ragged(name, tf.float32) for name in floats}


def sample_id_spec() -> Spec:
    """Spec of the impressions' names: int64, ragged `[requests, (impressions)]`."""
    return {names.SAMPLE_ID: _ragged(names.SAMPLE_ID, tf.int64)}


def user_spec(schema: Schema) -> Spec:
    """Spec of the impressions' users, where the log names them: int64, ragged `[requests, (impressions)]`."""
    return {names.SAMPLE_USER: _ragged(names.SAMPLE_USER, tf.int64)} if schema.columns.user else {}


def raw_example_spec(schema: Schema) -> Spec:
    """Spec of Examples that carry the raw values of one impression each; any field may be absent.

    Parsed, every field is ragged `[impressions, (values)]` of its raw type: int64 ids, words, float numbers.
    """
    spec: Spec = {}
    for field in schema.fields:
        spec[field.name] = _ragged(field.name, RAW_DTYPES[field.type])
        if field.weighted:
            spec[field.weight_key] = _ragged(field.weight_key, tf.float32)
    return spec


def _column(field: Field, key: str, dtype: tf.DType) -> tf.io.FixedLenFeature | tf.io.RaggedFeature:
    if field.is_context and not field.is_many:
        return tf.io.FixedLenFeature([], dtype)
    if field.is_context or not field.is_many:
        return _ragged(key, dtype)
    lengths = tf.io.RaggedFeature.RowLengths(field.length_key)
    return tf.io.RaggedFeature(dtype, key, [lengths], row_splits_dtype=tf.int64)


def _dense(field: Field) -> tf.io.FixedLenFeature | tf.io.RaggedFeature:
    if field.is_context:
        return tf.io.FixedLenFeature([field.width], tf.float32)
    rows = tf.io.RaggedFeature.UniformRowLength(field.width)
    return tf.io.RaggedFeature(tf.float32, field.name, [rows], row_splits_dtype=tf.int64)


def _ragged(key: str, dtype: tf.DType) -> tf.io.RaggedFeature:
    return tf.io.RaggedFeature(dtype, key, row_splits_dtype=tf.int64)


def flat(column: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
    """All values of a parsed column, one behind the other."""
    return column.flat_values if isinstance(column, tf.RaggedTensor) else column
