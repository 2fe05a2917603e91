"""Files of scores: CSV or Parquet, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO

import numpy as np

import storage
from features import names
from storage import ownership
from trainer.nan_guard import DivergedError
from trainer.options import PARQUET

# Nine digits are enough to read the same float32 back.
_SCORE = "%.9g"
_PARQUET_MAGIC = b"PAR1"
_ROWS_OF_GROUP = 1 << 18

Batch = Mapping[str, np.ndarray]


def header(kept: Sequence[str]) -> list[str]:
    """The columns of a file."""
    return [names.SAMPLE_ID, *names.SCORES, *kept]


def refuse_foreign(path: str, form: str) -> None:
    """Refuses to replace a file that does not hold predictions.

    Raises:
        storage.ownership.OwnershipError: the file that is there does not.
    """
    begin = _PARQUET_MAGIC if form == PARQUET else ",".join(header(())).encode()
    ownership.refuse_foreign_file(path, begin, "predictions")
    if form == PARQUET and storage.exists(path) and not set(header(())) <= set(_parquet_columns(path)):
        raise ownership.OwnershipError(f"--predictions={path}: is there and holds no predictions; name another file")


def _parquet_columns(path: str) -> list[str]:
    from pyarrow import ArrowInvalid, parquet

    with storage.reading(path) as file:
        try:
            return list(parquet.read_schema(file).names)
        except ArrowInvalid:
            return []


def write(path: str, batches: Iterable[Batch], form: str, kept: Sequence[str] = ()) -> int:
    """Writes a file and gives its number of rows.

    Args:
        path: of the file; local or remote.
        batches: sample_id and the kept columns int64 [n], the scores float32 [n].
        form: csv or parquet.
        kept: columns beside the scores.

    Raises:
        DivergedError: a score is no number; nothing is written.
    """
    with storage.writing(path) as file:
        return (_write_parquet if form == PARQUET else _write_csv)(file, _checked(batches), header(kept))


def _checked(batches: Iterable[Batch]) -> Iterator[Batch]:
    for batch in batches:
        for name in names.SCORES:
            wrong = ~np.isfinite(batch[name])
            if wrong.any():
                sample_id = batch[names.SAMPLE_ID][wrong][0]
                raise DivergedError(f"{name} of sample_id {sample_id} is no number: choose another --checkpoint")
        yield batch


def _write_csv(file: BinaryIO, batches: Iterable[Batch], columns: Sequence[str]) -> int:
    file.write((",".join(columns) + "\n").encode())
    row = ",".join(_SCORE if column in names.SCORES else "%d" for column in columns) + "\n"
    count = 0
    for batch in batches:
        rows = zip(*(batch[column].tolist() for column in columns), strict=True)
        file.write("".join(map(row.__mod__, rows)).encode())
        count += len(batch[names.SAMPLE_ID])
    return count


def _write_parquet(file: BinaryIO, batches: Iterable[Batch], columns: Sequence[str]) -> int:
    import pyarrow as pa
    from pyarrow import parquet

    types = {column: pa.float32() if column in names.SCORES else pa.int64() for column in columns}
    schema = pa.schema(list(types.items()))
    count = 0
    with parquet.ParquetWriter(file, schema) as writer:
        for group in _grouped(batches, _ROWS_OF_GROUP):
            table = {column: np.concatenate([batch[column] for batch in group]) for column in columns}
            writer.write_table(pa.table(table, schema=schema))
            count += len(table[names.SAMPLE_ID])
    return count


def _grouped(batches: Iterable[Batch], rows: int) -> Iterator[list[Batch]]:
    group: list[Batch] = []
    for batch in batches:
        group.append(batch)
        if sum(len(one[names.SAMPLE_ID]) for one in group) >= rows:
            yield group
            group = []
    if group:
        yield group
