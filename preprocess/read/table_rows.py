"""Cells of a table (CSV or Parquet) to rows: labels, contexts told apart, features. Column by column."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features import reject_reasons
from features.schema import ID, Field, Schema
from preprocess.columns import ragged, rows
from preprocess.columns.rows import Rejects, Rows
from preprocess.read import entries
from preprocess.read.parsed import Parsed

_BAD_NUMBER = reject_reasons.REASONS.index(reject_reasons.BAD_NUMBER)
_OUT_OF_RANGE = reject_reasons.REASONS.index(reject_reasons.ID_OUT_OF_RANGE)
_CLICK_NOT_BINARY = reject_reasons.REASONS.index(reject_reasons.CLICK_NOT_BINARY)
_CONVERSION_NOT_BINARY = reject_reasons.REASONS.index(reject_reasons.CONVERSION_NOT_BINARY)
_CONVERSION_WITHOUT_CLICK = reject_reasons.REASONS.index(reject_reasons.CONVERSION_WITHOUT_CLICK)


@dataclasses.dataclass(frozen=True)
class Lists:
    """Values of a column, still as texts.

    Attributes:
        lengths: number of values of each row, int32 [rows].
        texts: the values, none empty, binary [values].
    """

    lengths: np.ndarray
    texts: pa.Array


@dataclasses.dataclass(frozen=True)
class Cells:
    """Columns of some rows.

    Attributes:
        place: of each row, int64 [rows].
        texts: what identifies and labels a row, by column name: binary [rows], empty where there is nothing.
        fields: values by field name.
    """

    place: np.ndarray
    texts: Mapping[str, pa.Array]
    fields: Mapping[str, Lists]


def split_cells(field: Field, cells: pa.Array) -> Lists:
    """Values of a column of texts: binary [rows]. A field with many is cut at its separator."""
    if not field.is_many:
        filled = pc.greater(pc.binary_length(cells), 0)
        return Lists(filled.to_numpy(zero_copy_only=False).astype(np.int32), cells.filter(filled))
    parts = pc.split_pattern(cells, field.value_separator.encode())
    return without_empty(np.diff(parts.offsets.to_numpy()), parts.flatten())


def without_empty(lengths: np.ndarray, texts: pa.Array) -> Lists:
    """Lists without their empty texts."""
    filled = pc.greater(pc.binary_length(texts), 0)
    kept = ragged.sums(filled.to_numpy(zero_copy_only=False), lengths).astype(np.int32)
    return Lists(kept, texts.filter(filled))


def parse(cells: Cells, schema: Schema) -> Parsed:
    """Rows of cells. `Parsed.read` counts these rows alone."""
    return _TableParser(cells, schema).parse()


class _TableParser:
    def __init__(self, cells: Cells, schema: Schema) -> None:
        self._cells = cells
        self._schema = schema
        self._size = len(cells.place)
        self._reason = np.full(self._size, entries.FINE, np.uint8)

    def parse(self) -> Parsed:
        labels = self._labels()
        parsed = {field.name: self._parse_field(field) for field in self._schema.fields}
        good = np.flatnonzero(self._reason == entries.FINE)
        bad = np.flatnonzero(self._reason != entries.FINE)
        request = self._request()
        columns = {**labels, **self._digests()}
        impressions = self._rows(self._schema.impression_fields, parsed, columns, request).take(good)
        contexts = self._rows(self._schema.context_fields, parsed, columns, request).take(good)
        digests = [contexts.columns[name] for name in (rows.DIGEST_HIGH, rows.DIGEST_LOW)]
        contexts = contexts.take(_first_of_each(contexts.request, digests))
        numbers = {
            field.name: _numbers(self._cells.fields[field.name].lengths, parsed[field.name][0])[good]
            for field in self._schema.fields
            if field.quantiles
        }
        rejects = Rejects(self._cells.place[bad], self._reason[bad])
        return Parsed(contexts, impressions, rejects, self._size, numbers=numbers)

    def _note(self, chosen: np.ndarray, reason: int | np.ndarray) -> None:
        """Notes a defect of the chosen rows; the first in the order of `reject_reasons` stays."""
        self._reason[chosen] = np.minimum(self._reason[chosen], reason)

    def _labels(self) -> rows.Arrays:
        columns = self._schema.columns
        click, is_click = self._binary(columns.click, _CLICK_NOT_BINARY)
        conversion, is_conversion = self._binary(columns.conversion, _CONVERSION_NOT_BINARY)
        self._note(is_click & is_conversion & (conversion > click), _CONVERSION_WITHOUT_CLICK)
        labels = {rows.PLACE: self._cells.place, rows.CLICK: click, rows.CONVERSION: conversion}
        return {**labels, rows.SAMPLE_ID: self._sample_ids()}

    def _binary(self, column: str, reason: int) -> tuple[np.ndarray, np.ndarray]:
        """A label (uint8) and whether it is one (bool)."""
        texts = self._cells.texts[column]
        ones, zeros = (pc.equal(texts, digit).to_numpy(zero_copy_only=False) for digit in (b"1", b"0"))
        self._note(~(ones | zeros), reason)
        return ones.astype(np.uint8), ones | zeros

    def _sample_ids(self) -> np.ndarray:
        column = self._schema.columns.sample_id
        if not column:
            return self._cells.place
        as_field = Field(name="-", group="-", side="impression", kind="one", type=ID)
        texts = self._cells.texts[column]
        filled = pc.greater(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False)
        ids = np.zeros(self._size, np.int64)
        found, _, reasons = entries.parse(as_field, texts.filter(pa.array(filled)))
        ids[filled] = found
        self._note(~filled, _BAD_NUMBER)
        # What is no number at all is a bad number here, not a bad feature.
        defects = np.where((reasons == entries.FINE) | (reasons == _OUT_OF_RANGE), reasons, _BAD_NUMBER)
        self._note(np.flatnonzero(filled), defects.astype(np.uint8))
        return ids

    def _parse_field(self, field: Field) -> entries.Parsed:
        found = self._cells.fields[field.name]
        parsed = entries.parse(field, found.texts)
        bad = parsed[2] != entries.FINE
        if bad.any():
            row = ragged.rows_of(found.lengths)[bad]
            np.minimum.at(self._reason, row, parsed[2][bad])
        return parsed

    def _request(self) -> pa.Array:
        """Request keys; a row without one is a request of its own, and its key is made of its place."""
        own = pa.array(self._cells.place).cast(pa.string()).cast(pa.binary())
        own = pc.binary_join_element_wise(pa.scalar(b"\0", pa.binary()), own, b"")
        columns = self._schema.columns.request_columns
        if not columns:
            return own
        texts = self._cells.texts[columns[0]]
        return pc.if_else(pc.equal(pc.binary_length(texts), 0), own, texts)

    def _digests(self) -> rows.Arrays:
        """Two halves of a digest of each row's context cells."""
        if not self._schema.columns.request or not self._schema.context_fields:
            nothing = np.zeros(self._size, np.int64)
            return {rows.DIGEST_HIGH: nothing, rows.DIGEST_LOW: nothing}
        parts: list[pa.Array] = []
        for field in self._schema.context_fields:
            cell = self._cells.texts[field.column]
            # The length before each cell, so that no two different rows have one text.
            parts += [pc.binary_length(cell).cast(pa.string()).cast(pa.binary()), cell]
        texts = pc.binary_join_element_wise(*parts, b":").dictionary_encode()
        halves = np.array([_digest(text) for text in texts.dictionary.to_pylist()], np.int64).reshape(-1, 2)
        codes = texts.indices.to_numpy()
        return {rows.DIGEST_HIGH: halves[codes, 0], rows.DIGEST_LOW: halves[codes, 1]}

    def _rows(
        self,
        fields: Sequence[Field],
        parsed: Mapping[str, entries.Parsed],
        columns: rows.Arrays,
        request: pa.Array,
    ) -> Rows:
        """Rows with the features of these fields, rejected ones included."""
        lengths = [self._cells.fields[field.name].lengths for field in fields]
        counts = sum(lengths, np.zeros(self._size, np.int32))
        row = np.concatenate([ragged.rows_of(length) for length in lengths] or [np.empty(0, np.int64)])
        order = np.argsort(row, kind="stable")
        field = [np.full(len(parsed[f.name][0]), self._schema.index[f.name], np.uint16) for f in fields]
        nothing = np.empty(0, np.int64)
        key, weight = (np.concatenate([parsed[f.name][part] for f in fields] or [nothing])[order] for part in (0, 1))
        return Rows(
            columns=columns,
            request=request,
            counts=counts.astype(np.int32),
            field=np.concatenate(field or [nothing.astype(np.uint16)])[order],
            key=key,
            weight=weight.astype(np.float32),
        )


def _digest(text: bytes) -> tuple[int, int]:
    digest = hashlib.blake2b(text, digest_size=16).digest()
    return int.from_bytes(digest[:8], "little", signed=True), int.from_bytes(digest[8:], "little", signed=True)


def _first_of_each(request: pa.Array, digests: Sequence[np.ndarray]) -> np.ndarray:
    """Rows whose request key and context no earlier row has, ascending."""
    codes = request.dictionary_encode().indices.to_numpy()
    order = np.lexsort((*digests, codes))
    changed = np.ones(len(order), bool)
    changed[1:] = np.any([column[order][1:] != column[order][:-1] for column in (codes, *digests)], axis=0)
    return np.sort(order[changed])


def _numbers(lengths: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """A number of each row, NaN where it has none: float32 [rows]."""
    numbers = np.full(len(lengths), np.nan, np.float32)
    numbers[lengths > 0] = bits.astype(np.uint32).view(np.float32)
    return numbers
