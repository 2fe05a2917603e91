"""Makes a batch of the columns of a block."""

from __future__ import annotations

import tensorflow as tf

from features import names
from features.schema import Schema
from input_fn import parsing
from input_fn.parsing import Columns
from input_fn.pieces import Pieces

Batch = tuple[Columns, Columns]


def gather(columns: Columns, chosen: Pieces, schema: Schema) -> Columns:
    """The columns of some pieces: one row of context and a run of impressions for each.

    Context is copied here and not before: a piece is three numbers until its batch is formed.
    """
    impressions = tf.ragged.range(chosen.start, chosen.limit)
    of_impressions = set(parsing.impression_keys(schema))
    return {
        key: impressions.with_values(tf.gather(column.values, impressions.values))
        if key in of_impressions
        else tf.gather(column, chosen.request)
        for key, column in columns.items()
    }


def split_labels(columns: Columns) -> Batch:
    """Features, sample_id among them, and labels, the weight among them where the log has one."""
    labels = {name: columns[name] for name in names.LABELS if name in columns}
    return {key: column for key, column in columns.items() if key not in labels}, labels
