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
from serving.graph import checks
from serving.graph.raw_columns import PADDING, ManyColumn, OneColumn, RawCall

WEIGHT_DTYPE = tf.float32
EXAMPLES_INPUT = "examples"


@dataclasses.dataclass(frozen=True)
class Input:
    """An input of a signature: the placeholder, and the shape that the signature tells callers."""

    placeholder: tf.Tensor
    shape: tuple[int | None, ...]


Inputs = dict[str, Input]


def input_dtypes(field: Field) -> dict[str, tf.DType]:
    """Keys under which a field comes, with their types."""
    dtypes = {field.name: parse_spec.RAW_DTYPES[field.type]}
    return dtypes | ({field.weight_key: WEIGHT_DTYPE} if field.weighted else {})


def shared_context(schema: Schema) -> tuple[Inputs, RawCall]:
    """Inputs `[k]` of context fields and `[n, k]` of impression fields, weights likewise; a call is one request.

    An empty list for a field says that the context, or every candidate, is without it; an empty list for weights that
    they are 1. Candidates of a field of kind one may also be `[n]`.
    """
    inputs = _placeholders(schema)
    shapes = {name: _Shape.of(given) for name, given in inputs.items()}
    impression = [field.name for field in schema.impression_fields]
    candidates = tf.reduce_max(tf.stack([shapes[name].rows for name in impression]))
    flat = _checked(inputs, _shape_checks(schema, shapes, candidates))
    one_request = tf.constant([0, 1], tf.int64)
    candidate_rows = tf.expand_dims(candidates, 0)
    ones, manys = [], []
    for field in schema.fields:
        rows = tf.constant([1], tf.int64) if field.is_context else candidate_rows
        values, weights = flat[field.name], flat.get(field.weight_key)
        if field.is_many:
            count = shapes[field.name].size
            splits = one_request * count
            if not field.is_context:
                splits = tf.range(candidates + 1) * (count // tf.maximum(candidates, 1))
            weights = None if weights is None else _filled(weights, 1.0, tf.expand_dims(count, 0))
            manys.append(ManyColumn(field, values, weights, splits))
        else:
            weights = None if weights is None else _filled(weights, 1.0, rows)
            ones.append(OneColumn(field, _filled(values, PADDING[field.type], rows), weights))
    return inputs, RawCall(ones, manys, one_request * candidates)


def examples(schema: Schema) -> tuple[Input, RawCall]:
    """Input `[n]` of serialized Examples; any feature may be absent from any of them. A call is n requests of one."""
    serialized = tf.compat.v1.placeholder(tf.string, [None])
    parsed = tf.io.parse_example(serialized, parse_spec.raw_example_spec(schema))
    checked = _example_checks(schema, parsed)
    with tf.control_dependencies(checked):
        parsed = {name: ragged.with_values(tf.identity(ragged.values)) for name, ragged in parsed.items()}
    ones, manys = [], []
    for field in schema.fields:
        ragged = parsed[field.name]
        weights = _weights_of_examples(ragged, parsed[field.weight_key]) if field.weighted else None
        if field.is_many:
            manys.append(ManyColumn(field, ragged.values, weights, ragged.row_splits))
        else:
            values = _first_of_rows(ragged, ragged.values, PADDING[field.type])
            weights = None if weights is None else _first_of_rows(ragged, weights, 1.0)
            ones.append(OneColumn(field, values, weights))
    requests = tf.size(serialized, tf.int64)
    return Input(serialized, (None,)), RawCall(ones, manys, tf.range(requests + 1))


# Rectangular inputs.


def _placeholders(schema: Schema) -> Inputs:
    """Placeholders of any rank: graph optimizations must not rely on what TensorFlow Serving does not check."""
    inputs: Inputs = {}
    for field in schema.fields:
        shape = (None,) if field.is_context else (None, None)
        for key, dtype in input_dtypes(field).items():
            inputs[key] = Input(tf.compat.v1.placeholder(dtype, None), shape)
    return inputs


def _checked(inputs: Inputs, found: Sequence[tf.Operation]) -> dict[str, tf.Tensor]:
    """Values of the inputs, flat, behind the checks."""
    flat = {name: tf.reshape(given.placeholder, [-1]) for name, given in inputs.items()}
    # Around these alone: constants below control dependencies would be run in each call instead of folded.
    with tf.control_dependencies(found):
        return {name: tf.identity(values) for name, values in flat.items()}


def _filled(values: tf.Tensor, filler: int | str | float, count: tf.Tensor) -> tf.Tensor:
    """The values, or as many fillers where there are none; `count` is an int64 [1]."""
    return tf.slice(
        tf.concat([values, tf.fill(count, tf.constant(filler, values.dtype))], 0), tf.zeros([1], tf.int64), count
    )


@dataclasses.dataclass(frozen=True)
class _Shape:
    """Rank (int32), length of the first dimension (1 of a scalar) and number of values (int64): scalars or [inputs].

    A context input is a list, if it passes its check, so its rows are its values.
    """

    rank: tf.Tensor
    rows: tf.Tensor
    size: tf.Tensor

    @classmethod
    def of(cls, given: Input) -> _Shape:
        tensor = given.placeholder
        size = tf.size(tensor, tf.int64)
        rows = size if len(given.shape) == 1 else tf.reduce_prod(tf.shape(tensor, tf.int64)[:1])
        return cls(tf.rank(tensor), rows, size)

    @classmethod
    def stack(cls, shapes: Sequence[_Shape]) -> _Shape:
        ranks, rows, sizes = ([getattr(shape, part) for shape in shapes] for part in ("rank", "rows", "size"))
        return cls(tf.stack(ranks), tf.stack(rows), tf.stack(sizes))

    def is_empty_list(self) -> tf.Tensor:
        return tf.equal(self.rank, 1) & tf.equal(self.size, 0)


def _shape_checks(schema: Schema, shapes: dict[str, _Shape], candidates: tf.Tensor) -> list[tf.Operation]:
    """Each check is over a vector of inputs: hundreds of scalar ops would cost more than the lookups."""
    found = _candidate_checks(schema.impression_fields, shapes, candidates)
    if context := [field.name for field in schema.context_fields]:
        ranks = tf.stack([shapes[name].rank for name in context])
        found.append(checks.require("each context field needs a list of values; not so:", context, tf.equal(ranks, 1)))
    if single := [field for field in schema.fields if not field.is_many]:
        rows = tf.stack([tf.constant(1, tf.int64) if field.is_context else candidates for field in single])
        sizes = tf.stack([shapes[field.name].size for field in single])
        message = "a field of kind one takes one value; more in:"
        found.append(checks.require(message, [field.name for field in single], tf.less_equal(sizes, rows)))
    if weighted := [field for field in schema.fields if field.weighted]:
        message = "weights need the shape of their field, or [] for 1; not so:"
        values = _Shape.stack([shapes[field.name] for field in weighted])
        weights = _Shape.stack([shapes[field.weight_key] for field in weighted])
        # Of a rank of at most 2, which the other checks hold the values to, rows and size tell the shape.
        same = tf.equal(values.rows, weights.rows) & tf.equal(values.size, weights.size) & tf.less(weights.rank, 3)
        names = [field.weight_key for field in weighted]
        found.append(checks.require(message, names, same | weights.is_empty_list()))
    return found


def _candidate_checks(fields: Sequence[Field], shapes: dict[str, _Shape], candidates: tf.Tensor) -> list[tf.Operation]:
    names = [field.name for field in fields]
    shape = _Shape.stack([shapes[name] for name in names])
    flat_allowed = tf.constant([not field.is_many for field in fields])
    fits = tf.equal(shape.rank, 2) | shape.is_empty_list() | (flat_allowed & tf.equal(shape.rank, 1))
    return [
        checks.require(
            "each candidate field needs a list of lists, one for each candidate (-1, empty text or NaN for padding), "
            "or [] where no candidate has it; not so:",
            names,
            fits,
        ),
        checks.require(
            "candidate fields must have the same number of rows, one for each candidate; fewer in:",
            names,
            tf.equal(shape.rows, candidates) | shape.is_empty_list(),
        ),
    ]


# Examples.


def _example_checks(schema: Schema, parsed: dict[str, tf.RaggedTensor]) -> list[tf.Operation]:
    found = []
    if single := [field.name for field in schema.fields if not field.is_many]:
        holds = tf.stack([tf.reduce_all(tf.less_equal(parsed[name].row_lengths(), 1)) for name in single])
        found.append(checks.require("a field of kind one takes one value; more in:", single, holds))
    if weighted := [field for field in schema.fields if field.weighted]:
        fits = [_weights_fit(parsed[field.name], parsed[field.weight_key]) for field in weighted]
        message = "each Example needs as many weights as values, or none for 1; not so:"
        found.append(checks.require(message, [field.weight_key for field in weighted], tf.stack(fits)))
    return found


def _weights_fit(values: tf.RaggedTensor, weights: tf.RaggedTensor) -> tf.Tensor:
    given = weights.row_lengths()
    return tf.reduce_all(tf.equal(given, values.row_lengths()) | tf.equal(given, 0))


def _weights_of_examples(values: tf.RaggedTensor, weights: tf.RaggedTensor) -> tf.Tensor:
    """Weight of each value: float32 [values]; 1 in Examples that have none."""
    # Where each weight is, seen from its value; beyond the end, where the 1 is, for Examples without weights.
    count = tf.size(weights.values, tf.int64)
    has_none = tf.equal(weights.row_lengths(), 0)
    shift = tf.where(has_none, count, weights.row_splits[:-1] - values.row_splits[:-1])
    places = tf.range(tf.size(values.values, tf.int64)) + tf.gather(shift, rows_of_splits(values.row_splits))
    return tf.gather(tf.pad(weights.values, [[0, 1]], constant_values=1.0), tf.minimum(places, count))


def _first_of_rows(ragged: tf.RaggedTensor, values: tf.Tensor, filler: int | str | float) -> tf.Tensor:
    """First value of each row, the filler where there is none: [values] -> [rows]."""
    place_of_filler = tf.size(values, tf.int64)
    places = tf.where(tf.equal(ragged.row_lengths(), 0), place_of_filler, ragged.row_splits[:-1])
    return tf.gather(tf.concat([values, tf.constant([filler], values.dtype)], 0), places)
