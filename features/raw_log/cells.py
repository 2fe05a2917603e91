"""A cell of a table as people are shown it."""

from __future__ import annotations

import pyarrow as pa

from features.raw_log import arrow_types


def shown(cell: pa.Scalar) -> object:
    """The cell as a Python value, or as a text where Python has none (nanoseconds, bytes that are not UTF-8)."""
    try:
        value = cell.as_py()
    except (ValueError, OverflowError, pa.ArrowException):
        value = cell.cast(pa.large_binary()).as_py() if arrow_types.is_text(cell.type) else str(cell.cast(pa.string()))
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
