"""Arrow's ways to keep lists (list, large, fixed-size, views, maps), all as lengths and one array of entries."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.raw_log import arrow_types


def decoded(column: pa.Array) -> pa.Array:
    """The column without dictionary, run-end or extension encoding."""
    while True:
        if isinstance(column, pa.DictionaryArray):
            column = column.dictionary_decode()
        elif isinstance(column, pa.RunEndEncodedArray):
            column = pc.run_end_decode(column)
        elif isinstance(column, pa.ExtensionArray):
            column = column.storage
        else:
            return column


def entries(column: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Number of entries of each cell (int32 [rows], 0 for null) and all entries, cell after cell.

    Entries of a map are structs of key and value. Made of offsets rather than by Arrow's casts, of which some
    versions lose entries of views.
    """
    kind = column.type
    lengths, first = _extents(column)
    lengths = np.where(column.is_valid().to_numpy(zero_copy_only=False), lengths, 0)
    values = column.values
    if pa.types.is_map(kind):
        values = pa.StructArray.from_arrays([column.keys, column.items], ["key", "value"])
        # `keys` and `items` begin where the (sliced) column does, offsets where its buffer does.
        first = first - (first[0] if len(first) else 0)
    edges = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=edges[1:])
    total = int(edges[-1])
    begin = int(first[0]) if len(first) else 0
    if np.array_equal(first, edges[:-1] + begin):
        return lengths.astype(np.int32), values.slice(begin, total)
    places = np.repeat(first - edges[:-1], lengths) + np.arange(total)
    return lengths.astype(np.int32), values.take(pa.array(places))


def _extents(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Length and first entry of each cell, the latter as a place in `column.values`: int64 [rows] each."""
    kind = column.type
    if pa.types.is_fixed_size_list(kind):
        first = (np.arange(len(column)) + column.offset) * kind.list_size
        return np.full(len(column), kind.list_size, np.int64), first.astype(np.int64)
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return column.sizes.to_numpy().astype(np.int64), column.offsets.to_numpy().astype(np.int64)
    offsets = column.offsets.to_numpy().astype(np.int64)
    return np.diff(offsets), offsets[:-1]


def is_list(column: pa.Array) -> bool:
    """Whether `entries` takes the column."""
    return arrow_types.is_list(column.type)
