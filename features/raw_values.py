"""Raw values as a log writes them: ids, words, numbers and weights out of the cells of a row, or why they are none."""

from __future__ import annotations

import math
from typing import Any

from features import reject_reasons
from features.schema import ID, NUMBER, Field

Value = int | str | float

MAX_ID = (1 << 63) - 1
# The largest float32, which is what a record and a serving request carry.
MAX_WEIGHT = (2 - 2**-23) * 2.0**127


class ValueProblem(ValueError):
    """A part of a row that cannot be used. `reason` is one of `reject_reasons`, `value` what stands there."""

    def __init__(self, reason: str, value: object) -> None:
        super().__init__(f"{reject_reasons.DESCRIPTIONS[reason]}: {value!r}")
        self.reason = reason
        self.value = value


def parse_id(value: Any, reason: str = reject_reasons.BAD_FEATURE) -> int:
    """Whole number from 0 to 2**63 - 1 of a text or number. Raises ValueProblem with `reason` for what is no number."""
    if isinstance(value, str):
        digits = value[1:] if value.startswith("-") else value
        if not (digits.isascii() and digits.isdigit()):
            raise ValueProblem(reason, value)
    elif not isinstance(value, int) or isinstance(value, bool):
        raise ValueProblem(reason, value)
    number = int(value)
    if not 0 <= number <= MAX_ID:
        raise ValueProblem(reject_reasons.ID_OUT_OF_RANGE, value)
    return number


def parse_number(value: Any) -> float:
    """Finite number of a text or number. Raises ValueProblem."""
    number = _float(value)
    if not math.isfinite(number):
        raise ValueProblem(reject_reasons.BAD_NUMBER, value)
    return number


def parse_weight(value: Any) -> float:
    """Finite number of at least 0 of a text or number. Raises ValueProblem."""
    number = _float(value)
    if not 0 <= number <= MAX_WEIGHT:
        raise ValueProblem(reject_reasons.BAD_WEIGHT, value)
    return number


def parse_value(field: Field, value: Any) -> Value:
    """One value of a field in the type that the schema gives it. Raises ValueProblem."""
    if field.type == ID:
        return parse_id(value)
    if field.type == NUMBER:
        return parse_number(value)
    return value if isinstance(value, str) else str(value)


def parse_cell(field: Field, cell: Any) -> tuple[list[Value], list[float]]:
    """Values and weights of a cell of a table. Weights are empty for a field without.

    A text of a field with many is cut at the field's separators, as in CSV; Parquet may also hold lists, for a
    weighted field lists of pairs (a map or a struct of two). Nothing, an empty text, an empty list and (in Parquet, as
    pandas writes what is missing) a float NaN are no value.
    """
    if cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell)):
        return [], []
    if not field.is_many:
        entries = [cell]
    elif isinstance(cell, str):
        entries = cell.split(field.value_separator)
    else:
        entries = list(cell) if isinstance(cell, list) else [cell]
    if not field.weighted:
        return [parse_value(field, entry) for entry in entries if entry not in ("", None)], []
    pairs = [_pair(field, entry) for entry in entries if entry not in ("", None)]
    return [parse_value(field, value) for value, _ in pairs], [parse_weight(weight) for _, weight in pairs]


def _pair(field: Field, entry: Any) -> tuple[Any, Any]:
    """Value and weight of an entry: `value:weight` (at the last separator), a tuple or a struct of two."""
    if isinstance(entry, str):
        value, separator, weight = entry.rpartition(field.weight_separator)
        if not separator:
            raise ValueProblem(reject_reasons.BAD_FEATURE, entry)
        return value, weight
    pair = tuple(entry.values()) if isinstance(entry, dict) else entry
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise ValueProblem(reject_reasons.BAD_FEATURE, entry)
    return pair[0], pair[1]


def _float(value: Any) -> float:
    # Python also reads 1_000, which no other reader of such logs does.
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
