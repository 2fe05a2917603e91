"""What the signatures take: placeholders, and the raw columns that come of them.

`shared_context` is one request: its context once and n candidates. `examples` are serialized tf.train.Examples, each a
request of its own with one impression. A value that is absent has no entry, or padding: -1, "" or NaN.

TensorFlow Serving checks the types of inputs, but not their rank: `[]` has rank 1 whatever the signature says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from features import parse_spec
from features.schema import Field, Schema
from model_fn.representation import rows_of_splits
from serving import checks
from serving.raw_columns import RawCall, RawColumn

WEIGHT_DTYPE = tf.float32

EXAMPLES_INPUT = "examples"


@dataclasses.dataclass(frozen=True)
class Input:
    """An input of a signature: the placeholder, and the shape that the signature tells callers."""

    placeholder: tf.Tensor
    shape: tuple[int | None, ...]


Inputs = dict[str, Input]


def shared_context(schema: Schema) -> tuple[Inputs, RawCall]:
    """Inputs `[k]` of context fields and `[n, k]` of impression fields, weights likewise; a call is one request.

    An empty list for a field says that the context, or every candidate, is without it; an empty list for weights that
    they are 1. Candidates of a field with one value may also be `[n]`.
    """
    inputs = _placeholders(schema)
    shapes = {name: _Shape.of(given.placeholder) for name, given in inputs.items()}
    candidates = _largest([shapes[field.name].rows for field in schema.impression_fields])
    with tf.control_dependencies(_shape_checks(schema, shapes, candidates)):
        one_request = tf.constant([0, 1], tf.int64)
        columns = []
        for field in schema.fields:
            count = shapes[field.name].size
            width = count if field.is_context else count // tf.maximum(candidates, 1)
            row_splits = (one_request if field.is_context else tf.range(candidates + 1)) * width
            weights = None
            if field.weighted:
                unweighted = count - shapes[field.weight_key].size
                weights = tf.pad(_flat(inputs[field.weight_key]), [[0, unweighted]], constant_values=1.0)
            columns.append(RawColumn(field, _flat(inputs[field.name]), weights, row_splits))
        return inputs, RawCall(columns, one_request * candidates)


def examples(schema: Schema) -> tuple[Input, RawCall]:
    """Input `[n]` of serialized Examples; any feature may be absent from any of them. A call is n requests of one."""
    serialized = tf.compat.v1.placeholder(tf.string, [None])
    parsed = tf.io.parse_example(serialized, parse_spec.raw_example_spec(schema))
    columns = []
    for field in schema.fields:
        ragged = parsed[field.name]
        weights = _weights_of_examples(field, ragged, parsed[field.weight_key]) if field.weighted else None
        columns.append(RawColumn(field, ragged.values, weights, ragged.row_splits))
    requests = tf.size(serialized, tf.int64)
    return Input(serialized, (None,)), RawCall(columns, tf.range(requests + 1))


def _placeholders(schema: Schema) -> Inputs:
    """Placeholders of any rank: graph optimizations must not rely on what TensorFlow Serving does not check."""
    inputs: Inputs = {}
    for field in schema.fields:
        shape = (None,) if field.is_context else (None, None)
        keys = {field.name: parse_spec.RAW_DTYPES[field.type]}
        if field.weighted:
            keys[field.weight_key] = WEIGHT_DTYPE
        inputs |= {key: Input(tf.compat.v1.placeholder(dtype, None), shape) for key, dtype in keys.items()}
    return inputs


def _flat(given: Input) -> tf.Tensor:
    return tf.reshape(given.placeholder, [-1])


@dataclasses.dataclass(frozen=True)
class _Shape:
    """Rank, length of the first dimension (1 of a scalar) and number of values: int64 scalars."""

    rank: tf.Tensor
    rows: tf.Tensor
    size: tf.Tensor

    @classmethod
    def of(cls, tensor: tf.Tensor) -> _Shape:
        shape = tf.shape(tensor, tf.int64)
        return cls(tf.size(shape), tf.reduce_prod(shape[:1]), tf.reduce_prod(shape))

    def is_empty_list(self) -> tf.Tensor:
        return tf.logical_and(tf.equal(self.rank, 1), tf.equal(self.size, 0))


def _largest(counts: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.reduce_max(tf.stack(counts))


def _shape_checks(schema: Schema, shapes: dict[str, _Shape], candidates: tf.Tensor) -> list[tf.Operation]:
    context = [field.name for field in schema.context_fields]
    impression = [field.name for field in schema.impression_fields]
    weighted = [field for field in schema.fields if field.weighted]
    found = [
        checks.require(
            "each candidate field needs a list of lists, one for each candidate (-1, empty text or NaN for padding), "
            "or [] where no candidate has it; not so:",
            impression,
            tf.stack([_has_candidate_rank(field, shapes[field.name]) for field in schema.impression_fields]),
        ),
        checks.require(
            "candidate fields must have the same number of rows, one for each candidate; fewer in:",
            impression,
            tf.stack([tf.equal(shapes[name].rows, candidates) | shapes[name].is_empty_list() for name in impression]),
        ),
    ]
    if context:
        flat = tf.stack([tf.equal(shapes[name].rank, 1) for name in context])
        found.append(checks.require("each context field needs a list of values; not so:", context, flat))
    if weighted:
        fits = tf.stack([_weights_fit(shapes[field.name], shapes[field.weight_key]) for field in weighted])
        message = "weights need the shape of their field, or [] for 1; not so:"
        found.append(checks.require(message, [field.weight_key for field in weighted], fits))
    return found


def _has_candidate_rank(field: Field, shape: _Shape) -> tf.Tensor:
    rectangular = tf.equal(shape.rank, 2) | shape.is_empty_list()
    return rectangular if field.is_many else rectangular | tf.equal(shape.rank, 1)


def _weights_fit(values: _Shape, weights: _Shape) -> tf.Tensor:
    # Of a rank of at most 2, which the other checks hold the values to, rows and size tell the shape.
    same = tf.equal(values.rows, weights.rows) & tf.equal(values.size, weights.size) & tf.less(weights.rank, 3)
    return same | weights.is_empty_list()


def _weights_of_examples(field: Field, values: tf.RaggedTensor, weights: tf.RaggedTensor) -> tf.Tensor:
    """Weight of each value: float32 [values]; 1 in Examples that have none. Others must have as many as values."""
    lengths, given = values.row_lengths(), weights.row_lengths()
    fits = tf.reduce_all(tf.equal(lengths, given) | tf.equal(given, 0))
    message = "each Example needs as many weights as values, or none for 1; not so:"
    with tf.control_dependencies([checks.require(message, [field.weight_key], fits[tf.newaxis])]):
        # Where each weight is, seen from its value; beyond the end, where the 1 is, for Examples without weights.
        count = tf.size(weights.values, tf.int64)
        shift = tf.where(tf.equal(given, 0), count, weights.row_splits[:-1] - values.row_splits[:-1])
        places = tf.range(tf.size(values.values, tf.int64)) + tf.gather(shift, rows_of_splits(values.row_splits))
        return tf.gather(tf.pad(weights.values, [[0, 1]], constant_values=1.0), tf.minimum(places, count))
