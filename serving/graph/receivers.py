"""What the signatures take: placeholders, and the raw columns that come of them.

`shared_context` is one request: its context once and n candidates. `examples` are serialized tf.train.Examples, each a
request of its own with one impression. A value that is absent has no entry, or padding: -1, "" or NaN.

TensorFlow Serving checks the types of inputs, but not their rank: `[]` has rank 1 whatever the signature says.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import tensorflow as tf

from features import names as feature_names
from features import parse_spec
from features.schema import VECTOR, Field, Schema
from model_fn.representation import rows_of_splits, splits_of_lengths
from serving.columnar import UNMERGEABLE, needs_unmergeable
from serving.graph import checks
from serving.graph.raw_columns import PADDING, DenseColumn, ManyColumn, OneColumn, RawCall

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


def shared_context_dtypes(schema: Schema) -> dict[str, tf.DType]:
    """Inputs of `shared_context`, with their types."""
    dtypes = {key: dtype for field in schema.fields for key, dtype in input_dtypes(field).items()}
    return dtypes | ({UNMERGEABLE: tf.int64} if needs_unmergeable(schema) else {})


def shared_context(schema: Schema) -> tuple[Inputs, RawCall]:
    """Inputs `[k]` of context fields and `[n, k]` of impression fields, weights likewise; a call is one request.

    An empty list for a field says that the context, or every candidate, is without it; an empty list for weights that
    they are 1. Candidates of a field of kind one may also be `[n]`.
    """
    inputs = _placeholders(schema)
    shapes = _Shapes.of(inputs)
    candidates = tf.reduce_max(shapes.select([field.name for field in schema.impression_fields]).rows)
    rows = tf.stack([tf.constant(1, tf.int64) if field.is_context else candidates for field in schema.fields])
    counts = _counts(schema, shapes, rows)
    flat = _filled(schema, shapes, counts, _checked(inputs, _shape_requirements(schema, shapes, candidates)))
    first_rows = {True: tf.constant([0, 1], tf.int64), False: tf.range(candidates + 1)}
    ones, manys, denses = [], [], []
    for field, width in zip(schema.fields, tf.unstack(counts // tf.maximum(rows, 1), len(schema.fields)), strict=True):
        values, weights = flat[field.name], flat.get(field.weight_key)
        if field.is_dense:
            denses.append(DenseColumn(field, values))
        elif field.is_many:
            manys.append(ManyColumn(field, values, weights, first_rows[field.is_context] * width))
        else:
            ones.append(OneColumn(field, values, weights))
    return inputs, RawCall(ones, manys, tf.constant([0, 1], tf.int64) * candidates, denses)


def examples(schema: Schema) -> tuple[Input, RawCall]:
    """Input `[n]` of serialized Examples; any feature may be absent from any of them. A call is n requests of one."""
    serialized = tf.compat.v1.placeholder(tf.string, [None])
    parsed = tf.io.parse_example(serialized, parse_spec.raw_example_spec(schema))
    with tf.control_dependencies(checks.require_in_order(_example_requirements(schema, parsed))):
        parsed = {name: ragged.with_values(tf.identity(ragged.values)) for name, ragged in parsed.items()}
    ones, manys, denses = [], [], []
    for field in schema.fields:
        ragged = parsed[field.name]
        weights = _weights_of_examples(ragged, parsed[field.weight_key]) if field.weighted else None
        if field.is_dense:
            denses.append(DenseColumn(field, _numbers_of_rows(ragged, field)))
        elif field.is_many:
            manys.append(ManyColumn(field, ragged.values, weights, ragged.row_splits))
        else:
            values = _first_of_rows(ragged, ragged.values, PADDING[field.type])
            weights = None if weights is None else _first_of_rows(ragged, weights, 1.0)
            ones.append(OneColumn(field, values, weights))
    requests = tf.size(serialized, tf.int64)
    return Input(serialized, (None,)), RawCall(ones, manys, tf.range(requests + 1), denses)


# Rectangular inputs.


def _placeholders(schema: Schema) -> Inputs:
    """Placeholders of any rank: graph optimizations must not rely on what TensorFlow Serving does not check."""
    on_candidates = {key for field in schema.impression_fields for key in input_dtypes(field)}
    return {
        key: Input(tf.compat.v1.placeholder(dtype, None), (None, None) if key in on_candidates else (None,))
        for key, dtype in shared_context_dtypes(schema).items()
    }


@dataclasses.dataclass(frozen=True)
class _Shapes:
    """Shapes of inputs side by side: hundreds of ops of an input each would cost more than the lookups.

    Attributes:
        names: of the inputs.
        ranks: int64 [inputs].
        rows: length of the first dimension, 1 of a scalar: int64 [inputs].
        sizes: number of values: int64 [inputs].
    """

    names: tuple[str, ...]
    ranks: tf.Tensor
    rows: tf.Tensor
    sizes: tf.Tensor

    @classmethod
    def of(cls, inputs: Inputs) -> _Shapes:
        by_type = sorted(inputs, key=lambda name: inputs[name].placeholder.dtype.as_datatype_enum)
        groups = itertools.groupby((inputs[name].placeholder for name in by_type), lambda tensor: tensor.dtype)
        shapes = [shape for _, tensors in groups for shape in tf.shape_n(list(tensors), tf.int64)]
        ranks = tf.concat(tf.shape_n(shapes, tf.int64), 0)
        dimensions = tf.concat(shapes, 0)
        splits = splits_of_lengths(ranks)
        rows = tf.gather(tf.concat([dimensions, [1]], 0), splits[:-1])
        return cls(
            tuple(by_type),
            ranks,
            tf.where(tf.equal(ranks, 0), tf.constant(1, tf.int64), rows),
            tf.math.unsorted_segment_prod(dimensions, rows_of_splits(splits), len(by_type)),
        )

    def select(self, names: Sequence[str]) -> _Shapes:
        """Shapes of inputs of these names."""
        places = tf.constant([self.names.index(name) for name in names])
        return _Shapes(tuple(names), *(tf.gather(part, places) for part in (self.ranks, self.rows, self.sizes)))

    def are_empty_lists(self) -> tf.Tensor:
        """Whether each is `[]`: bool [inputs]."""
        return tf.equal(self.ranks, 1) & tf.equal(self.sizes, 0)


def _counts(schema: Schema, shapes: _Shapes, rows: tf.Tensor) -> tf.Tensor:
    """Values of each field, given the rows of each: int64 [fields] -> int64 [fields]."""
    sizes = shapes.select([field.name for field in schema.fields]).sizes
    widths = tf.constant([field.width for field in schema.fields], tf.int64)
    return tf.where([field.is_many for field in schema.fields], sizes, rows * widths)


def _checked(inputs: Inputs, required: Sequence[checks.Requirement]) -> dict[str, tf.Tensor]:
    """Values of the inputs, flat, behind the checks."""
    flat = [tf.reshape(given.placeholder, [-1]) for given in inputs.values()]
    # Around this alone: constants below control dependencies would be run in each call instead of folded.
    with tf.control_dependencies(checks.require_in_order(required)):
        return dict(zip(inputs, tf.identity_n(flat), strict=True))


def _filled(schema: Schema, shapes: _Shapes, counts: tf.Tensor, flat: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The values with those that may be absent, padding and weights of 1; `counts` is how many each field has."""
    fillers: dict[str, int | str | float] = {}
    fields = []
    for place, field in enumerate(schema.fields):
        made = {} if field.is_many else {field.name: PADDING[field.type]}
        made |= {field.weight_key: 1.0} if field.weighted else {}
        fields += [place] * len(made)
        fillers |= made
    if not fillers:
        return flat
    # Never below 0, also where the checks will find that there are too many.
    absent = tf.maximum(tf.gather(counts, tf.constant(fields)) - shapes.select(list(fillers)).sizes, 0)
    filled = dict(flat)
    for (name, filler), count in zip(fillers.items(), tf.split(absent, len(fillers)), strict=True):
        filled[name] = tf.concat([flat[name], tf.fill(count, tf.constant(filler, flat[name].dtype))], 0)
    return filled


