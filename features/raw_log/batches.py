"""A block of a table's file to raw values, batch after batch: CSV in pieces of bytes, Parquet in batches of rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pyarrow

import storage
from features import names
from features.raw_log import compression, csv_rows, csv_table, log_files, parquet_batches, spelling, table
from features.raw_log.csv_rows import CsvRows
from features.raw_log.log_files import Block, InputError, LogFile
from features.raw_log.table import RawTable
from features.schema import Schema

# A row of CSV may have so many bytes; a file without line ends must not fill the memory.
LONGEST_ROW = 1 << 28


@dataclasses.dataclass(frozen=True)
class Batch:
    """Some rows of a file, in order.

    Attributes:
        offsets: of each row in the file: bytes, or rows of a Parquet file: int64 [rows].
        cut: places (in `offsets`) of the rows that could be cut into cells, ascending: int64 [cut].
        table: raw values of these.
        faults: index in `reject_reasons.REASONS` by place of the other rows.
        cells: of the columns that the schema names, for messages: Arrow arrays [cut] by name.
        source: the bytes that a batch of CSV was read from.
    """

    offsets: np.ndarray
    cut: np.ndarray
    table: RawTable
    faults: dict[int, int]
    cells: dict[str, pyarrow.Array]
    source: CsvRows | None = None


class TableReader:
    """Reader of the blocks of a file that `log_files.described` described.

    Args:
        file: of CSV or Parquet.
        schema: what to read.
        with_labels: whether to read click and conversion.
        piece: bytes of a batch: of CSV as it stands, of Parquet in memory.
    """

    def __init__(self, file: LogFile, schema: Schema, piece: int, with_labels: bool = True) -> None:
        self._file, self._schema = file, schema
        self._piece = piece
        self._with_labels = with_labels
        self._of_folders = dict(file.partitions)
        self._names = [name for name in table.column_names(schema, with_labels) if name not in self._of_folders]

    def batches(self, block: Block) -> Iterator[Batch]:
        """Rows of a block. Raises OSError and InputError, which name the file."""
        with log_files.naming(self._file.path, block.start), storage.reading(self._file.path) as opened:
            if self._file.input_format == names.PARQUET:
                yield from self._of_row_group(opened, block.start)
            elif self._file.columns:
                yield from self._of_bytes(opened, block)

    def _of_row_group(self, opened: BinaryIO, group: int) -> Iterator[Batch]:
        first = sum(self._file.row_groups[:group])
        with parquet_batches.open_file(opened) as parquet:
            for batch in parquet_batches.read(parquet, group, self._names, self._piece):
                cells = self._with_folders({name: batch.column(name) for name in self._names}, len(batch))
                offsets = np.arange(first, first + len(batch))
                found = table.read_table(cells, self._schema, self._with_labels)
                yield Batch(offsets, np.arange(len(batch)), found, {}, cells)
                first += len(batch)

    def _of_bytes(self, opened: BinaryIO, block: Block) -> Iterator[Batch]:
        reader = csv_table.CsvTable(self._file.columns, self._names, self._schema.separator, self._schema.encoding)
        form = csv_table.form_of(self._file.columns, self._schema)
        for rows in self._rows(opened, block, form):
            cells = reader.read(rows)
            columns = cells.columns
            if self._schema.trim:
                columns = {name: spelling.trimmed(column) for name, column in columns.items()}
            columns = self._with_folders(columns, len(cells.rows))
            found = table.read_table(columns, self._schema, self._with_labels)
            yield Batch(rows.edges[:-1] + rows.offset, cells.rows, found, cells.faults, columns, rows)

    def _with_folders(self, cells: dict[str, pyarrow.Array], rows: int) -> dict[str, pyarrow.Array]:
        """The columns, and those that the file's folders name: texts, whatever the format."""
        made = {name: pyarrow.repeat(value.encode(), rows) for name, value in self._of_folders.items()}
        return cells | made

    def _rows(self, opened: BinaryIO, block: Block, form: csv_rows.Form) -> Iterator[CsvRows]:
        if self._file.compressed:
            with compression.plain(opened, self._file.path) as plain:
                plain.read(self._file.first)
                yield from pieces(plain, self._file, self._file.first, None, self._piece, form)
            return
        start, end = (row_start(opened, self._file, place, form.separator) for place in (block.start, block.end))
        opened.seek(start)
        yield from pieces(opened, self._file, start, end, self._piece, form)


def pieces(
    opened: BinaryIO, file: LogFile, start: int, end: int | None, size: int, form: csv_rows.Form
) -> Iterator[CsvRows]:
    """The rows from `start`, where one begins, to `end` (None: of the file), of about `size` bytes at a time."""
    rest, offset = b"", start
    while True:
        # As much again as waits, so that a row without end is not copied over and over.
        wanted = max(size, len(rest))
        part = opened.read(wanted if end is None else min(wanted, end - offset - len(rest)))
        is_end = len(part) < wanted if end is None else offset + len(rest) + len(part) >= end or not part
        data = rest + part
        rows = csv_rows.cut(data, offset, form, is_end)
        if len(rows):
            yield rows
        if is_end:
            return
        done = int(rows.edges[-1])
        rest, offset = data[done:], offset + done
        if len(rest) > LONGEST_ROW:
            raise InputError(f"{file.path}: the row at byte {offset} is longer than {LONGEST_ROW} bytes; is it CSV?")


def row_start(opened: BinaryIO, file: LogFile, place: int, separator: bytes) -> int:
    """The first place at or behind `place` at which a row surely begins; see `csv_rows`."""
    if place <= file.first:
        return file.first
    if place >= file.size:
        return file.size
    begin = place - 1
    opened.seek(begin)
    data, is_end, searched = b"", False, 0
    while True:
        line = data.find(b"\n", searched) + 1
        inside = csv_rows.may_be_inside(data, line, separator, is_end) if line else None
        if inside == 0:
            return begin + line
        if inside:
            searched = inside
        elif is_end:
            return file.size
        elif len(data) > LONGEST_ROW:
            raise InputError(f"{file.path}: the row at byte {begin} is longer than {LONGEST_ROW} bytes; is it CSV?")
        else:
            part = opened.read(max(2 * csv_rows.LONGEST_BREAK, len(data)))
            is_end = not part
            data += part
