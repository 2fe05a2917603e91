"""The keys of `features.keys`, computed by TensorFlow ops: what the served model does with raw values."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from features import keys
from features.schema import Field, Schema


def mix64(values: tf.Tensor) -> tf.Tensor:
    """SplitMix64 finalizer: int64 [n] -> int64 [n]."""
    mixed = tf.bitcast(values, tf.uint64)
    for shift, multiplier in zip(keys.MIX_SHIFTS[:2], keys.MIX_MULTIPLIERS, strict=True):
        mixed = _xor_shifted(mixed, shift) * tf.constant(multiplier, tf.uint64)
    return tf.bitcast(_xor_shifted(mixed, keys.MIX_SHIFTS[2]), tf.int64)


def _xor_shifted(values: tf.Tensor, shift: int) -> tf.Tensor:
    return tf.bitwise.bitwise_xor(values, tf.bitwise.right_shift(values, tf.constant(shift, tf.uint64)))


def keys_of_ids(schema: Schema, field: Field, values: tf.Tensor) -> tf.Tensor:
    """Keys of ids (or of a number's buckets): int64 [n] -> int64 [n]."""
    if schema.unique_ids:
        return values
    return mix64(values + tf.constant(keys.fingerprint64(field.vocabulary), tf.int64))


def keys_of_strings(field: Field, values: tf.Tensor) -> tf.Tensor:
    """Keys of words: string [n] -> int64 [n]. The tensor must have rank 1: of others the op hashes rows."""
    words = tf.strings.join([tf.constant(keys.string_prefix(field)), tf.ensure_shape(values, [None])])
    return tf.bitcast(tf.fingerprint(words), tf.int64)


def buckets_of_numbers(boundaries: Sequence[float], values: tf.Tensor) -> tf.Tensor:
    """Bucket of each number: float32 [n] -> int64 [n], by the same comparison as in `features.keys`."""
    edges = tf.constant(list(boundaries), tf.float32)
    return tf.searchsorted(edges, values, side="right", out_type=tf.int64)
