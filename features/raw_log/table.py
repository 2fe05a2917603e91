"""Columns of a table (the cells of CSV, or Parquet's) to what a schema says of them: the one meaning of a row."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features import reject_reasons
from features.raw_log import arrow_types, columns, flat, moments, repeats, spelling
from features.raw_log.columns import RawColumn
from features.raw_log.flat import FINE
from features.schema import COUNT_CLICK, DROP_CONVERSION, KEEP, Schema

_INDEX = {reason: index for index, reason in enumerate(reject_reasons.REASONS)}
# A defect is one number, so that the smallest of a row's is the one that counts: first by reason, then by column.
_COLUMN_BITS = 16
NO_DEFECT = FINE << _COLUMN_BITS
_LONGEST_NAMES = 300
# The column of a defect that is the whole row's.
WHOLE_ROW = -1


class MissingColumnError(ValueError):
    """A file without a column that the schema names, or with it twice."""


@dataclasses.dataclass(frozen=True)
class RawTable:
    """Rows, those with a defect included.

    Attributes:
        fields: values by field name, of a context field where `run` is not None those of each run of rows.
        sample_id: int64 [rows]; None where the schema names no column.
        request: request key, binary [rows], empty for none; None where the schema names no column.
        click: uint8 [rows]; None where labels were not asked for.
        conversion: the same.
        defects: NO_DEFECT, or what `reason_and_column` takes apart: int32 [rows].
        weight: float32 [rows]; None where the schema names no column, or labels were not asked for.
        user: words, binary [rows], empty for none; likewise.
        time: seconds since 1970, int64 [rows]; likewise.
        click_time: the same of clicks, 0 in other rows.
        conversion_time: the same of conversions.
        run: of each row, int64 [rows]: rows of a run have equal context cells, which were read once; None: each was.
    """

    fields: dict[str, RawColumn]
    sample_id: np.ndarray | None
    request: pa.Array | None
    click: np.ndarray | None
    conversion: np.ndarray | None
    defects: np.ndarray
    weight: np.ndarray | None = None
    user: pa.Array | None = None
    time: np.ndarray | None = None
    click_time: np.ndarray | None = None
    conversion_time: np.ndarray | None = None
    run: np.ndarray | None = None

    def of_rows(self, by_context: np.ndarray) -> np.ndarray:
        """For each row what a context field has for each of its values' rows: [runs or rows] -> [rows]."""
        return by_context if self.run is None else by_context[self.run]

    @property
    def contexts(self) -> int:
        """Rows that the context fields have."""
        if self.run is None:
            return len(self.defects)
        return int(self.run[-1]) + 1 if len(self.run) else 0


def column_names(schema: Schema, with_labels: bool = True) -> list[str]:
    """The columns that a schema reads, each once; a defect's column is a place in this list (of those with labels)."""
    if with_labels:
        return schema.named_columns
    fields = (column for field in schema.fields for column in field.all_columns)
    identity = (*schema.columns.request_columns, *filter(None, [schema.columns.sample_id]))
    return list(dict.fromkeys([*identity, *fields]))


def check_columns(present: Sequence[str], schema: Schema, source: str, with_labels: bool = True) -> None:
    """Raises MissingColumnError where a column is missing or there twice."""
    named = column_names(schema, with_labels)
    if missing := [name for name in named if name not in present]:
        raise MissingColumnError(
            f"{source}: no column {', '.join(missing)}, which the schema names; the file has {_shown(present)}"
        )
    if twice := [name for name in named if list(present).count(name) > 1]:
        raise MissingColumnError(f"{source}: column {', '.join(twice)}, which the schema names, is there twice")


def _shown(columns: Sequence[str]) -> str:
    """Names of columns, in a line: a file of another kind has thousands of them, or bytes that are no text."""
    shown = ", ".join(name if name.isprintable() else ascii(name) for name in columns)
    return shown if len(shown) <= _LONGEST_NAMES else shown[:_LONGEST_NAMES] + " ..."


