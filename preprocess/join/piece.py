"""A joined piece as the later steps need it: codes of its distinct keys, field after field, in files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from features import keys, names
from features.schema import ID, NUMBER, Field, Schema
from preprocess.columns import ragged, rows
from preprocess.columns.rows import Rows
from preprocess.columns.segments import Arrays
from preprocess.join.joined import Joined
from preprocess.read.delays import KnownShares

# A table of all ids up to the largest beats a hash table, as long as it stays small.
_TABLE_LIMIT = 1 << 26
_TABLE_ENTRIES_PER_KEY = 64


@dataclasses.dataclass(frozen=True)
class Column:
    """Values of one field.

    Attributes:
        lengths: number of values of each row (context or impression).
        codes: place of each value's key in the piece's distinct keys, int32 [values]; of a dense field its numbers,
            float32 [values].
        weights: float32 [values]; empty for a field without weights.
    """

    lengths: np.ndarray
    codes: np.ndarray
    weights: np.ndarray


@dataclasses.dataclass(frozen=True)
class Piece:
    """Requests in output order.

    Attributes:
        keys: distinct keys, ascending, int64 [keys].
        sizes: number of impressions of each request, int64 [requests].
        has_context: bool [requests].
        labels: sample_id, click and conversion, each [impressions].
        columns: values by field name.
    """

    keys: np.ndarray
    sizes: np.ndarray
    has_context: np.ndarray
    labels: Arrays
    columns: dict[str, Column]

    def pack(self) -> Arrays:
        """Arrays for a segment file."""
        arrays = {"keys": self.keys, "sizes": self.sizes, "has_context": self.has_context, **self.labels}
        for name, column in self.columns.items():
            parts = {"lengths": _smallest(column.lengths), "codes": column.codes, "weights": column.weights}
            arrays |= {f"{name}/{part}": array for part, array in parts.items()}
        return arrays


def unpack(arrays: Arrays, schema: Schema) -> Piece:
    """The piece of `Piece.pack`."""
    columns = {
        field.name: Column(*(arrays[f"{field.name}/{part}"] for part in ("lengths", "codes", "weights")))
        for field in schema.fields
    }
    labels = {name: arrays[name] for name in rows.label_names(schema)}
    return Piece(arrays["keys"], arrays["sizes"], arrays["has_context"], labels, columns)


def make(
    joined: Joined, schema: Schema, boundaries: dict[str, tuple[float, ...]], shares: KnownShares | None = None
) -> Piece:
    """The piece of joined rows. Numbers become keys by the boundaries of their buckets, ages of open clicks shares."""
    sides = ((joined.contexts, schema.context_fields), (joined.impressions, schema.impression_fields))
    by_field = [_by_field(found, schema) for found, _ in sides]
    for columns, (_, fields) in zip(by_field, sides, strict=True):
        _make_keys(columns, fields, schema, boundaries)
    chosen = [(columns[f.name], f) for columns, (_, fields) in zip(by_field, sides, strict=True) for f in fields]
    pairs = [(field, column) for column, field in chosen if not field.is_dense]
    distinct, codes = encode([column.key for _, column in pairs])
    encoded = {
        field.name: Column(column.lengths, code, column.weight if field.weighted else np.empty(0, np.float32))
        for (field, column), code in zip(pairs, codes, strict=True)
    }
    nothing = np.empty(0, np.float32)
    encoded |= {f.name: Column(c.lengths, _numbers(c.key), nothing) for c, f in chosen if f.is_dense}
    found = joined.impressions.columns
    if rows.AGE in found:
        age = found[rows.AGE]
        found = found | {names.KNOWN_SHARE: shares.of(age) if shares else np.ones(len(age), np.float32)}
    labels = {name: found[name] for name in rows.label_names(schema)}
    return Piece(distinct, joined.sizes, joined.has_context, labels, encoded)


@dataclasses.dataclass
class _Raw:
    lengths: np.ndarray
    key: np.ndarray
    weight: np.ndarray


def _by_field(found: Rows, schema: Schema) -> dict[str, _Raw]:
    """Values of each field, rows in order."""
    row = ragged.rows_of(found.counts)
    # Stable and of 16 bits: a radix sort.
    order = np.argsort(found.field, kind="stable")
    edges = np.searchsorted(found.field[order], np.arange(len(schema.fields) + 1))
    row, key, weight = row[order], found.key[order], found.weight[order]
    columns = {}
    for field, begin, end in zip(schema.fields, edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        lengths = np.bincount(row[begin:end], minlength=len(found))
        columns[field.name] = _Raw(lengths, key[begin:end], weight[begin:end])
    return columns


def _make_keys(
    columns: dict[str, _Raw], fields: Sequence[Field], schema: Schema, boundaries: dict[str, tuple[float, ...]]
) -> None:
    """Replaces ids and numbers by their keys. Words have been keys since they were parsed."""
    for field in fields:
        column = columns[field.name]
        if field.type == ID:
            column.key = column.key if schema.unique_ids else keys.keys_of_ids(schema, field, column.key)
        if field.type == NUMBER and not field.is_dense:
            edges = np.array(boundaries[field.name], np.float32)
            buckets = keys.buckets_of_numbers(edges, _numbers(column.key))
            column.key = keys.keys_of_ids(schema, field, buckets)


def _numbers(bits: np.ndarray) -> np.ndarray:
    """Numbers of their bits: int64 or uint32 [n] -> float32 [n]."""
    return bits.astype(np.uint32).view(np.float32)


def encode(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Distinct keys of all parts, ascending (int64), and the place of each entry among them (int32)."""
    total = sum(len(part) for part in parts)
    largest = max((int(part.max()) for part in parts if len(part)), default=0)
    smallest = min((int(part.min()) for part in parts if len(part)), default=0)
    if smallest >= 0 and largest < min(_TABLE_LIMIT, _TABLE_ENTRIES_PER_KEY * total):
        return _encode_by_table(parts, largest)
    return _encode_by_hash(parts)


def _encode_by_table(parts: Sequence[np.ndarray], largest: int) -> tuple[np.ndarray, list[np.ndarray]]:
    place = np.zeros(largest + 1, np.int32)
    for part in parts:
        place[part] = 1
    distinct = np.flatnonzero(place)
    place[distinct] = np.arange(len(distinct), dtype=np.int32)
    return distinct, [place[part] for part in parts]


def _encode_by_hash(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    everything = np.concatenate([part.astype(np.int64, copy=False) for part in parts])
    encoded = pa.array(everything).dictionary_encode()
    found = encoded.dictionary.to_numpy()
    order = np.argsort(found)
    place = np.empty(len(found), np.int32)
    place[order] = np.arange(len(found), dtype=np.int32)
    codes = place[encoded.indices.to_numpy()]
    return found[order], np.split(codes, np.cumsum([len(part) for part in parts])[:-1])


def _smallest(lengths: np.ndarray) -> np.ndarray:
    """Lengths in the smallest type that holds them."""
    largest = int(lengths.max(initial=0))
    return lengths.astype(np.uint8 if largest < 1 << 8 else np.uint16 if largest < 1 << 16 else np.int64)
