"""Batches of a Parquet file are bounded by their bytes in memory, whatever the file's own size says."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from features.raw_log import parquet_batches

SIZE = 1 << 18


def lists_of(lengths, values):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def equal_lists():
    return lists_of(np.full(20_000, 100), np.zeros(2_000_000, np.int64))


def one_long_text():
    return pa.array(["x" * 5000]).take(pa.array(np.zeros(4000, np.int64)))


def long_lists_at_the_end():
    lengths = np.concatenate([np.ones(50_000, np.int64), np.full(200, 10_000)])
    return lists_of(lengths, np.arange(lengths.sum()) % 7)


def batches_of(path, column):
    pyarrow.parquet.write_table(pa.table({"found": column}), path, compression="zstd")
    with parquet_batches.open_file(str(path)) as file:
        assert file.num_row_groups == 1
        return list(parquet_batches.read(file, 0, None, SIZE))


@pytest.mark.parametrize("make", [equal_lists, one_long_text, long_lists_at_the_end])
def test_no_batch_takes_more_memory_than_asked_for(make, tmp_path):
    column = make()
    found = batches_of(tmp_path / "log.parquet", column)
    assert column.nbytes > 4 * os.path.getsize(tmp_path / "log.parquet")
    assert max(batch.nbytes for batch in found) <= SIZE
    assert len(found) < 3 * column.nbytes / SIZE
    assert pa.Table.from_batches(found).column(0).combine_chunks().equals(column)


def test_a_row_that_is_larger_than_a_batch_comes_alone(tmp_path):
    column = lists_of(np.full(3, 100_000), np.arange(300_000))
    assert [len(batch) for batch in batches_of(tmp_path / "log.parquet", column)] == [1, 1, 1]


def test_what_a_file_takes_in_memory_is_known_before_it_is_read(tmp_path):
    column = equal_lists()
    pyarrow.parquet.write_table(pa.table({"found": column}), tmp_path / "log.parquet")
    with parquet_batches.open_file(str(tmp_path / "log.parquet")) as file:
        assert parquet_batches.bytes_in_memory(file.metadata) == pytest.approx(column.nbytes, rel=0.2)
