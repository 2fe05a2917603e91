"""Ids of one vocabulary in those of another, by key."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from features import parse_spec
from features.schema import Field
from features.vocabulary import UNKNOWN, Vocabulary

_BLOCK = 1 << 19

Columns = dict[str, tf.Tensor | tf.RaggedTensor]


def id_map(source: Vocabulary, target: Vocabulary) -> np.ndarray:
    """For each id of `source` the id of the same key in `target`: int32 [source.size], UNKNOWN where there is none.

    Missing and out-of-vocabulary ids are those of the field of the same name.
    """
    found = np.full(source.size, UNKNOWN, np.int32)
    for name in source.schema.by_name.keys() & target.schema.by_name.keys():
        here, there = source.schema.by_name[name], target.schema.by_name[name]
        found[source.schema.missing_id(here)] = target.schema.missing_id(there)
        found[source.schema.oov_id(here)] = target.schema.oov_id(there)
    for start in range(0, len(source.keys), _BLOCK):
        block = slice(start, start + _BLOCK)
        found[source.ids[block]] = target.lookup(source.keys[block])
    return found


def unused_ids(known: Vocabulary) -> np.ndarray:
    """Ids that no key has, ascending: int64 [n]."""
    used = np.zeros(known.size, bool)
    used[: known.schema.reserved_ids] = True
    used[known.ids] = True
    return np.flatnonzero(~used)


class Translator:
    """Features of records in the ids of a model, as if the job had used the model's vocabulary.

    A key that the model does not have becomes its field's out-of-vocabulary id, or is dropped, as the model's own job
    did. Only keys that the records' vocabulary has not (rare ones) cannot be told apart any more.
    """

    def __init__(self, records: Vocabulary, model: Vocabulary) -> None:
        self._map = id_map(records, model)
        self._model = model

    def features(self, features: Columns) -> Columns:
        """Features of a batch with the model's ids; other columns stay."""
        changed = dict(features)
        for field in self._model.schema.fields:
            if not field.is_dense:
                changed |= self._field(field, features)
        return changed

    def _field(self, field: Field, features: Columns) -> Columns:
        column = features[field.name]
        flat = parse_spec.flat(column)
        ids = tf.numpy_function(self._lookup, [flat], tf.int64)
        ids.set_shape(flat.shape)
        if field.is_many and self._model.drops_unknown:
            return _without_unknown(field, features, ids, self._model.schema.missing_id(field))
        ids = tf.where(tf.equal(ids, UNKNOWN), tf.constant(self._model.schema.oov_id(field), tf.int64), ids)
        return {field.name: column.with_flat_values(ids) if isinstance(column, tf.RaggedTensor) else ids}

    def _lookup(self, ids: np.ndarray) -> np.ndarray:
        return self._map[ids].astype(np.int64)


def _without_unknown(field: Field, features: Columns, ids: tf.Tensor, missing_id: int) -> Columns:
    """Lists of ids without the unknown ones; what is empty then has the missing id, with weight 1."""
    column = features[field.name]
    known = tf.not_equal(ids, UNKNOWN)
    found = {field.name: _kept_or(column.with_flat_values(ids), known, tf.constant(missing_id, tf.int64))}
    if field.weighted:
        found[field.weight_key] = _kept_or(features[field.weight_key], known, tf.constant(1.0))
    return found


def _kept_or(column: tf.RaggedTensor, keep: tf.Tensor, filler: tf.Tensor) -> tf.RaggedTensor:
    """Values to keep of each innermost list; `filler` where none is left."""
    lists = column if column.ragged_rank == 1 else column.values
    kept = tf.ragged.boolean_mask(lists, lists.with_values(keep))
    empty = tf.cast(tf.equal(kept.row_lengths(), 0), kept.row_splits.dtype)
    fill = tf.RaggedTensor.from_row_lengths(tf.fill([tf.reduce_sum(empty)], filler), empty)
    filled = tf.concat([kept, fill], axis=1)
    return filled if column.ragged_rank == 1 else column.with_values(filled)
