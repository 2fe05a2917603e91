"""Rows of a Parquet file in batches of about so many bytes in memory, however few they take in the file.

A dictionary or a run of equal values may take a thousand times the memory that it takes in the file. So rows are read
in small steps, as many at a time as the file's counts of values and a first look allow, and joined to batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet

# Of a value in memory, where only its number is known.
BYTES_PER_VALUE = 8
_MOST_ROWS = 1 << 16
_FIRST_LOOK = 64
_STEPS_PER_BATCH = 8
# A column's pages are read in turn, not all at once.
_BUFFER = 1 << 20


def open_file(source: object) -> pyarrow.parquet.ParquetFile:
    """A Parquet file whose pages are read as they are needed. Raises Arrow's errors."""
    return pyarrow.parquet.ParquetFile(source, buffer_size=_BUFFER)


def read(
    file: pyarrow.parquet.ParquetFile, group: int, columns: Sequence[str] | None, size: int
) -> Iterator[pa.RecordBatch]:
    """Rows of a row group, in order.

    Args:
        file: opened by `open_file`.
        group: number of the row group.
        columns: to read; None: all.
        size: most bytes in memory of a batch of several rows.
    """
    waiting: list[pa.RecordBatch] = []
    rows = held = 0
    for step in _steps(file, group, columns, size):
        for part in _cut(step, size):
            if waiting and (held + part.nbytes > size or rows + len(part) > _MOST_ROWS):
                yield _joined(waiting)
                waiting, rows, held = [], 0, 0
            waiting.append(part)
            rows, held = rows + len(part), held + part.nbytes
    if waiting:
        yield _joined(waiting)


def bytes_in_memory(metadata: pyarrow.parquet.FileMetaData) -> int:
    """About how many bytes the values of a file take when they are read."""
    return sum(_group_bytes(metadata, group) for group in range(metadata.num_row_groups))


def _steps(
    file: pyarrow.parquet.ParquetFile, group: int, columns: Sequence[str] | None, size: int
) -> Iterator[pa.RecordBatch]:
    # One thread: the job's workers take the cores.
    rows = _rows_of_a_step(file, group, columns, size)
    return file.iter_batches(rows, [group], columns, use_threads=False)


def _rows_of_a_step(file: pyarrow.parquet.ParquetFile, group: int, columns: Sequence[str] | None, size: int) -> int:
    count = max(file.metadata.row_group(group).num_rows, 1)
    bytes_per_row = _group_bytes(file.metadata, group) / count
    fitting = max(1, int(size / _STEPS_PER_BATCH / max(bytes_per_row, 1)))
    first = next(file.iter_batches(min(_FIRST_LOOK, fitting), [group], columns, use_threads=False), None)
    if first is not None and len(first):
        fitting = min(fitting, max(1, int(size / _STEPS_PER_BATCH / max(first.nbytes / len(first), 1))))
    return min(_MOST_ROWS, fitting)


def _group_bytes(metadata: pyarrow.parquet.FileMetaData, group: int) -> int:
    found = metadata.row_group(group)
    chunks = (found.column(column) for column in range(found.num_columns))
    return sum(max(chunk.total_uncompressed_size, chunk.num_values * BYTES_PER_VALUE) for chunk in chunks)


def _cut(step: pa.RecordBatch, size: int) -> Iterator[pa.RecordBatch]:
    """A step in parts that fit: where rows are far longer than the first ones and than most, it may be large."""
    if step.nbytes <= size or len(step) <= 1:
        yield step
        return
    middle = len(step) // 2
    # Copied: nothing that reads a column has to think of slices.
    for begin, end in ((0, middle), (middle, len(step))):
        yield from _cut(step.take(pa.array(range(begin, end))), size)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    (joined,) = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return joined
