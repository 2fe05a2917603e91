"""Where a row stands in a log, as one int64: the sample id of a log that has none, in the job and over REST alike."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

_FILE_SHIFT = 40
# Places are int64, so a file may be so large and a log may have so many files.
MAX_OFFSET = (1 << _FILE_SHIFT) - 1
MAX_FILES = 1 << 23

Offset = TypeVar("Offset", int, np.ndarray)


def place_of(file_index: int, offset: Offset) -> Offset:
    """Place of a row in the input: places order rows by file and offset (bytes, or rows of a Parquet file).

    Files are numbered from 0, those of the train split first, within a split by name.
    """
    return (file_index << _FILE_SHIFT) + offset


def file_and_offset(place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The file index and offset that `place_of` was given."""
    return place >> _FILE_SHIFT, place & MAX_OFFSET
