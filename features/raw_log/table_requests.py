"""Rows of CSV and Parquet as a client sends them, from the batches that the job makes its rows of."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from features import reject_reasons, row_places
from features.raw_log import cells, log_files, table
from features.raw_log.batches import Batch, TableReader
from features.raw_log.columns import RawColumn
from features.raw_log.log_files import LogFile
from features.raw_log.raw_rows import RawLogError, RawRow, Values
from features.raw_values import ValueProblem
from features.schema import Field, Schema

# Small pieces, so that the first scores come soon and little waits in memory.
_BYTES = 1 << 20


def rows(files: Sequence[LogFile], schema: Schema, report: Callable[[RawLogError], None]) -> Iterator[RawRow]:
    """The rows of the files, in order. Those that cannot be read are reported where they stand.

    So is a row whose context differs from that of the first row of its run; the job, which sees all rows of a request,
    also finds those that do not follow each other.
    """
    described = [log_files.described(file, schema, with_labels=False) for file in files]
    return _with_one_context(_rows(described, schema, report), schema, report)


def _rows(
    files: Sequence[LogFile], schema: Schema, report: Callable[[RawLogError], None]
) -> Iterator[tuple[RawRow, _BatchRows, int]]:
    """Rows, and where they are from: the batch and the place in it."""
    for file in files:
        reader = TableReader(file, schema, _BYTES, with_labels=False)
        lines = file.header_lines
        for block in log_files.blocks(file, max(file.size, 1)):
            for batch in reader.batches(block):
                yield from _BatchRows(batch, file, schema, lines, report).rows()
                lines += batch.source.data.count(b"\n") if batch.source else 0


def _with_one_context(
    found: Iterator[tuple[RawRow, _BatchRows, int]], schema: Schema, report: Callable[[RawLogError], None]
) -> Iterator[RawRow]:
    request, context = object(), {}
    for row, source, place in found:
        if row.request != request:
            request, context = row.request, row.context() if schema.columns.request_columns else {}
        elif row.context() != context:
            report(source.mismatch(place, row.context(), context))
            continue
        yield row


class _BatchRows:
    def __init__(
        self, batch: Batch, file: LogFile, schema: Schema, lines: int, report: Callable[[RawLogError], None]
    ) -> None:
        self._batch = batch
        self._file = file
        self._schema = schema
        self._lines = lines
        self._report = report
        self._last_context: tuple[int, Values] = (-1, {})
        self._edges = {name: _edges(column) for name, column in batch.table.fields.items()}

    def rows(self) -> Iterator[tuple[RawRow, _BatchRows, int]]:
        """The good rows, and their places; reports the others."""
        found = self._batch.table
        requests = found.request.to_pylist() if found.request is not None else [b""] * len(self._batch.cut)
        good = (found.defects == table.NO_DEFECT).tolist()
        values = {f.name: _lists(found.fields[f.name], self._edges[f.name]) for f in self._schema.impression_fields}
        numbers = dict(zip(self._batch.cut.tolist(), range(len(good)), strict=True))
        for place, offset in enumerate(self._batch.offsets.tolist()):
            number = numbers.get(place)
            if number is None:
                self._report(self._error(place, self._fault(place)))
            elif not good[number]:
                self._report(self._error(place, self._problem(number)))
            else:
                unique = row_places.place_of(self._file.index, offset)
                sample_id = unique if found.sample_id is None else int(found.sample_id[number])
                row_values = self._row_values(self._schema.impression_fields, values, number)
                context = functools.partial(self._context, number)
                yield RawRow(requests[number] or unique, sample_id, row_values, context), self, place

    def mismatch(self, place: int, context: Values, first: Values) -> RawLogError:
        """What is reported of a row with another context than the first one of its run."""
        fields = self._schema.context_fields
        field = next(f for f in fields if any(context.get(k) != first.get(k) for k in (f.name, f.weight_key)))
        value = f"{context[field.name]} after {first[field.name]}"
        return self._error(place, ValueProblem(reject_reasons.CONTEXT_MISMATCH, value, field.column))

    def _row_values(self, fields: Sequence[Field], lists: dict[str, Any], number: int) -> Values:
        values: Values = {}
        for field in fields:
            found, weights = lists[field.name](number)
            values[field.name] = found
            if field.weighted:
                values[field.weight_key] = weights
        return values

    def _context(self, number: int) -> Values:
        fields, run = self._schema.context_fields, self._batch.table.run
        place = number if run is None else int(run[number])
        if self._last_context[0] != place:
            lists = {f.name: _lists(self._batch.table.fields[f.name], self._edges[f.name]) for f in fields}
            self._last_context = place, self._row_values(fields, lists, place)
        return self._last_context[1]

    def _fault(self, place: int) -> ValueProblem:
        source = self._batch.source
        assert source is not None
        reason = reject_reasons.REASONS[self._batch.faults[place]]
        return ValueProblem(reason, source.row(place).rstrip(b"\r\n"))

    def _problem(self, number: int) -> ValueProblem:
        reasons, columns = table.reason_and_column(self._batch.table.defects[number : number + 1])
        column = table.column_names(self._schema)[columns[0]]
        cell = self._batch.cells[column][number]
        return ValueProblem(reject_reasons.REASONS[reasons[0]], cells.shown(cell), column)

    def _error(self, place: int, problem: ValueProblem) -> RawLogError:
        offset = int(self._batch.offsets[place])
        source = self._batch.source
        line = offset + 1 if source is None else self._lines + source.data.count(b"\n", 0, int(source.edges[place])) + 1
        return RawLogError(self._file.path, line, offset, problem)


def _edges(column: RawColumn) -> list[int]:
    edges = np.zeros(len(column.lengths) + 1, np.int64)
    np.cumsum(column.lengths, out=edges[1:])
    return edges.tolist()


def _lists(column: RawColumn, edges: list[int]) -> Callable[[int], tuple[list[Any], list[float]]]:
    """Gives the values and weights of a row."""
    values, weights = column.values, column.weights

    def of_row(number: int) -> tuple[list[Any], list[float]]:
        begin, end = edges[number], edges[number + 1]
        if isinstance(values, np.ndarray):
            return values[begin:end].tolist(), weights[begin:end].tolist()
        return [word.decode() for word in values.slice(begin, end - begin).to_pylist()], weights[begin:end].tolist()

    return of_row
