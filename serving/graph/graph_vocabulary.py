"""The vocabulary inside a SavedModel: its two arrays are assets, a hash table is made of them when the model is loaded.

A table and not a search in the sorted arrays: a request of 600 history ids and 500 candidates asks for some 8,000 ids,
and each step of a search over millions waits for memory. benchmarks/serving_vocabulary.py measures both.
"""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf

from features import graph_keys, graph_scaling, keys, names
from features.schema import NUMBER, STRING, Field, Schema
from features.vocabulary import ID_DTYPE, KEY_DTYPE, UNKNOWN, Vocabulary


class GraphVocabulary:
    """What a graph needs of a vocabulary: keys of raw values, new ids of keys, and what becomes of unknown ones."""

    def __init__(self, vocabulary: Vocabulary, directory: str) -> None:
        """Adds the table to the default graph.

        Args:
            vocabulary: as loaded from the directory.
            directory: holds the arrays, which are copied into the SavedModel when it is written.
        """
        self.schema: Schema = vocabulary.schema
        self.drops_unknown = vocabulary.drops_unknown
        self._boundaries = vocabulary.boundaries
        self._moments = vocabulary.moments
        known = _array_asset(directory, names.VOCABULARY_KEYS_FILE, vocabulary.keys.astype(KEY_DTYPE, copy=False))
        ids = _array_asset(directory, names.VOCABULARY_IDS_FILE, vocabulary.ids.astype(ID_DTYPE, copy=False))
        if not len(vocabulary.keys):
            # A table refuses to be initialized with nothing.
            known, ids = tf.pad(known, [[0, 1]]), tf.pad(ids, [[0, 1]], constant_values=UNKNOWN)
        self._table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(known, tf.cast(ids, tf.int64)), UNKNOWN
        )

    def keys(self, field: Field, values: tf.Tensor) -> tf.Tensor:
        """Keys of raw values: int64, string or float32 [n] -> int64 [n]."""
        if field.type == STRING:
            return graph_keys.keys_of_strings(field, values)
        if field.type == NUMBER:
            values = graph_keys.buckets_of_numbers(self._boundaries[field.name], values)
        return graph_keys.keys_of_ids(self.schema, field, values)

    def scaled(self, field: Field, values: tf.Tensor) -> tf.Tensor:
        """Numbers of a dense field as the model gets them: float32 [n] -> float32 [n]."""
        return graph_scaling.scaled(field, values, self._moments.get(field.name))

    def lookup(self, keys: tf.Tensor) -> tf.Tensor:
        """New ids of keys: int64 [n] -> int64 [n], UNKNOWN where the vocabulary has none."""
        return self._table.lookup(keys)


def _array_asset(directory: str, name: str, array: np.ndarray) -> tf.Tensor:
    """The array, read from its file, which is an asset of the SavedModel: [n].

    The graph knows the file's size and fingerprint: beside another file the version is not loaded, by no server.
    """
    asset = tf.constant(os.path.join(directory, name), name="vocabulary_asset")
    tf.compat.v1.add_to_collection(tf.compat.v1.GraphKeys.ASSET_FILEPATHS, asset)
    contents = tf.io.read_file(asset)
    made = tf.bitcast(tf.fingerprint(contents[tf.newaxis])[0], tf.int64)
    same = tf.equal(tf.strings.length(contents), array.nbytes) & tf.equal(made, keys.fingerprint64(array.tobytes()))
    problem = f"the vocabulary file {name} is not the one of {len(array)} values that this model was exported with"
    with tf.control_dependencies([tf.debugging.Assert(same, [problem])]):
        return tf.io.decode_raw(tf.identity(contents), tf.as_dtype(array.dtype), little_endian=True)