def _shape_requirements(schema: Schema, shapes: _Shapes, candidates: tf.Tensor) -> list[checks.Requirement]:
    """Each is over a vector of inputs, and may suppose those before it."""
    required = _candidate_requirements(schema.impression_fields, shapes, candidates)
    if context := [field.name for field in schema.context_fields]:
        message = "each context field needs a list of values; not so:"
        required.append(checks.Requirement(message, context, tf.equal(shapes.select(context).ranks, 1)))
    required += _vector_requirements(schema, shapes, candidates)
    if needs_unmergeable(schema):
        message = "this input is always [], so that no server merges calls; not so:"
        required.append(checks.Requirement(message, [UNMERGEABLE], shapes.select([UNMERGEABLE]).are_empty_lists()))
    if single := [field for field in schema.fields if not field.is_many and field.type != VECTOR]:
        names = [field.name for field in single]
        rows = tf.where([field.is_context for field in single], tf.constant(1, tf.int64), candidates)
        message = "a field of kind one takes one value; more in:"
        required.append(checks.Requirement(message, names, tf.less_equal(shapes.select(names).sizes, rows)))
    if weighted := [field for field in schema.fields if field.weighted]:
        names = [field.weight_key for field in weighted]
        values, weights = shapes.select([field.name for field in weighted]), shapes.select(names)
        # Of a rank of at most 2, which is that of the values, rows and size tell the shape.
        same = tf.equal(values.rows, weights.rows) & tf.equal(values.sizes, weights.sizes) & tf.less(weights.ranks, 3)
        message = "weights need the shape of their field, or [] for 1; not so:"
        required.append(checks.Requirement(message, names, same | weights.are_empty_lists()))
    return required


