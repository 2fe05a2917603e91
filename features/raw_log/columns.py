"""A column of a table to the values of a field: lists and pairs taken apart, texts cut at the field's separators."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features import reject_reasons
from features.raw_log import arrow_types, flat, ragged_lists
from features.raw_log.flat import FINE, Flat
from features.schema import ID, NUMBER, Field

_BAD_FEATURE = reject_reasons.REASONS.index(reject_reasons.BAD_FEATURE)


@dataclasses.dataclass(frozen=True)
class RawColumn:
    """Values of a field, row after row.

    Attributes:
        lengths: number of values of each row, int32 [rows].
        values: ids (int64), numbers (float64) or words (Arrow binary, UTF-8) [values].
        weights: float64 [values]; empty for a field without weights.
        reasons: of each row, what is wrong with it (index in `reject_reasons.REASONS`) or FINE: uint8 [rows].
    """

    lengths: np.ndarray
    values: Any
    weights: np.ndarray
    reasons: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Entries:
    """What cells hold, still of the column's type: entries [n] of rows, their weights, and what is wrong with them."""

    lengths: np.ndarray
    values: pa.Array
    weights: pa.Array | None
    reasons: np.ndarray


def read(column: pa.Array, field: Field) -> RawColumn:
    """Values of a field. The column's type is one that `arrow_types.check_field` lets pass.

    Nothing, an empty text, a float NaN and an empty list are no value, in a list as in a cell. An entry without value
    is none, whatever its weight. Texts in lists are values as they stand: only cells are cut at `value_separator`.
    """
    found = _entries(ragged_lists.decoded(column), field)
    values = _values(found.values, field)
    kept = values.filled
    reasons = np.minimum(np.where(kept, values.reasons, FINE), np.where(kept, found.reasons, FINE))
    weights = np.empty(0)
    if found.weights is not None:
        weighed = flat.weights(found.weights)
        reasons = np.minimum(reasons, np.where(kept & (found.reasons == FINE), weighed.reasons, FINE))
        weights = np.where(weighed.reasons == FINE, weighed.values, 0.0)
    by_row = _by_row(found.lengths, reasons)
    if kept.all():
        return RawColumn(found.lengths, values.values, weights, by_row)
    return RawColumn(
        lengths=_kept_lengths(found.lengths, kept),
        values=values.values[kept] if isinstance(values.values, np.ndarray) else values.values.filter(pa.array(kept)),
        weights=weights[kept] if found.weights is not None else weights,
        reasons=by_row,
    )


def _values(entries: pa.Array, field: Field) -> Flat:
    if field.type == ID:
        return flat.ids(entries)
    return flat.numbers(entries) if field.type == NUMBER else flat.words(entries)


def _entries(column: pa.Array, field: Field) -> _Entries:
    if ragged_lists.is_list(column):
        lengths, values = ragged_lists.entries(column)
        values = ragged_lists.decoded(values)
    elif field.is_many and arrow_types.is_text(column.type):
        parts = pc.split_pattern(flat.texts_of(column), field.value_separator.encode())
        lengths, values = ragged_lists.entries(parts)
    else:
        lengths, values = np.ones(len(column), np.int32), column
    if pa.types.is_struct(values.type):
        # Flattened, so that a null pair has a null value.
        value, weight = values.flatten()
        return _Entries(lengths, value, weight, _fine(len(value)))
    if field.weighted:
        return _pairs_of_texts(lengths, values, field.weight_separator.encode())
    return _Entries(lengths, values, None, _fine(len(values)))


def _fine(count: int) -> np.ndarray:
    return np.full(count, FINE, np.uint8)


def _pairs_of_texts(lengths: np.ndarray, values: pa.Array, separator: bytes) -> _Entries:
    """Value and weight of texts `value:weight`, cut at the last separator."""
    if pa.types.is_null(values.type):
        values = values.cast(pa.binary())
    texts = flat.texts_of(values)
    parts = pc.split_pattern(texts, separator, max_splits=1, reverse=True)
    counts, pieces = ragged_lists.entries(parts)
    if (counts == 2).all():
        places = np.arange(0, len(pieces), 2)
        return _Entries(lengths, pieces.take(pa.array(places)), pieces.take(pa.array(places + 1)), _fine(len(texts)))
    first = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts[:-1])]) if len(counts) else np.empty(0, np.int64)
    paired = counts == 2
    value = pieces.take(pa.array(first))
    weight = pieces.take(pa.array(first + paired))
    # An entry without separator is at fault itself; an empty one is none.
    return _Entries(lengths, value, weight, np.where(paired, FINE, _BAD_FEATURE).astype(np.uint8))


def _kept_lengths(lengths: np.ndarray, kept: np.ndarray) -> np.ndarray:
    total = np.zeros(len(kept) + 1, np.int64)
    np.cumsum(kept, out=total[1:])
    edges = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=edges[1:])
    return (total[edges[1:]] - total[edges[:-1]]).astype(np.int32)


def _by_row(lengths: np.ndarray, reasons: np.ndarray) -> np.ndarray:
    by_row = _fine(len(lengths))
    bad = np.flatnonzero(reasons != FINE)
    if len(bad):
        np.minimum.at(by_row, np.repeat(np.arange(len(lengths)), lengths)[bad], reasons[bad])
    return by_row
