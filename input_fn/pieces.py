"""Cuts the requests of a block into pieces and deals them to batches: index arithmetic, no column is touched."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


class Pieces(NamedTuple):
    """Runs of consecutive impressions of one request each; int64 [pieces], in order of their requests.

    Attributes:
        request: the request's number in the block.
        start: first impression, counted over the block.
        limit: one past the last impression.
    """

    request: tf.Tensor
    start: tf.Tensor
    limit: tf.Tensor

    def take(self, order: tf.Tensor) -> Pieces:
        """The pieces at these places."""
        return Pieces(*(tf.gather(part, order) for part in self))


def cut(row_splits: tf.Tensor, max_impressions: int) -> Pieces:
    """Cuts requests into as few pieces as the limit allows, of nearly equal size.

    Args:
        row_splits: int64 [requests + 1], where each request's impressions start in the block.
        max_impressions: of a piece; 0: no limit.
    """
    starts = row_splits[:-1]
    sizes = row_splits[1:] - starts
    pieces = tf.cast(sizes > 0, tf.int64)
    if max_impressions:
        pieces = (sizes + max_impressions - 1) // max_impressions
    ranks = tf.ragged.range(pieces)
    request = ranks.value_rowids()
    size, parts, start = (tf.gather(part, request) for part in (sizes, pieces, starts))
    rank = ranks.values
    return Pieces(request, start + size * rank // parts, start + size * (rank + 1) // parts)


def number_of_batches(pieces: Pieces, batch_size: int) -> tf.Tensor:
    """Batches that bring the block's impressions nearest to `batch_size` each: int64 scalar, 0 of an empty block.

    Not more than there are pieces, for each batch gets one or more: some pieces may be longer than a batch.
    """
    impressions = tf.reduce_sum(pieces.limit - pieces.start)
    nearest = (impressions + batch_size // 2) // batch_size
    return tf.minimum(tf.maximum(nearest, 1), tf.size(pieces.request, tf.int64))


def dealing_order(pieces: Pieces, seed: tf.Tensor) -> tf.Tensor:
    """Order from which batch b of B takes the places b, b + B, b + 2B ...: int64 [pieces].

    Like cards: neighbours fall into different batches, so the pieces of a request share a batch only where it has
    more pieces than there are batches, and all batches get as many pieces (one more or less). The order within a
    request is random; else a batch could get nothing but first pieces, the top of each page. Requests come in random
    order already.
    """
    place = tf.cast(pieces.request, tf.float64)
    return tf.argsort(place + tf.random.stateless_uniform(tf.shape(place), seed, dtype=tf.float64))