def _vector_requirements(schema: Schema, shapes: _Shapes, candidates: tf.Tensor) -> list[checks.Requirement]:
    vectors = [field for field in schema.fields if field.type == VECTOR]
    if not vectors:
        return []
    names = [field.name for field in vectors]
    sizes = shapes.select(names).sizes
    rows = tf.where([field.is_context for field in vectors], tf.constant(1, tf.int64), candidates)
    whole = tf.equal(sizes, rows * tf.constant([field.size for field in vectors], tf.int64))
    message = f"a vector needs all its numbers ({_sizes_text(vectors)}), or [] where it is missing; not so:"
    return [checks.Requirement(message, names, whole | tf.equal(sizes, 0))]


def _sizes_text(vectors: Sequence[Field]) -> str:
    return ", ".join(f"{field.name}: {field.size}" for field in vectors)


def _candidate_requirements(
    fields: Sequence[Field], shapes: _Shapes, candidates: tf.Tensor
) -> list[checks.Requirement]:
    names = [field.name for field in fields]
    found = shapes.select(names)
    flat_allowed = tf.constant([not field.is_many and field.width == 1 for field in fields])
    empty = found.are_empty_lists()
    return [
        checks.Requirement(
            "each candidate field needs a list of lists, one for each candidate (-1, empty text or NaN for padding), "
            "or [] where no candidate has it; not so:",
            names,
            tf.equal(found.ranks, 2) | empty | (flat_allowed & tf.equal(found.ranks, 1)),
        ),
        checks.Requirement(
            "candidate fields must have the same number of rows, one for each candidate; fewer in:",
            names,
            tf.equal(found.rows, candidates) | empty,
        ),
    ]


# Examples.


def _example_requirements(schema: Schema, parsed: dict[str, tf.RaggedTensor]) -> list[checks.Requirement]:
    required = []
    if vectors := [field for field in schema.fields if field.type == VECTOR]:
        holds = tf.stack([_vectors_fit(parsed[field.name], field.size) for field in vectors])
        message = f"each Example needs all numbers of a vector ({_sizes_text(vectors)}), or none; not so:"
        required.append(checks.Requirement(message, [field.name for field in vectors], holds))
    if single := [field.name for field in schema.fields if not field.is_many and field.type != VECTOR]:
        holds = tf.stack([tf.reduce_all(tf.less_equal(parsed[name].row_lengths(), 1)) for name in single])
        required.append(checks.Requirement("a field of kind one takes one value; more in:", single, holds))
    if weighted := [field for field in schema.fields if field.weighted]:
        fits = tf.stack([_weights_fit(parsed[field.name], parsed[field.weight_key]) for field in weighted])
        message = "each Example needs as many weights as values, or none for 1; not so:"
        required.append(checks.Requirement(message, [field.weight_key for field in weighted], fits))
    return required


def _vectors_fit(values: tf.RaggedTensor, size: int) -> tf.Tensor:
    given = values.row_lengths()
    return tf.reduce_all(tf.equal(given, size) | tf.equal(given, 0))


def _numbers_of_rows(ragged: tf.RaggedTensor, field: Field) -> tf.Tensor:
    """Numbers of each row, padding where it has none: float32 [rows * numbers]."""
    shape = [None, field.width]
    return tf.reshape(ragged.to_tensor(feature_names.PADDING_NUMBER, shape=shape), [-1])


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
