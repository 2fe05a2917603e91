"""Rows of an input file as they stand there, by their places: for those that are rejected."""

from __future__ import annotations

import bisect
import json
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pyarrow.parquet

import storage
from features import names
from features.raw_log import cells, compression, csv_rows, csv_table, parquet_batches
from features.raw_log.csv_rows import Form
from features.raw_log.log_files import LogFile
from features.schema import Schema

_STEP = 1 << 16
_PARQUET_BYTES = 1 << 24


def rows_at(file: LogFile, offsets: Sequence[int], schema: Schema) -> Iterator[bytes]:
    """Rows at ascending places of a file, with their line ends. A compressed file is read through."""
    with storage.reading(file.path) as opened:
        if file.input_format == names.PARQUET:
            yield from _parquet_rows(opened, offsets)
            return
        form = None
        if file.input_format == names.CSV:
            form = csv_table.form_of(file.columns, schema)
        with compression.plain(opened, file.path) as plain:
            window = _Window(plain, file.compressed, form)
            for offset in offsets:
                yield window.row(offset)


class _Window:
    """The part of a file that was read last."""

    def __init__(self, opened: BinaryIO, only_forward: bool, form: Form | None) -> None:
        self._opened = opened
        self._only_forward = only_forward
        self._form = form
        self._data, self._offset = b"", 0

    def row(self, offset: int) -> bytes:
        """The row that begins at an offset, which is not before that of the last call."""
        if offset > self._offset + len(self._data):
            self._go_to(offset)
        while True:
            begin = offset - self._offset
            end = self._data.find(b"\n", begin) + 1
            if end and (self._form is None or self._data.find(b'"', begin, end) < 0):
                return self._data[begin:end]
            is_end = not self._read_on(offset)
            found = self._quoted_row(is_end) if end or is_end else b""
            if found or is_end:
                return found

    def _quoted_row(self, is_end: bool) -> bytes:
        """The row at the begin of what was read, where it is there as a whole."""
        if self._form is None:
            return self._data
        found = csv_rows.cut(self._data, self._offset, self._form, is_end)
        return self._data[: found.edges[1]] if len(found) else b""

    def _go_to(self, offset: int) -> None:
        if self._only_forward:
            count = offset - self._offset - len(self._data)
            while count > 0 and (read := len(self._opened.read(min(count, 1 << 22)))):
                count -= read
        else:
            self._opened.seek(offset)
        self._data, self._offset = b"", offset

    def _read_on(self, offset: int) -> bool:
        rest = self._data[offset - self._offset :]
        part = self._opened.read(max(_STEP, len(rest)))
        self._data, self._offset = rest + part, offset
        return bool(part)


def _parquet_rows(opened: BinaryIO, places: Sequence[int]) -> Iterator[bytes]:
    """Rows as JSON lines. Only the row groups that hold them are read."""
    with parquet_batches.open_file(opened) as parquet:
        end = 0
        for group in range(parquet.metadata.num_row_groups):
            first, end = end, end + parquet.metadata.row_group(group).num_rows
            mine = places[bisect.bisect_left(places, first) : bisect.bisect_left(places, end)]
            if mine:
                yield from _rows_of_group(parquet, group, [place - first for place in mine])


def _rows_of_group(parquet: pyarrow.parquet.ParquetFile, group: int, wanted: Sequence[int]) -> Iterator[bytes]:
    waiting, first = list(reversed(wanted)), 0
    for batch in parquet_batches.read(parquet, group, None, _PARQUET_BYTES):
        while waiting and waiting[-1] < first + len(batch):
            number = waiting.pop() - first
            row = {name: cells.shown(batch.column(place)[number]) for place, name in enumerate(batch.schema.names)}
            yield json.dumps(row, default=str, ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\n"
        first += len(batch)
