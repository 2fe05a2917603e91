"""Broken rows for tables: what a reader of CSV or Parquet must reject, with the reason and the column."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from features import names, reject_reasons
from simulate.malformed import BEYOND_INT64, FIRST_BROKEN_ID

Cells = dict[str, Any]

# Columns that broken rows are broken in; see `tables`.
CLICKED_AT, CONVERTED_AT = "clicked_at", "converted_at"
SAMPLE_ID, CLICK, CONVERSION, SHOWN_AT, WEIGHT = "sample_id", "click", "conversion", "shown_at", "weight"
USER, HISTORY, ITEM, TITLE, PRICE, PICTURE = "101", "109_14", "205", "title", "price", "picture"
_BOTH = (names.CSV, names.PARQUET)
_CSV, _PARQUET = (names.CSV,), (names.PARQUET,)
# A whole number of which a double may be the rounded form.
_INEXACT = float(1 << 53)
_TITLE = b"item"


@dataclasses.dataclass(frozen=True)
class Defect:
    """One way of breaking a row.

    Attributes:
        reason: why it must be rejected, of `features.reject_reasons`.
        column: that is at fault; empty for the whole row.
        cells: what the row's cells become, by column.
        line: of CSV, what the row's line becomes in the end.
        forms: kinds of table that can have it.
    """

    reason: str
    column: str
    cells: Cells = dataclasses.field(default_factory=dict)
    line: Callable[[bytes], bytes] | None = None
    forms: tuple[str, ...] = _BOTH


def _cell(reason: str, column: str, value: Any, forms: tuple[str, ...] = _BOTH) -> Defect:
    return Defect(reason, column, {column: value}, None, forms)


def _line(reason: str, change: Callable[[bytes], bytes]) -> Defect:
    return Defect(reason, "", {}, change, _CSV)


def _title(reason: str, raw: bytes) -> Defect:
    """Bytes in place of the title, which is the last cell."""
    return Defect(reason, "", {TITLE: _TITLE}, lambda line: line.removesuffix(_TITLE + b"\n") + raw + b"\n", _CSV)


DEFECTS = (
    _line(reject_reasons.BLANK_LINE, lambda line: b"\n"),
    _line(reject_reasons.BLANK_LINE, lambda line: b" \t\n"),
    _title(reject_reasons.NOT_UTF8, b"\xff\xfe"),
    _cell(reject_reasons.NOT_UTF8, TITLE, b"\xff\xfe", _PARQUET),
    _title(reject_reasons.OPEN_QUOTE, b'"6 inch nail'),
    _title(reject_reasons.OPEN_QUOTE, b'"6 inch" nail'),
    _line(reject_reasons.WRONG_COLUMN_COUNT, lambda line: line[:-1] + b",1\n"),
    _line(reject_reasons.WRONG_COLUMN_COUNT, lambda line: line[line.index(b",") + 1 :]),
    _cell(reject_reasons.BAD_NUMBER, SAMPLE_ID, "12a", _CSV),
    _cell(reject_reasons.BAD_NUMBER, SAMPLE_ID, None),
    _cell(reject_reasons.BAD_NUMBER, PRICE, "cheap", _CSV),
    _cell(reject_reasons.BAD_NUMBER, PRICE, float("inf")),
    _cell(reject_reasons.BAD_NUMBER, PICTURE, [0.5, float("-inf"), 1.0]),
    _cell(reject_reasons.BAD_TIME, SHOWN_AT, "yesterday", _CSV),
    _cell(reject_reasons.BAD_TIME, SHOWN_AT, None),
    _cell(reject_reasons.CLICK_NOT_BINARY, CLICK, 2),
    _cell(reject_reasons.CLICK_NOT_BINARY, CLICK, None),
    _cell(reject_reasons.CONVERSION_NOT_BINARY, CONVERSION, -1),
    Defect(reject_reasons.CONVERSION_WITHOUT_CLICK, CONVERSION, {CLICK: 0, CONVERSION: 1}),
    _cell(reject_reasons.BAD_FEATURE, ITEM, "12a", _CSV),
    _cell(reject_reasons.BAD_FEATURE, ITEM, 2.5),
    _cell(reject_reasons.BAD_FEATURE, HISTORY, "5", _CSV),
    _cell(reject_reasons.BAD_WEIGHT, HISTORY, [(5, -1.0)]),
    _cell(reject_reasons.BAD_WEIGHT, HISTORY, [(5, float("nan"))]),
    _cell(reject_reasons.BAD_WEIGHT, WEIGHT, -1.0),
    _cell(reject_reasons.BAD_WEIGHT, WEIGHT, None),
    _cell(reject_reasons.ID_OUT_OF_RANGE, ITEM, -7.0, _PARQUET),
    _cell(reject_reasons.ID_OUT_OF_RANGE, ITEM, BEYOND_INT64, _CSV),
    _cell(reject_reasons.ID_OUT_OF_RANGE, HISTORY, [(-7, 1.0)]),
    _cell(reject_reasons.INEXACT_ID, ITEM, _INEXACT, _PARQUET),
    _cell(reject_reasons.WRONG_VECTOR_SIZE, PICTURE, [0.5, 1.0]),
    _cell(reject_reasons.WRONG_VECTOR_SIZE, PICTURE, [0.5] * 4),
    # Its sample id becomes that of the row before.
    Defect(reject_reasons.DUPLICATE_SAMPLE_ID, SAMPLE_ID),
    _cell(reject_reasons.CONTEXT_MISMATCH, USER, 7),
    _cell(reject_reasons.CONTEXT_MISMATCH, HISTORY, [(5, 2.0)]),
)


def of_form(form: str) -> dict[str, list[Defect]]:
    """The defects that a kind of table can have, by reason."""
    found: dict[str, list[Defect]] = {}
    for defect in DEFECTS:
        if form in defect.forms:
            found.setdefault(defect.reason, []).append(defect)
    return found


def broken(defect: Defect, good: Cells, number: int) -> Cells:
    """Cells of a broken row, from those of a good one that stands right before it.

    Args:
        defect: what is wrong.
        good: of the same request.
        number: counts the broken rows of a file, for ids of their own.
    """
    repeats = defect.reason == reject_reasons.DUPLICATE_SAMPLE_ID
    own = {} if repeats else {SAMPLE_ID: FIRST_BROKEN_ID + number}
    return {**good, **own, CLICK: 0, CONVERSION: 0, **defect.cells}
