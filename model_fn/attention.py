"""Attention of a candidate over a history: which of the ids that a context lists matter for this impression.

In the manner of DIN (KDD 2018): keys and values are the rows of the history's ids, the query is the candidate's pooled
vector. Rows of a history are laid out once a context, whatever the number of its impressions; only the query and the
scores belong to an impression. A score is q W k / sqrt(size) + log(weight): where q and k say nothing yet, the result
is the weighted mean of the history, by the log's own weights. Of a history whose order the schema tells (`newest`) the
newest entries are looked at, and a number learned for each place from the newest is added to its score.
"""

from __future__ import annotations

import math

import tensorflow as tf

from features.schema import LAST, Field, Schema
from model_fn import lookup, narrow, scopes
from model_fn.hyperparameters import Hyperparameters, parse_attention
from model_fn.lookup import Lookup
from model_fn.representation import Requests

# Score of a place that holds no id: exp of it is 0, and it is far enough from overflow in every precision.
_NOTHING = -1e9
_LEAST_WEIGHT = 1e-6
# Of a history that is looked at whole: places that have a number of their own.
_MOST_PLACES = 100


def attended(
    found: Lookup, rows: tf.Tensor, pooled: dict[str, tf.Tensor], schema: Schema, settings: Hyperparameters
) -> list[tf.Tensor]:
    """A vector for each history that `attention` names: float32 [impressions, embedding_size] each.

    Args:
        found: lookup of the batch.
        rows: float32 [rows, embedding_size], the table's rows that the lookup names.
        pooled: vectors of each field.
        schema: of the fields.
        settings: attention, attention_length.

    Raises:
        ValueError: `attention` names a field that cannot be used so; the message says which and why.
    """
    fields = len(lookup.context_fields(schema))
    return [
        _attend(_History(found, rows, place, fields, schema.by_name[history], settings), pooled[candidate], history)
        for history, place, candidate in _pairs(schema, settings)
    ]


def _pairs(schema: Schema, settings: Hyperparameters) -> list[tuple[str, int, str]]:
    """Name of each history, its place among the context fields, and its candidate."""
    histories = {field.name: place for place, field in enumerate(lookup.context_fields(schema)) if field.is_many}
    candidates = {field.name for field in lookup.impression_fields(schema)}
    pairs = []
    for history, candidate in parse_attention(settings.attention):
        if history not in histories:
            raise ValueError(
                f"attention {settings.attention!r}: {history!r} is no context field of kind many; "
                f"there are {', '.join(histories) or 'none'}"
            )
        if candidate not in candidates:
            raise ValueError(
                f"attention {settings.attention!r}: {candidate!r} is no field of an impression; "
                f"there are {', '.join(sorted(candidates))}"
            )
        pairs.append((history, histories[history], candidate))
    return pairs


class _History:
    """Ids of one context field, laid out side by side: [requests, longest].

    Attributes:
        keys: float32 [requests, longest, embedding_size], 0 where there is no id.
        log_weights: float32 [requests, longest], very low there.
        places: most entries that it may have, the first being the newest; 0: their order means nothing.
    """

    def __init__(
        self, found: Lookup, rows: tf.Tensor, place: int, fields: int, field: Field, settings: Hyperparameters
    ) -> None:
        requests, size = found.requests, int(rows.shape[1])
        bags, row_of = found.cells[:, 0], found.cells[:, 1]
        own = tf.where((bags < requests.count * fields) & tf.equal(bags % fields, place))[:, 0]
        request = tf.gather(bags, own) // fields
        # Entries of a field come in the order of their requests, so a place is a distance from the first.
        counts = tf.math.unsorted_segment_sum(tf.ones_like(request), request, requests.count)
        at = tf.range(tf.shape(request)[0]) - tf.gather(tf.cumsum(counts, exclusive=True), request)
        if field.newest == LAST:
            at = tf.gather(counts, request) - 1 - at
        if settings.attention_length:
            kept = tf.where(at < settings.attention_length)[:, 0]
            own, request, at = (tf.gather(column, kept) for column in (own, request, at))
        # One place at least: a softmax over none has no value.
        longest = tf.reduce_max(tf.concat([at, [0]], 0)) + 1
        cell, cells = request * longest + at, requests.count * longest
        entries = narrow.widened(tf.gather(rows, tf.gather(row_of, own)), field, settings)
        weights = tf.math.log(tf.maximum(tf.gather(found.weights, own), _LEAST_WEIGHT))
        holds = tf.math.unsorted_segment_sum(tf.ones_like(weights), cell, cells) > 0
        weights = tf.math.unsorted_segment_sum(weights, cell, cells)
        self.requests = requests
        self.places = (settings.attention_length or _MOST_PLACES) if field.newest else 0
        self.keys = tf.reshape(tf.math.unsorted_segment_sum(entries, cell, cells), [-1, longest, size])
        self.log_weights = tf.reshape(tf.where(holds, weights, _NOTHING), [-1, longest])


def _attend(history: _History, candidate: tf.Tensor, name: str) -> tf.Tensor:
    """Weighted mean of the history's rows for each impression: float32 [impressions, size]."""
    size = int(candidate.shape[1])
    with tf.compat.v1.variable_scope(scopes.scope("attention", name)):
        kernel = tf.compat.v1.get_variable(
            "kernel", [size, size], initializer=tf.compat.v1.initializers.identity(), use_resource=True
        )
        bias = _bias_of_places(history)
    requests = history.requests
    queries, cell = _side_by_side(requests, tf.matmul(candidate, kernel) / math.sqrt(size))
    scores = tf.matmul(queries, history.keys, transpose_b=True) + (history.log_weights + bias)[:, tf.newaxis]
    found = tf.matmul(tf.nn.softmax(scores), history.keys)
    return tf.gather(tf.reshape(found, [-1, size]), cell)


def _bias_of_places(history: _History) -> tf.Tensor:
    """What is added to the scores of each place: float32 [longest], 0 where the order means nothing."""
    longest = tf.shape(history.keys)[1]
    if not history.places:
        return tf.zeros([longest])
    bias = tf.compat.v1.get_variable(
        "place_bias", [history.places], initializer=tf.compat.v1.initializers.zeros(), use_resource=True
    )
    # All places that are far away share the last number.
    return tf.gather(bias, tf.minimum(tf.range(longest), history.places - 1))


def _side_by_side(requests: Requests, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Rows of impressions laid out as [requests, most impressions, size], and where each went."""
    first = tf.cast(tf.gather(requests.row_splits, requests.of_impressions), tf.int32)
    at = tf.range(requests.impressions) - first
    most = tf.reduce_max(tf.concat([at, [0]], 0)) + 1
    cell = requests.of_impressions * most + at
    laid = tf.math.unsorted_segment_sum(rows, cell, requests.count * most)
    return tf.reshape(laid, [-1, most, int(rows.shape[1])]), cell