def check_types(kinds: Mapping[str, pa.DataType], schema: Schema, source: str, with_labels: bool = True) -> None:
    """Raises ColumnTypeError for a column that the schema cannot mean: by its type, before any row is read."""
    named = schema.columns
    for name in named.request_columns:
        arrow_types.check_plain(kinds[name], source, name, "request")
    purposes: dict[str, str | None] = {"sample_id": named.sample_id}
    if with_labels:
        purposes |= {"click": named.click, "conversion": named.conversion}
    for purpose, column in purposes.items():
        if column:
            arrow_types.check_number(kinds[column], source, column, purpose)
    if with_labels:
        if named.user:
            arrow_types.check_plain(kinds[named.user], source, named.user, "user")
        if named.weight:
            arrow_types.check_number(kinds[named.weight], source, named.weight, "weight")
        for purpose in ("time", "click_time", "conversion_time"):
            if column := getattr(named, purpose):
                arrow_types.check_time(kinds[column], source, column, purpose)
    for field in schema.fields:
        for column in field.columns:
            arrow_types.check_field(kinds[column], field, source, column)
        if field.weight_column:
            arrow_types.check_weights(kinds[field.weight_column], field, source)


def reason_and_column(defects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reason index (uint8) and place in `column_names` (int16, WHOLE_ROW for none) of defects: int32 [n]."""
    return (defects >> _COLUMN_BITS).astype(np.uint8), ((defects & ((1 << _COLUMN_BITS) - 1)) - 1).astype(np.int16)


def read_table(cells: Mapping[str, pa.Array], schema: Schema, with_labels: bool = True) -> RawTable:
    """Raw values of a table's columns, [rows] each, by name; at least those of `column_names`."""
    return _TableReader(cells, schema).read(with_labels)


class _TableReader:
    def __init__(self, cells: Mapping[str, pa.Array], schema: Schema) -> None:
        self._cells = cells
        self._schema = schema
        self._places = {name: place for place, name in enumerate(column_names(schema))}
        self._size = len(next(iter(cells.values())))
        self._defects: np.ndarray = np.full(self._size, NO_DEFECT, np.int32)

    def read(self, with_labels: bool) -> RawTable:
        click, conversion = self._labels() if with_labels else (None, None)
        run = self._runs()
        contexts = self._cells if run is None else self._first_of_runs(run)
        fields = {}
        for field in self._schema.fields:
            fields[field.name] = columns.read(contexts if field.is_context else self._cells, field)
            for column, reasons in fields[field.name].reasons.items():
                self._note(reasons if run is None or not field.is_context else reasons[run], column)
        found = RawTable(fields, self._sample_ids(), self._request(), click, conversion, self._defects, run=run)
        if click is not None and conversion is not None:
            click_time, conversion_time = self._times_of_labels(click, conversion)
            found = dataclasses.replace(
                found,
                weight=self._weights(),
                user=self._users(),
                time=self._times(),
                click_time=click_time,
                conversion_time=conversion_time,
            )
        # Noted by what was read last, too.
        return dataclasses.replace(found, defects=self._defects)

    def _runs(self) -> np.ndarray | None:
        columns_of_contexts = self._context_columns()
        if not self._schema.columns.request_columns or not columns_of_contexts:
            return None
        return repeats.runs((self._cells[name] for name in columns_of_contexts), self._size)

    def _context_columns(self) -> list[str]:
        return list(dict.fromkeys(name for field in self._schema.context_fields for name in field.all_columns))

    def _first_of_runs(self, run: np.ndarray) -> dict[str, pa.Array]:
        """Context cells of the first row of each run."""
        first = pa.array(np.flatnonzero(np.diff(run, prepend=-1)))
        return {name: self._cells[name].take(first) for name in self._context_columns()}

    def _note(self, reasons: np.ndarray, column: str) -> None:
        """Notes what is wrong with a column: uint8 [rows]. The first in the order of `reject_reasons` stays."""
        if (reasons != FINE).any():
            found = (reasons.astype(np.int32) << _COLUMN_BITS) | (self._places[column] + 1)
            self._defects = np.minimum(self._defects, np.where(reasons == FINE, NO_DEFECT, found).astype(np.int32))

    def _labels(self) -> tuple[np.ndarray, np.ndarray]:
        named = self._schema.columns
        click, is_click = self._label(named.click, named.click_is, named.click_not, reject_reasons.CLICK_NOT_BINARY)
        conversion, is_conversion = self._label(
            named.conversion, named.conversion_is, named.conversion_not, reject_reasons.CONVERSION_NOT_BINARY
        )
        if self._schema.conversion_without_click == DROP_CONVERSION:
            return click, conversion & click
        if self._schema.conversion_without_click == COUNT_CLICK:
            return click | conversion, conversion
        if self._schema.conversion_without_click == KEEP:
            return click, conversion
        without = is_click & is_conversion & (conversion > click)
        self._note(_where(without, reject_reasons.CONVERSION_WITHOUT_CLICK), named.conversion)
        return click, conversion

    def _label(
        self, column: str, spellings: Sequence[str], others: Sequence[str], reason: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """A label (uint8) and whether it is one (bool); without `others` whatever is not spelled so is 0."""
        ones = spelling.is_one_of(self._cells[column], spellings)
        zeros = spelling.is_one_of(self._cells[column], others) if others else ~ones
        self._note(_where(~(ones | zeros), reason), column)
        return ones.astype(np.uint8), ones | zeros

    def _weights(self) -> np.ndarray | None:
        """What each impression counts for."""
        column = self._schema.columns.weight
        if not column:
            return None
        found = flat.weights(self._cells[column])
        missing = spelling.is_one_of(self._cells[column], self._schema.columns.missing)
        self._note(np.where(missing, _INDEX[reject_reasons.BAD_WEIGHT], found.reasons).astype(np.uint8), column)
        return np.where(found.reasons == FINE, found.values, 0).astype(np.float32)

    def _users(self) -> pa.Array | None:
        column = self._schema.columns.user
        return self._words(column) if column else None

    def _times(self) -> np.ndarray | None:
        """When each impression was shown."""
        column = self._schema.columns.time
        if not column:
            return None
        found = moments.seconds(self._cells[column])
        self._note(found.reasons, column)
        return found.values

    def _times_of_labels(
        self, click: np.ndarray, conversion: np.ndarray
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """When each click and each conversion happened; no conversion comes before its click."""
        named = self._schema.columns
        if not named.click_time or not named.conversion_time:
            return None, None
        clicked, no_click = self._moments_where(click > 0, named.click_time)
        both = (click > 0) & (conversion > 0)
        converted, no_conversion = self._moments_where(both, named.conversion_time)
        timed = both & (no_click == FINE) & (no_conversion == FINE)
        no_conversion[timed & (converted < clicked)] = _INDEX[reject_reasons.BAD_TIME]
        self._note(no_click, named.click_time)
        self._note(no_conversion, named.conversion_time)
        return clicked, converted

    def _moments_where(self, chosen: np.ndarray, column: str) -> tuple[np.ndarray, np.ndarray]:
        """Seconds and reasons of the chosen rows: int64 and uint8 [rows], of others 0 and FINE."""
        places = np.flatnonzero(chosen)
        found = moments.seconds(self._cells[column].take(pa.array(places)))
        values, reasons = np.zeros(self._size, np.int64), np.full(self._size, FINE, np.uint8)
        values[places], reasons[places] = found.values, found.reasons
        return values, reasons

    def _sample_ids(self) -> np.ndarray | None:
        column = self._schema.columns.sample_id
        if not column:
            return None
        # What is no number at all is a bad number here, not a bad feature.
        found = flat.ids(self._cells[column], reject_reasons.BAD_NUMBER)
        self._note(np.where(found.filled, found.reasons, _INDEX[reject_reasons.BAD_NUMBER]).astype(np.uint8), column)
        return found.values

    def _request(self) -> pa.Array | None:
        """Request keys; of several columns the texts of all, each behind its length. No key where one is missing."""
        found = [self._words(column) for column in self._schema.columns.request_columns]
        if len(found) < 2:
            return found[0] if found else None
        parts = [part for text in found for part in (pc.binary_length(text).cast(pa.string()).cast(pa.binary()), text)]
        missing = [pc.equal(pc.binary_length(text), 0) for text in found]
        return pc.if_else(functools.reduce(pc.or_, missing), b"", pc.binary_join_element_wise(*parts, b":"))

    def _words(self, column: str) -> pa.Array:
        """Words that name something; empty where there is none."""
        found = flat.words(self._cells[column])
        filled = found.filled & ~spelling.is_one_of(self._cells[column], self._schema.columns.missing)
        self._note(np.where(filled, found.reasons, FINE).astype(np.uint8), column)
        return found.values if filled.all() else pc.if_else(pa.array(filled), found.values, b"")


def _where(chosen: np.ndarray, reason: str) -> np.ndarray:
    return np.where(chosen, _INDEX[reason], FINE).astype(np.uint8)
