"""Parses a block of records at once and checks what the model relies on."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from features import names, parse_spec
from features.schema import Schema

Columns = dict[str, tf.Tensor | tf.RaggedTensor]

_FLAT = "/flat"


def parse(
    serialized: tf.Tensor, file_index: tf.Tensor, paths: Sequence[str], schema: Schema, vocabulary_size: int
) -> Columns:
    """Columns of a block: those of `record_spec`, of the labels and of sample_id.

    Args:
        serialized: string [records].
        file_index: int64 [records], place in `paths` of each record's file.
        paths: of all files; for messages.
        schema: of the records.
        vocabulary_size: ids lie below it.

    Raises (when it runs):
        InvalidArgumentError: a record that is none, lacks a column, has columns of different length or an id out of
            range. `errors.naming_files` makes it readable.
    """
    spec = parse_spec.record_spec(schema) | _sample_spec(schema)
    file_names = tf.gather(tf.constant(list(paths)), file_index)
    columns = tf.io.parse_example(serialized, spec | _nested_spec(schema), example_names=file_names)
    checks = [
        _check_lengths(columns, file_names, schema),
        _check_ids(columns, file_names, schema, vocabulary_size),
    ]
    # Whatever reads the columns waits for the checks: else its own error could come first, which names no file.
    with tf.control_dependencies(checks):
        return {key: tf.identity(columns[key]) for key in spec}


def impression_keys(schema: Schema) -> list[str]:
    """Keys of the columns with one row an impression, labels and sample_id included."""
    weights = [field.weight_key for field in schema.impression_fields if field.weighted]
    return [field.name for field in schema.impression_fields] + weights + list(_sample_spec(schema))


def _sample_spec(schema: Schema) -> parse_spec.Spec:
    """Spec of what the impressions have beside their fields."""
    return parse_spec.label_spec(schema) | parse_spec.sample_id_spec() | parse_spec.user_spec(schema)


def _nested_keys(schema: Schema) -> list[str]:
    """Keys of the columns with a list for each impression."""
    nested = [field for field in schema.impression_fields if field.is_many]
    return [field.name for field in nested] + [field.weight_key for field in nested if field.weighted]


def _nested_spec(schema: Schema) -> parse_spec.Spec:
    """The nested columns once more, as one list a record: their lengths must add up to its length.

    The parsing op reads a key once, however often it is asked for.
    """
    spec = parse_spec.record_spec(schema)
    return {
        key + _FLAT: tf.io.RaggedFeature(spec[key].dtype, key, row_splits_dtype=tf.int64)
        for key in _nested_keys(schema)
    }


def _check_lengths(columns: Columns, file_names: tf.Tensor, schema: Schema) -> tf.Operation:
    """The columns of each record fit together; else gathers would mix impressions up."""
    impressions = columns[names.SAMPLE_ID].row_lengths()
    pairs = {key: (columns[key].row_lengths(), impressions) for key in impression_keys(schema)}
    for key in _nested_keys(schema):
        splits = _record_splits(columns[key])
        pairs[key + _FLAT] = (columns[key + _FLAT].row_lengths(), splits[1:] - splits[:-1])
    for field in schema.context_fields:
        if field.is_many and field.weighted:
            pairs[field.weight_key] = (columns[field.weight_key].row_lengths(), columns[field.name].row_lengths())
    found, expected = (tf.stack(lengths) for lengths in zip(*pairs.values(), strict=True))
    fits = tf.equal(found, expected)  # not ==: in the graph of an Estimator that compares Python objects
    return tf.cond(tf.reduce_all(fits), tf.no_op, lambda: _fail_on_length(found, expected, list(pairs), file_names))


def _fail_on_length(found: tf.Tensor, expected: tf.Tensor, keys: list[str], file_names: tf.Tensor) -> tf.Operation:
    key, record = tf.unstack(tf.where(tf.not_equal(found, expected))[0], 2)
    parts = [
        tf.gather(file_names, record),
        ": a record has ",
        tf.strings.as_string(found[key, record]),
        " values in column ",
        tf.gather(tf.constant([key.removesuffix(_FLAT) for key in keys]), key),
        " where ",
        tf.strings.as_string(expected[key, record]),
        " belong; preprocess again",
    ]
    return tf.debugging.Assert(False, [tf.strings.join(parts)])


def _check_ids(columns: Columns, file_names: tf.Tensor, schema: Schema, vocabulary_size: int) -> tf.Operation:
    """Every id has a row in the embedding table: a GPU would read zeros for the others without a word."""
    largest = tf.stack([tf.reduce_max(_unsigned(columns[field.name])) for field in schema.id_fields])
    size = tf.constant(vocabulary_size, tf.uint64)
    return tf.cond(
        tf.reduce_all(largest < size), tf.no_op, lambda: _fail_on_id(columns, file_names, schema, vocabulary_size)
    )


def _fail_on_id(columns: Columns, file_names: tf.Tensor, schema: Schema, vocabulary_size: int) -> tf.Operation:
    found = [_first_bad(columns[field.name], vocabulary_size) for field in schema.id_fields]
    is_bad, records, ids = (tf.stack(parts) for parts in zip(*found, strict=True))
    field = tf.argmax(tf.cast(is_bad, tf.int64))
    sample_ids = columns[names.SAMPLE_ID]
    parts = [
        tf.gather(file_names, records[field]),
        ": field ",
        tf.gather(tf.constant([field.name for field in schema.id_fields]), field),
        " of the record with sample_id ",
        tf.strings.as_string(tf.gather(sample_ids.values, sample_ids.row_splits[records[field]])),
        " has id ",
        tf.strings.as_string(ids[field]),
        f", the vocabulary has 0 to {vocabulary_size - 1}; records and vocabulary must come from one preprocess job",
    ]
    return tf.debugging.Assert(False, [tf.strings.join(parts)])


def _first_bad(column: tf.Tensor | tf.RaggedTensor, vocabulary_size: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Whether there is an id out of range, its record and the id itself: scalars."""
    bad = _unsigned(column) >= tf.constant(vocabulary_size, tf.uint64)
    place = tf.argmax(tf.concat([tf.cast(bad, tf.int32), [0]], 0))
    record = tf.searchsorted(_record_splits(column), [place], side="right", out_type=tf.int64)[0] - 1
    padded = tf.concat([parse_spec.flat(column), tf.zeros([1], tf.int64)], 0)
    return tf.reduce_any(bad), record, padded[place]


def _unsigned(column: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
    """All ids of a column, flat; a negative one becomes huge, so that one comparison finds both."""
    return tf.bitcast(parse_spec.flat(column), tf.uint64)


def _record_splits(column: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
    """Where the values of each record start in the flat column: int64 [records + 1]."""
    if isinstance(column, tf.Tensor):
        return tf.range(tf.size(column, tf.int64) + 1)
    if isinstance(column.values, tf.RaggedTensor):
        return tf.gather(column.values.row_splits, column.row_splits)
    return column.row_splits
