"""A cell of a table as people are shown it."""

from __future__ import annotations

import pyarrow as pa

from features.raw_log import arrow_types


def shown(cell: pa.Scalar) -> object:
    """The cell as a Python value, or as a text where Python has none (nanoseconds, bytes that are not UTF-8)."""
    try:
        value = cell.as_py()
    except (ValueError, OverflowError, pa.ArrowException):
        return _shown_in_parts(cell)
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _shown_in_parts(cell: pa.Scalar) -> object:
    kind = cell.type
    if isinstance(kind, pa.DictionaryType):
        return shown(cell.value)
    if arrow_types.is_list(kind):
        return [shown(entry) for entry in cell.values]
    if pa.types.is_struct(kind):
        return {kind.field(place).name: shown(cell[place]) for place in range(kind.num_fields)}
    if arrow_types.is_text(kind):
        return cell.cast(pa.large_binary()).as_py().decode("utf-8", "backslashreplace")
    return str(cell.cast(pa.string()))
