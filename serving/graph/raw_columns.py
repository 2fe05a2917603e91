"""Raw values of fields as a caller sent them, whatever the form of the call: one column for each field."""

from __future__ import annotations

import dataclasses
import itertools
import operator
from collections.abc import Sequence

import tensorflow as tf

from features import names
from features.schema import ID, NUMBER, STRING, VECTOR, Field

PADDING: dict[str, int | str | float] = {
    ID: names.PADDING_ID,
    STRING: names.PADDING_STRING,
    NUMBER: names.PADDING_NUMBER,
    VECTOR: names.PADDING_NUMBER,
}


@dataclasses.dataclass(frozen=True)
class OneColumn:
    """Values of a field of kind one; padding where a row has none.

    Rows are requests for a context field, impressions for another.

    Attributes:
        field: what they are values of.
        values: int64, string or float32 [rows].
        weights: float32 [rows]; None for a field without.
    """

    field: Field
    values: tf.Tensor
    weights: tf.Tensor | None


@dataclasses.dataclass(frozen=True)
class ManyColumn:
    """Values of a field of kind many, with padding anywhere among them.

    Attributes:
        field: what they are values of.
        values: int64 or string [n].
        weights: float32 [n]; None for a field without.
        row_splits: int64 [rows + 1].
    """

    field: Field
    values: tf.Tensor
    weights: tf.Tensor | None
    row_splits: tf.Tensor


@dataclasses.dataclass(frozen=True)
class DenseColumn:
    """Numbers of a dense field; padding where a row has none.

    Attributes:
        field: what they are numbers of.
        values: float32 [rows * numbers], row after row.
    """

    field: Field
    values: tf.Tensor


@dataclasses.dataclass(frozen=True)
class RawCall:
    """What a call asks for: the columns of all fields.

    Attributes:
        ones: of the fields of kind one.
        manys: of the fields of kind many.
        impression_splits: int64 [requests + 1], first impression of each request.
        denses: of the dense fields.
    """

    ones: list[OneColumn]
    manys: list[ManyColumn]
    impression_splits: tf.Tensor
    denses: list[DenseColumn] = dataclasses.field(default_factory=list)


def is_padding(columns: Sequence[OneColumn] | Sequence[ManyColumn]) -> tf.Tensor:
    """Which values of all columns, one column behind the other, stand for no value: bool [values]."""
    found = []
    by_type = itertools.groupby(((column.field.type, column.values) for column in columns), operator.itemgetter(0))
    for kind, group in by_type:
        values = tf.concat([values for _, values in group], 0)
        found.append(tf.math.is_nan(values) if kind == NUMBER else tf.equal(values, PADDING[kind]))
    return tf.concat(found, 0)
