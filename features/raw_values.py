"""Raw values as a log writes them: ids, numbers and weights out of texts, or why they are none.

This is what a text means, one at a time. `raw_log.flat` takes whole columns and calls it for what is not plain.
"""

from __future__ import annotations

import math

from features import reject_reasons

Value = int | str | float

MAX_ID = (1 << 63) - 1
# The largest float32, which is what a record and a serving request carry.
MAX_FLOAT32 = (2 - 2**-23) * 2.0**127


class ValueProblem(ValueError):
    """A part of a row that cannot be used.

    Attributes:
        reason: one of `reject_reasons`.
        value: what stands there.
        column: of the log; empty where the whole row is at fault.
    """

    def __init__(self, reason: str, value: object, column: str = "") -> None:
        where = f"column {column}: " if column else ""
        super().__init__(f"{where}{reject_reasons.DESCRIPTIONS[reason]}: {value!r:.200}")
        self.reason = reason
        self.value = value
        self.column = column


def parse_id(text: str, reason: str = reject_reasons.BAD_FEATURE) -> int:
    """Whole number from 0 to 2**63 - 1. Raises ValueProblem with `reason` for what is no whole number."""
    digits = text[1:] if text.startswith("-") else text
    if not (digits.isascii() and digits.isdigit()):
        raise ValueProblem(reason, text)
    # Longer texts are out of range whatever they say, and Python takes its time, or refuses, to read long ones.
    number = int(text) if len(digits.lstrip("0")) < 20 else MAX_ID + 1
    if not 0 <= number <= MAX_ID:
        raise ValueProblem(reject_reasons.ID_OUT_OF_RANGE, text)
    return number


def parse_number(text: str) -> float:
    """Number that a float32 can hold. Raises ValueProblem."""
    number = _float(text)
    if not -MAX_FLOAT32 <= number <= MAX_FLOAT32:
        raise ValueProblem(reject_reasons.BAD_NUMBER, text)
    return number


def parse_weight(text: str) -> float:
    """Number of at least 0 that a float32 can hold. Raises ValueProblem."""
    number = _float(text)
    if not 0 <= number <= MAX_FLOAT32:
        raise ValueProblem(reject_reasons.BAD_WEIGHT, text)
    return number


def _float(text: str) -> float:
    # Python also reads 1_000, which no other reader of such logs does.
    if "_" in text:
        return math.nan
    try:
        return float(text)
    except ValueError:
        return math.nan
