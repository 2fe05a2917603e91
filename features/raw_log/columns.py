"""A column of a table to the values of a field: lists and pairs taken apart, texts cut at the field's separators."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features import reject_reasons
from features.raw_log import arrow_types, flat, ragged_lists, spelling
from features.raw_log.flat import FINE, Flat
from features.schema import ID, STRING, VECTOR, Field

_BAD_FEATURE = reject_reasons.REASONS.index(reject_reasons.BAD_FEATURE)
_BAD_WEIGHT = reject_reasons.REASONS.index(reject_reasons.BAD_WEIGHT)
_WRONG_SIZE = reject_reasons.REASONS.index(reject_reasons.WRONG_VECTOR_SIZE)


@dataclasses.dataclass(frozen=True)
class RawColumn:
    """Values of a field, row after row.

    Attributes:
        lengths: number of values of each row, int32 [rows].
        values: ids (int64), numbers (float64) or words (Arrow binary, UTF-8) [values].
        weights: float64 [values]; empty for a field without weights.
        reasons: by column that the field reads, of each row, what is wrong with its cell (index in
            `reject_reasons.REASONS`) or FINE: uint8 [rows].
    """

    lengths: np.ndarray
    values: Any
    weights: np.ndarray
    reasons: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class _Entries:
    """What cells hold, still of the column's type: entries [n] of rows, their weights, and what is wrong with each."""

    lengths: np.ndarray
    values: pa.Array
    weights: pa.Array | None
    reasons: np.ndarray
    weight_reasons: np.ndarray


def read(cells: Mapping[str, pa.Array], field: Field) -> RawColumn:
    """Values of a field, of all its columns. Their types are such as `arrow_types.check_field` lets pass.

    Args:
        cells: columns of the table by name.
        field: to read.
    """
    parts = [_read(cells, column, field) for column in field.columns]
    found = parts[0] if len(parts) == 1 else _side_by_side(parts)
    return _with_whole_vectors(found, field) if field.type == VECTOR else found


def _side_by_side(parts: Sequence[RawColumn]) -> RawColumn:
    """Row for row the values of the first column, then those of the next ones."""
    order = spelling.interleaved([part.lengths for part in parts])
    values = [part.values for part in parts]
    joined = np.concatenate(values) if isinstance(values[0], np.ndarray) else pa.concat_arrays(values)
    weights = np.concatenate([part.weights for part in parts])
    return RawColumn(
        lengths=sum((part.lengths for part in parts[1:]), parts[0].lengths).astype(np.int32),
        values=joined[order] if isinstance(joined, np.ndarray) else joined.take(pa.array(order)),
        weights=weights[order] if len(weights) else weights,
        reasons={column: reasons for part in parts for column, reasons in part.reasons.items()},
    )


def _with_whole_vectors(found: RawColumn, field: Field) -> RawColumn:
    """Notes the rows whose vector is neither whole nor missing."""
    broken = (found.lengths != 0) & (found.lengths != field.size)
    so_far = found.reasons[field.column]
    reasons = np.where(broken, np.minimum(so_far, _WRONG_SIZE), so_far).astype(np.uint8)
    return dataclasses.replace(found, reasons=found.reasons | {field.column: reasons})


def _read(cells: Mapping[str, pa.Array], column: str, field: Field) -> RawColumn:
    """Values of one column.

    Nothing, a word of `missing`, an empty text, a float NaN and an empty list are no value, in a list as in a cell. An
    entry without value is none, whatever its weight. Texts in lists are values as they stand: only cells are cut at
    `value_separator`.
    """
    found = _entries(ragged_lists.decoded(cells[column]), field)
    if field.weight_column:
        found = _with_weights(found, _entries(ragged_lists.decoded(cells[field.weight_column]), field))
    values = _values(found.values, field)
    kept = values.filled & ~spelling.is_one_of(found.values, field.missing)
    reasons = np.minimum(np.where(kept, values.reasons, FINE), np.where(kept, found.reasons, FINE))
    by_row = {column: _by_row(found.lengths, reasons)}
    weights: np.ndarray = np.empty(0)
    if found.weights is not None:
        weighed = flat.weights(found.weights)
        wrong = np.where(found.weight_reasons == FINE, weighed.reasons, found.weight_reasons)
        of_weights = _by_row(found.lengths, np.where(kept & (found.reasons == FINE), wrong, FINE))
        where = field.weight_column or column
        by_row[where] = np.minimum(by_row.get(where, of_weights), of_weights)
        weights = np.where(weighed.reasons == FINE, weighed.values, 0.0)
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
        return flat.ids(spelling.without_point_zero(entries) if field.point_zero else entries)
    return flat.words(entries) if field.type == STRING else flat.numbers(entries)


def _with_weights(values: _Entries, weights: _Entries) -> _Entries:
    """Entries with those of another column as their weights; a row with more or fewer of them is at fault."""
    fits = np.array_equal(values.lengths, weights.lengths)
    if fits:
        return dataclasses.replace(values, weights=weights.values)
    first = np.cumsum(weights.lengths, dtype=np.int64) - weights.lengths
    nth = np.arange(values.lengths.sum()) - np.repeat(np.cumsum(values.lengths) - values.lengths, values.lengths)
    rows_fit = np.repeat(values.lengths == weights.lengths, values.lengths)
    places = np.where(rows_fit, np.repeat(first, values.lengths) + nth, 0)
    taken = weights.values.take(pa.array(places)) if len(weights.values) else pa.nulls(len(places))
    wrong = np.where(rows_fit, FINE, _BAD_WEIGHT).astype(np.uint8)
    return dataclasses.replace(values, weights=taken, weight_reasons=wrong)


def _entries(column: pa.Array, field: Field) -> _Entries:
    if ragged_lists.is_list(column):
        lengths, values = ragged_lists.entries(column)
        values = ragged_lists.decoded(values)
    elif field.holds_list and arrow_types.is_text(column.type):
        parts = pc.split_pattern(flat.texts_of(column), field.value_separator.encode())
        lengths, values = ragged_lists.entries(parts)
    else:
        lengths, values = np.ones(len(column), np.int32), column
    if pa.types.is_struct(values.type):
        # Flattened, so that a null pair has a null value.
        value, weight = values.flatten()
        return _Entries(lengths, value, weight, _fine(len(value)), _fine(len(value)))
    if field.weighted and not field.weight_column:
        return _pairs_of_texts(lengths, values, field.weight_separator.encode())
    return _Entries(lengths, values, None, _fine(len(values)), _fine(len(values)))


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
        value, weight = pieces.take(pa.array(places)), pieces.take(pa.array(places + 1))
        return _Entries(lengths, value, weight, _fine(len(texts)), _fine(len(texts)))
    first = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts[:-1])]) if len(counts) else np.empty(0, np.int64)
    paired = counts == 2
    value = pieces.take(pa.array(first))
    weight = pieces.take(pa.array(first + paired))
    # An entry without separator is at fault itself; an empty one is none.
    return _Entries(lengths, value, weight, np.where(paired, FINE, _BAD_FEATURE).astype(np.uint8), _fine(len(texts)))


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
