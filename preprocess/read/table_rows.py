"""Raw values of a table's rows to the job's rows: keys of features, contexts told apart, rejected rows."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features import keys, row_places
from features.raw_log import table
from features.raw_log.batches import Batch
from features.raw_log.columns import RawColumn
from features.raw_log.table import RawTable
from features.schema import ID, STANDARD, STRING, Field, Schema
from preprocess.columns import ragged, rows
from preprocess.columns.rows import Rejects, Rows
from preprocess.read.conversions import EVERY_CONVERSION, HELD_BACK, Judged, Window
from preprocess.read.parsed import Parsed

# Tells the same value at two places of a list apart.
_PLACE_STEP = np.int64(0x243F6A8885A308D3)


def parse(
    batch: Batch, file_index: int, schema: Schema, test_from: int | None = None, window: Window = EVERY_CONVERSION
) -> Parsed:
    """Rows of a batch. Of rows from the time `test_from` on, which may be of another split, contexts are kept apart."""
    places = row_places.place_of(file_index, batch.offsets)
    faulty = np.array(list(batch.faults), np.int64)
    faults = Rejects(places[faulty], np.array(list(batch.faults.values()), np.uint8))
    parsed = _TableParser(batch.table, places[batch.cut], schema).parse(test_from, window)
    rejects = rows.merge_rejects([faults, parsed.rejects])
    return dataclasses.replace(parsed, rejects=rejects, read=len(places))


class _TableParser:
    def __init__(self, found: RawTable, places: np.ndarray, schema: Schema) -> None:
        self._table = found
        self._places = places
        self._schema = schema
        self._keys = {field.name: _keys(field, found.fields[field.name]) for field in schema.fields}

    def parse(self, test_from: int | None, window: Window) -> Parsed:
        fine = self._table.defects == table.NO_DEFECT
        bad = np.flatnonzero(~fine)
        rejects = Rejects(self._places[bad], *table.reason_and_column(self._table.defects[bad]))
        held_back = window.held_back(self._table)
        good = fine & ~held_back
        judged = window.judge(self._table, good)
        conversions = judged.counts + Counter({HELD_BACK: int((fine & held_back).sum())})
        request, columns = self._request(), {**self._labels(judged), **self._digests()}
        impressions = self._features(self._schema.impression_fields, len(self._places))
        impressions = dataclasses.replace(impressions, columns=columns, request=request)
        told_apart = [columns[name] for name in (rows.DIGEST_HIGH, rows.DIGEST_LOW)]
        if test_from is not None and self._table.time is not None:
            told_apart.append(self._table.time >= test_from)
        first = _first_of_each(request, told_apart, good)
        contexts = self._contexts(columns, request, first)
        if not good.all():
            impressions = impressions.take(np.flatnonzero(good))
        numbers = {
            field.name: self._number_of_each(field)[good]
            for field in self._schema.fields
            if field.quantiles or field.scale == STANDARD
        }
        return Parsed(
            contexts,
            impressions,
            rejects,
            len(self._places),
            numbers=numbers,
            conversions=conversions,
            delays=judged.delays,
        )

    def _labels(self, judged: Judged) -> rows.Arrays:
        found = self._table
        assert found.click is not None
        sample_id = self._places if found.sample_id is None else found.sample_id
        labels = {rows.CLICK: found.click, rows.CONVERSION: judged.conversion}
        if self._schema.columns.conversion_time:
            labels[rows.AGE] = judged.age
        if found.weight is not None:
            labels[rows.WEIGHT] = found.weight
        if found.user is not None:
            labels[rows.USER] = _users(found.user)
        if found.time is not None:
            labels[rows.TIME] = found.time
        return {rows.PLACE: self._places, **labels, rows.SAMPLE_ID: sample_id}

    def _request(self) -> pa.Array:
        """Request keys; a row without one is a request of its own, and its key is made of its place."""
        found = self._table.request
        if found is not None and pc.all(pc.not_equal(pc.binary_length(found), 0), min_count=0).as_py():
            return found
        own = pa.array(self._places).cast(pa.string()).cast(pa.binary())
        own = pc.binary_join_element_wise(pa.scalar(b"\0", pa.binary()), own, b"")
        return own if found is None else pc.if_else(pc.equal(pc.binary_length(found), 0), own, found)

    def _digests(self) -> rows.Arrays:
        """Two halves of a digest of each row's context: equal values in equal order have an equal one."""
        high, low = (np.zeros(self._table.contexts, np.int64) for _ in range(2))
        if self._schema.columns.request_columns:
            for field in self._schema.context_fields:
                column = self._table.fields[field.name]
                parts = [self._keys[field.name]]
                if field.weighted:
                    parts.append(column.weights.astype(np.float32).view(np.uint32).astype(np.int64))
                for number, values in enumerate(parts):
                    first, second = _mixed_sums(values, column.lengths, f"{field.name}/{number}")
                    high += first
                    low += second
        return {rows.DIGEST_HIGH: self._table.of_rows(high), rows.DIGEST_LOW: self._table.of_rows(low)}

    def _contexts(self, columns: rows.Arrays, request: pa.Array, chosen: np.ndarray) -> Rows:
        """Contexts of the chosen rows."""
        found = self._features(self._schema.context_fields, self._table.contexts)
        found = found.take(chosen if self._table.run is None else self._table.run[chosen])
        chosen_columns = {name: column[chosen] for name, column in columns.items()}
        return dataclasses.replace(found, columns=chosen_columns, request=request.take(pa.array(chosen)))

    def _number_of_each(self, field: Field) -> np.ndarray:
        """A number of each row, NaN where it has none: float32 [rows]."""
        column = self._table.fields[field.name]
        found = np.full(len(column.lengths), np.nan, np.float32)
        found[column.lengths > 0] = column.values.astype(np.float32)
        return self._table.of_rows(found) if field.is_context else found

    def _features(self, fields: Sequence[Field], size: int) -> Rows:
        """So many rows with the features of these fields, rejected ones included, and nothing else."""
        found = [self._table.fields[field.name] for field in fields]
        counts = sum((column.lengths for column in found), np.zeros(size, np.int32))
        row = np.concatenate([ragged.rows_of(column.lengths) for column in found] or [np.empty(0, np.int64)])
        order = np.argsort(row, kind="stable")
        field = [np.full(len(self._keys[f.name]), self._schema.index[f.name], np.uint16) for f in fields]
        weight = [
            c.weights if f.weighted else np.ones(len(self._keys[f.name])) for f, c in zip(fields, found, strict=True)
        ]
        return Rows(
            columns={},
            request=pa.nulls(size, pa.binary()),
            counts=counts.astype(np.int32),
            field=np.concatenate(field or [np.empty(0, np.uint16)])[order],
            key=np.concatenate([self._keys[f.name] for f in fields] or [np.empty(0, np.int64)])[order],
            weight=np.concatenate(weight or [np.empty(0)])[order].astype(np.float32),
        )


