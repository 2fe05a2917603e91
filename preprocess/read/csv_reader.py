"""CSV with a header line: lines to cells. A value may be quoted, but must not hold a line break."""

from __future__ import annotations

import csv

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from features import reject_reasons, row_places
from features.raw_values import ValueProblem
from features.schema import Schema
from preprocess.columns import rows
from preprocess.columns.rows import Rejects
from preprocess.read import table_rows
from preprocess.read.lines import Lines
from preprocess.read.parsed import Parsed

_LARGEST_CELL = 1 << 30


class CsvReader:
    """Reader of the blocks of a file with these columns."""

    def __init__(self, schema: Schema, columns: tuple[str, ...]) -> None:
        self._schema = schema
        self._width = len(columns)
        named = [*schema.columns.named(), *(field.column for field in schema.fields)]
        self._place = {name: columns.index(name) for name in named}
        # Of quoted cells; a list of many values may be long.
        csv.field_size_limit(_LARGEST_CELL)

    def parse(self, lines: Lines, file_index: int) -> Parsed:
        """Rows of a block of lines."""
        places = row_places.place_of(file_index, lines.offsets())
        plain = self._plain_lines(lines)
        columns = self._read_plain(lines.select(plain))
        good, bad = np.flatnonzero(plain), rows.no_rejects()
        if not plain.all():
            checked, cells, bad = self._read_each(lines, np.flatnonzero(~plain), places)
            good = np.concatenate([good, checked])
            order = np.argsort(good)
            columns = {name: pa.concat_arrays([columns[name], cells[name]]).take(order) for name in columns}
            good = good[order]
        fields = {f.name: table_rows.split_cells(f, columns[f.column]) for f in self._schema.fields}
        parsed = table_rows.parse(table_rows.Cells(places[good], columns, fields), self._schema)
        rejects = rows.merge_rejects([bad, parsed.rejects])
        return Parsed(parsed.contexts, parsed.impressions, rejects, len(lines), numbers=parsed.numbers)

    def _plain_lines(self, lines: Lines) -> np.ndarray:
        """Lines that are cut at every comma: of the right number, without quotes, and UTF-8 (bool [lines])."""
        texts = lines.texts()
        plain = pc.equal(pc.count_substring(texts, b","), self._width - 1).to_numpy(zero_copy_only=False)
        if b'"' in lines.data:
            plain &= ~pc.match_substring(texts, b'"').to_numpy(zero_copy_only=False)
        if b"\r" in lines.data:
            plain &= ~pc.match_substring_regex(texts, "\r[^\n]").to_numpy(zero_copy_only=False)
        if not _is_utf8(lines.data):
            plain &= np.array([_is_utf8(lines.line(index)) for index in range(len(lines))], bool)
        return plain

    def _read_plain(self, data: bytes) -> dict[str, pa.Array]:
        if not data:
            return {name: pa.array([], pa.binary()) for name in self._place}
        numbers = [str(place) for place in range(self._width)]
        wanted = {str(place): pa.binary() for place in self._place.values()}
        table = pyarrow.csv.read_csv(
            pa.py_buffer(data),
            pyarrow.csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=numbers),
            pyarrow.csv.ParseOptions(quote_char=False, double_quote=False),
            pyarrow.csv.ConvertOptions(column_types=wanted, include_columns=list(wanted), null_values=[]),
        )
        return {name: table.column(str(place)).combine_chunks() for name, place in self._place.items()}

    def _read_each(
        self, lines: Lines, chosen: np.ndarray, places: np.ndarray
    ) -> tuple[np.ndarray, dict[str, pa.Array], Rejects]:
        """Lines one by one: which are good, their cells, and the others."""
        good: list[int] = []
        found: list[list[str]] = []
        bad: list[tuple[int, int]] = []
        for index in chosen.tolist():
            try:
                found.append(self._cells(lines.line(index)))
                good.append(index)
            except ValueProblem as problem:  # noqa: PERF203 each line has its own
                bad.append((places[index], reject_reasons.REASONS.index(problem.reason)))
        cells = {
            name: pa.array([row[place].encode() for row in found], pa.binary()) for name, place in self._place.items()
        }
        rejected = np.array(bad, np.int64).reshape(-1, 2)
        return np.array(good, np.int64), cells, Rejects(rejected[:, 0], rejected[:, 1].astype(np.uint8))

    def _cells(self, line: bytes) -> list[str]:
        if not line.strip():
            raise ValueProblem(reject_reasons.BLANK_LINE, line)
        try:
            text = line.rstrip(b"\r\n").decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueProblem(reject_reasons.NOT_UTF8, line[error.start : error.end]) from error
        # A carriage return inside ends the row for some readers of CSV and not for others: not taken for a value.
        cells = [] if "\r" in text else next(csv.reader([text]))
        if len(cells) != self._width:
            raise ValueProblem(reject_reasons.WRONG_COLUMN_COUNT, len(cells))
        return cells


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
