"""Rows with lists of different lengths, as flat arrays: positions of rows to take, sums and insertions."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def starts(lengths: np.ndarray) -> np.ndarray:
    """Place of each list's first entry: int [rows] -> int64 [rows + 1], the last being the number of entries."""
    edges = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=edges[1:])
    return edges


def rows_of(lengths: np.ndarray) -> np.ndarray:
    """Row of each entry: int [rows] -> int64 [entries]."""
    return np.repeat(np.arange(len(lengths)), lengths)


def positions(first: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Places of the entries of lists that begin at `first`: int64 [rows], int [rows] -> int64 [entries]."""
    edges = starts(lengths)
    return np.repeat(first - edges[:-1], lengths) + np.arange(edges[-1])


def take(lengths: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Places of the entries of rows taken in `order`: int [rows], int [taken] -> int64 [entries taken]."""
    return positions(starts(lengths)[order], lengths[order])


def sums(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Sum of each list: [entries], int [rows] -> int64 [rows]."""
    total = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=total[1:])
    edges = starts(lengths)
    return total[edges[1:]] - total[edges[:-1]]


def joined(texts: pa.Array, separator: bytes) -> bytes:
    """All texts one after another, with a separator between them: binary [n] -> bytes."""
    everything = pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), texts)
    return pc.binary_join(everything, separator)[0].as_py()