def _users(words: pa.Array) -> np.ndarray:
    """A number for each user, int64 [rows]; 0 for a row without one."""
    encoded = words.dictionary_encode()
    named = np.array([keys.fingerprint64(word) for word in encoded.dictionary.to_pylist()], np.int64)
    found = named[encoded.indices.to_numpy()] if len(named) else np.zeros(len(words), np.int64)
    missing = pc.equal(pc.binary_length(words), 0).to_numpy(zero_copy_only=False)
    return np.where(missing, 0, found)


def _keys(field: Field, column: RawColumn) -> np.ndarray:
    """Keys of a field's values, int64: of an id the id, of a number the bits of its float32, of a word its key."""
    if field.type == STRING:
        encoded = column.values.dictionary_encode()
        return keys.keys_of_strings(field, encoded.dictionary.to_pylist())[encoded.indices.to_numpy()]
    return column.values if field.type == ID else _bits_of(column.values)


def _bits_of(numbers: np.ndarray) -> np.ndarray:
    """Bits of the float32 of each number: float64 [n] -> int64 [n]. Both zeros have those of 0."""
    return (numbers.astype(np.float32) + np.float32(0)).view(np.uint32).astype(np.int64)


def _mixed_sums(values: np.ndarray, lengths: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Two sums of each list's values, mixed with their places in it: int64 [values] -> int64 [rows] twice."""
    where = np.arange(len(values)) - np.repeat(ragged.starts(lengths)[:-1], lengths)
    with np.errstate(over="ignore"):
        mixed = keys.mix64(values + where * _PLACE_STEP + np.int64(keys.fingerprint64(name)))
        return ragged.sums(mixed, lengths), ragged.sums(mixed * (mixed >> 32 | 1), lengths)


def _first_of_each(request: pa.Array, digests: Sequence[np.ndarray], good: np.ndarray) -> np.ndarray:
    """Good rows whose request key and context no earlier good row has, ascending."""
    places = np.flatnonzero(good)
    request = request if len(places) == len(request) else request.take(pa.array(places))
    # Rows of a request mostly follow each other: the first of each run are few.
    begins = _differs([digest[places] for digest in digests])
    before = request.slice(0, max(len(request) - 1, 0))
    begins[1:] |= pc.not_equal(request.slice(1), before).to_numpy(zero_copy_only=False)
    run = np.flatnonzero(begins)
    codes = request.take(pa.array(run)).dictionary_encode().indices.to_numpy()
    columns = [codes, *(digest[places[run]] for digest in digests)]
    order = np.lexsort(columns[::-1])
    return places[run[np.sort(order[_differs([column[order] for column in columns])])]]


def _differs(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Rows that differ from the one before in any column: bool [rows]."""
    differs = np.ones(len(columns[0]), bool)
    differs[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return differs
