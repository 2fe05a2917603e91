"""The key of a feature: one int64 for a field and a value, the same in NumPy and in the TensorFlow graph.

Under `unique_ids` the key of an id is the id. Otherwise:

    id, bucket of a number   mix64(value + farmhash64(name))       different for different values of a field
    string                   farmhash64(name + "=" + value)        value in UTF-8, as it stands in the log

The name is the field's vocabulary: fields of one vocabulary share the keys of equal values, so their ids and rows.

mix64 is the finalizer of SplitMix64 (Steele, Lea, Flood 2014). The graph's half is in `graph_keys`.
"""

from __future__ import annotations

from collections.abc import Iterable

import farmhash
import numpy as np

from features.schema import STRING, Field, Schema

MIX_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
MIX_SHIFTS = (30, 27, 31)


def fingerprint64(data: bytes | str) -> int:
    """FarmHash Fingerprint64 of the bytes (of a text: its UTF-8), as a signed 64-bit number."""
    raw = data if isinstance(data, bytes) else data.encode("utf-8")
    unsigned = farmhash.fingerprint64(raw)
    return unsigned - (1 << 64) if unsigned >= 1 << 63 else unsigned


def mix64(values: np.ndarray) -> np.ndarray:
    """SplitMix64 finalizer: int64 [n] -> int64 [n], one to one, every input bit reaching every output bit."""
    mixed = values.astype(np.int64, copy=False).view(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(MIX_SHIFTS[0]))) * np.uint64(MIX_MULTIPLIERS[0])
    mixed = (mixed ^ (mixed >> np.uint64(MIX_SHIFTS[1]))) * np.uint64(MIX_MULTIPLIERS[1])
    return (mixed ^ (mixed >> np.uint64(MIX_SHIFTS[2]))).view(np.int64)


def unmix64(mixed: np.ndarray) -> np.ndarray:
    """The values that `mix64` mixed: int64 [n] -> int64 [n]."""
    values = mixed.astype(np.int64, copy=False).view(np.uint64)
    values = _unshifted(values, MIX_SHIFTS[2])
    for multiplier, shift in zip(reversed(MIX_MULTIPLIERS), reversed(MIX_SHIFTS[:2]), strict=True):
        values = _unshifted(values * np.uint64(pow(multiplier, -1, 1 << 64)), shift)
    return values.view(np.int64)


def _unshifted(values: np.ndarray, shift: int) -> np.ndarray:
    """Undoes x ^ (x >> shift): each round brings `shift` more bits back."""
    found = values
    for _ in range(64 // shift):
        found = values ^ (found >> np.uint64(shift))
    return found


def keys_of_ids(schema: Schema, field: Field, values: np.ndarray) -> np.ndarray:
    """Keys of ids (or of a number's buckets): int64 [n] -> int64 [n]."""
    values = np.asarray(values, np.int64)
    if schema.unique_ids:
        return values
    with np.errstate(over="ignore"):
        return mix64(values + np.int64(fingerprint64(field.vocabulary)))


def ids_of_keys(schema: Schema, field: Field, keys: np.ndarray) -> np.ndarray:
    """The ids (or a number's buckets) that have these keys: int64 [n] -> int64 [n]."""
    if schema.unique_ids:
        return keys
    with np.errstate(over="ignore"):
        return unmix64(keys) - np.int64(fingerprint64(field.vocabulary))


def keys_of_strings(field: Field, values: Iterable[bytes | str]) -> np.ndarray:
    """Keys of words: n values -> int64 [n]. Give distinct values: each costs a call."""
    prefix = string_prefix(field)
    raw = (value if isinstance(value, bytes) else value.encode("utf-8") for value in values)
    return np.fromiter((fingerprint64(prefix + value) for value in raw), np.int64)


def string_prefix(field: Field) -> bytes:
    """What stands before a word when its key is made."""
    if field.type != STRING:
        raise ValueError(f"field {field.name} is of type {field.type}, not string")
    return field.vocabulary.encode("utf-8") + b"="


def buckets_of_numbers(boundaries: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Bucket of each number: float32 [n] -> int64 [n]; bucket i holds boundaries[i-1] <= value < boundaries[i].

    Both sides are rounded to float32, which is what a record and a serving request carry: else a value that is
    a boundary could fall into one bucket in training and into its neighbour in serving.
    """
    edges = np.asarray(boundaries, np.float32)
    return np.searchsorted(edges, np.asarray(values, np.float32), side="right").astype(np.int64)
