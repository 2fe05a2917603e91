"""Raw values of fields as a caller sent them, whatever the form of the call: ragged columns, one for each field."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from features import names
from features.schema import NUMBER, STRING, Field


@dataclasses.dataclass(frozen=True)
class RawColumn:
    """Values of a field in a call, padding included.

    Attributes:
        field: what they are values of.
        values: int64, string or float32 [n].
        weights: float32 [n]; None for a field without.
        row_splits: int64 [rows + 1]; rows are requests for a context field, impressions for another.
    """

    field: Field
    values: tf.Tensor
    weights: tf.Tensor | None
    row_splits: tf.Tensor

    def is_padding(self) -> tf.Tensor:
        """Which values stand for no value: bool [n]."""
        if self.field.type == NUMBER:
            return tf.math.is_nan(self.values)
        padding = names.PADDING_STRING if self.field.type == STRING else names.PADDING_ID
        return tf.equal(self.values, padding)


@dataclasses.dataclass(frozen=True)
class RawCall:
    """What a call asks for.

    Attributes:
        columns: of every field of the schema, in its order.
        impression_splits: int64 [requests + 1], first impression of each request.
    """

    columns: list[RawColumn]
    impression_splits: tf.Tensor
