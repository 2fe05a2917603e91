"""Records of a piece: requests, or parts of long ones, as serialized Examples."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from features import keys, names
from features.schema import Field, Schema
from preprocess.columns import ragged, rows
from preprocess.join.piece import Piece
from preprocess.write import example_encoder
from preprocess.write.remap import Remapped

# Bytes of records that are made at a time: flat records repeat the context and are many times larger than a piece.
_BYTES_AT_ONCE = 16 << 20


class RecordEncoder:
    """Encodes a remapped piece.

    Args:
        schema: gives the keys.
        piece: the requests and labels.
        columns: the remapped values.
        limit: largest number of impressions in a record.
        seed: of the order of the records, a hash of their first sample ids, where requests are cut on purpose: parts
            that stood side by side would be read side by side. None: in the order of the requests.
    """

    def __init__(
        self, schema: Schema, piece: Piece, columns: dict[str, Remapped], limit: int, seed: int | None = None
    ) -> None:
        self._schema = schema
        self._piece = piece
        self._columns = columns
        parts = -(-piece.sizes // limit)
        self._request = np.repeat(np.arange(len(parts)), parts)
        nth = ragged.positions(np.zeros(len(parts), np.int64), parts)
        self._sizes = np.minimum(piece.sizes[self._request] - nth * limit, limit)
        self._order = np.arange(len(self._sizes)) if seed is None else self._mixed_order(seed)

    def batches(self) -> Iterator[pa.Array]:
        """Serialized Examples, in order."""
        context = [entry for field in self._schema.context_fields for entry in self._context_entries(field)]
        impression = [entry for field in self._schema.impression_fields for entry in self._impression_entries(field)]
        impression += [self._label(key) for key in rows.label_names(self._schema)]
        for begin, end in self._cuts(context, impression):
            records = self._order[begin:end]
            request, record = pa.array(self._request[records]), pa.array(records)
            repeated = [entry.take(request) for entry in context]
            yield example_encoder.examples(repeated + [entry.take(record) for entry in impression])

    def _mixed_order(self, seed: int) -> np.ndarray:
        first = self._piece.labels[names.SAMPLE_ID][ragged.starts(self._sizes)[:-1]].astype(np.int64)
        mixed = keys.mix64(first ^ keys.mix64(np.array([seed], np.int64))).view(np.uint64)
        return np.argsort(mixed, kind="stable")

    def _context_entries(self, field: Field) -> Iterator[pa.Array]:
        column = self._columns[field.name]
        if field.is_dense:
            yield example_encoder.float_entries(field.name, column.ids, column.lengths)
            return
        yield example_encoder.int64_entries(field.name, column.ids, column.lengths)
        if field.weighted:
            yield example_encoder.float_entries(field.weight_key, column.weights, column.lengths)

    def _impression_entries(self, field: Field) -> Iterator[pa.Array]:
        column = self._columns[field.name]
        lengths = ragged.sums(column.lengths, self._sizes)
        if field.is_dense:
            yield example_encoder.float_entries(field.name, column.ids, lengths)
            return
        yield example_encoder.int64_entries(field.name, column.ids, lengths)
        if field.is_many:
            yield example_encoder.int64_entries(field.length_key, column.lengths, self._sizes)
        if field.weighted:
            yield example_encoder.float_entries(field.weight_key, column.weights, lengths)

    def _label(self, key: str) -> pa.Array:
        values = self._piece.labels[key]
        if key in self._schema.columns.label_floats:
            return example_encoder.float_entries(key, values, self._sizes)
        return example_encoder.int64_entries(key, values.astype(np.int64), self._sizes)

    def _cuts(self, context: list[pa.Array], impression: list[pa.Array]) -> Iterator[tuple[int, int]]:
        """Ranges of records of about `_BYTES_AT_ONCE` bytes."""
        total = np.zeros(len(self._sizes), np.int64)
        for entry in context:
            total += example_encoder.sizes(entry)[self._request]
        for entry in impression:
            total += example_encoder.sizes(entry)
        total = total[self._order]
        group = (np.cumsum(total) - total) // _BYTES_AT_ONCE
        edges = [*np.flatnonzero(np.diff(group, prepend=-1)).tolist(), len(group)]
        return itertools.pairwise(edges)
