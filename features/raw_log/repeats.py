"""Rows whose context cells are those of the row before: such cells are read once for each run of rows.

Logs repeat the context of a request in each of its rows, and its lists are most of a row's values.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.raw_log import ragged_lists

# A row for each run costs less than all rows, unless most rows are runs of their own.
_MOST_RUNS = 0.7
_COMPARABLE = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_integer,
    pa.types.is_float32,
    pa.types.is_float64,
    pa.types.is_boolean,
    pa.types.is_date,
    pa.types.is_timestamp,
)


def runs(cells: Iterable[pa.Array], rows: int) -> np.ndarray | None:
    """Number of the run that each row is of, from 0 on: int64 [rows].

    Args:
        cells: columns, [rows] each.
        rows: number of rows.

    Returns:
        None where there is little to gain, or where Arrow cannot compare the cells (lists, for example).
    """
    changed = np.zeros(rows, bool)
    changed[:1] = True
    for column in map(ragged_lists.decoded, cells):
        if not any(check(column.type) for check in _COMPARABLE):
            return None
        changed[1:] |= _differs(column)
        if changed.sum() > _MOST_RUNS * rows:
            return None
    return np.cumsum(changed) - 1


def _differs(column: pa.Array) -> np.ndarray:
    """Whether each cell but the first differs from the one before it; NaN does: bool [rows - 1]."""
    rest, before = column.slice(1), column.slice(0, max(len(column) - 1, 0))
    equal = pc.equal(rest, before)
    if not column.null_count:
        return ~equal.to_numpy(zero_copy_only=False)
    neither = pc.and_(rest.is_null(), before.is_null())
    return ~pc.or_(equal.fill_null(False), neither).to_numpy(zero_copy_only=False)
