"""What a layer sees of a batch: a part for each request and a part for each impression, never copied into one.

A layer that is linear in the two parts side by side splits into W_context * context + W_impression * impression. The
first product is computed once a request and gathered to its impressions, which is most of the work saved: in Ali-CCP
13 of 23 fields are context, and some 16 impressions of a batch share each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import tensorflow as tf

from features.schema import Schema

Features = Mapping[str, tf.Tensor | tf.RaggedTensor]


@dataclasses.dataclass(frozen=True)
class Requests:
    """How the impressions of a batch belong to its requests.

    Attributes:
        row_splits: int64 [requests + 1], first impression of each request.
        of_impressions: int32 [impressions], request of each impression, ascending.
    """

    row_splits: tf.Tensor
    of_impressions: tf.Tensor

    @property
    def count(self) -> tf.Tensor:
        """Number of requests: int32 scalar."""
        return tf.shape(self.row_splits)[0] - 1

    @property
    def is_single(self) -> bool:
        """Whether the graph is made for one request, as that of a served model is."""
        return bool(self.row_splits.shape.as_list() == [2])

    @property
    def impressions(self) -> tf.Tensor:
        """Number of impressions: int32 scalar."""
        return tf.shape(self.of_impressions)[0]

    def sizes(self) -> tf.Tensor:
        """Impressions of each request: float32 [requests]."""
        return tf.cast(self.row_splits[1:] - self.row_splits[:-1], tf.float32)

    def segments(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Request of each impression and number of requests, as segment ops take them."""
        return self.of_impressions, self.count

    def to_impressions(self, rows: tf.Tensor) -> tf.Tensor:
        """Row of each impression's request: [requests, ...] -> [impressions, ...]."""
        return _gather_rows(rows, self.of_impressions)


def requests_of(features: Features, schema: Schema) -> Requests:
    """The requests of a batch, by an impression field's row splits (they are the same in all)."""
    return requests_of_splits(features[schema.impression_fields[0].name].row_splits)


def requests_of_splits(row_splits: tf.Tensor) -> Requests:
    """The requests of a batch, given the first impression of each: int64 [requests + 1]."""
    return Requests(row_splits, rows_of_splits(row_splits))


def splits_of_lengths(lengths: tf.Tensor) -> tf.Tensor:
    """Splits of rows with these lengths: int64 [rows] -> int64 [rows + 1]."""
    return tf.concat([[0], tf.cumsum(lengths)], 0)


def rows_of_splits(row_splits: tf.Tensor) -> tf.Tensor:
    """Row of each value of a ragged tensor: int64 [rows + 1] -> int32 [values].

    `RaggedTensor.value_rowids` makes a [rows, longest row] mask on its way; this is a few binary search steps a value.
    """
    values = tf.range(row_splits[-1])
    return tf.searchsorted(row_splits[1:], values, side="right", out_type=tf.int32)


@tf.custom_gradient
def _gather_rows(rows: tf.Tensor, places: tf.Tensor) -> tuple[tf.Tensor, object]:
    count = tf.shape(rows)[0]

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        # Not tf.gather's own gradient: that is an IndexedSlices, which the matmul behind it makes dense with a warning.
        return tf.math.unsorted_segment_sum(upstream, places, count), None

    return tf.gather(rows, places), gradient


@dataclasses.dataclass(frozen=True)
class Representation:
    """Input of a layer.

    Attributes:
        requests: which request an impression belongs to.
        context: float32 [requests, width] or None.
        impression: float32 [impressions, width] or None; one of the two is there.
    """

    requests: Requests
    context: tf.Tensor | None
    impression: tf.Tensor | None

    def to_impressions(self) -> tf.Tensor:
        """The parts side by side: float32 [impressions, width]."""
        parts = [] if self.context is None else [self.requests.to_impressions(self.context)]
        return side_by_side(parts + ([] if self.impression is None else [self.impression]))

    def with_rows(self, rows: tf.Tensor) -> Representation:
        """What a layer made of this: rows of impressions, or of requests where there is no impression part."""
        if self.impression is None:
            return Representation(self.requests, rows, None)
        return Representation(self.requests, None, rows)

    @property
    def width(self) -> int:
        """Columns of both parts together."""
        return sum(int(part.shape[1]) for part in (self.context, self.impression) if part is not None)


def join(requests: Requests, parts: Sequence[Representation]) -> Representation:
    """Representations of the same batch side by side, context with context and impression with impression."""
    context = [part.context for part in parts if part.context is not None]
    impression = [part.impression for part in parts if part.impression is not None]
    return Representation(
        requests,
        side_by_side(context) if context else None,
        side_by_side(impression) if impression else None,
    )


def side_by_side(parts: Sequence[tf.Tensor]) -> tf.Tensor:
    """Columns of all parts; of a single one itself, without a copy."""
    return parts[0] if len(parts) == 1 else tf.concat(parts, 1)
