"""Rows of CSV to columns of cells, by Arrow's parser: what quotes and separators mean is what it says."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv

from features import reject_reasons
from features.raw_log.csv_rows import CsvRows, Form
from features.schema import Schema

_INDEX = {reason: index for index, reason in enumerate(reject_reasons.REASONS)}
UTF8 = "utf-8"


@dataclasses.dataclass(frozen=True)
class CsvCells:
    """Cells of some rows.

    Attributes:
        rows: places of the rows that could be cut into cells, ascending, int64 [cut].
        columns: the cells of the wanted columns as bytes in UTF-8, binary [cut], by column name.
        faults: index in `reject_reasons.REASONS` by place of the other rows.
    """

    rows: np.ndarray
    columns: dict[str, pa.Array]
    faults: dict[int, int]


class CsvTable:
    """Reads rows of a file with these columns.

    Args:
        header: names of the file's columns.
        wanted: names of the columns to read, among them.
        separator: between cells.
        encoding: Python's name of the log's encoding.
    """

    def __init__(self, header: Sequence[str], wanted: Sequence[str], separator: str, encoding: str = UTF8) -> None:
        self._places = {name: list(header).index(name) for name in wanted}
        self._width = len(header)
        self._separator = separator
        self._encoding = encoding

    def read(self, rows: CsvRows) -> CsvCells:
        """Cells of the rows."""
        faults = dict(rows.faults)
        chosen = np.ones(len(rows), bool)
        chosen[list(faults)] = False
        self._leave_out_blank(rows, chosen, faults)
        data = self._in_utf8(rows, chosen, faults)
        places = np.flatnonzero(chosen)
        columns, wrong = self._columns(data, rows.has_quotes)
        faults |= {int(places[number]): reason for number, reason in wrong.items()}
        return CsvCells(np.delete(places, list(wrong)), columns, faults)

    def _leave_out_blank(self, rows: CsvRows, chosen: np.ndarray, faults: dict[int, int]) -> None:
        """Notes rows of a line end alone: Arrow would take them for rows of empty cells."""
        short = np.flatnonzero(chosen & (np.diff(rows.edges) <= 2))
        for place in short.tolist():
            if not rows.row(place).strip(b"\r\n"):
                faults[place] = _INDEX[reject_reasons.BLANK_LINE]
                chosen[place] = False

    def _in_utf8(self, rows: CsvRows, chosen: np.ndarray, faults: dict[int, int]) -> bytes:
        """The chosen rows in UTF-8, without those that are not in the log's encoding."""
        data = rows.select(chosen)
        if self._encoding == UTF8 and data.isascii():
            return data
        if not _decodes(data, self._encoding):
            for place in np.flatnonzero(chosen).tolist():
                if not _decodes(rows.row(place), self._encoding):
                    faults[place] = _INDEX[reject_reasons.NOT_UTF8]
                    chosen[place] = False
            data = rows.select(chosen)
        return data if self._encoding == UTF8 else data.decode(self._encoding).encode()

    def _columns(self, data: bytes, has_quotes: bool) -> tuple[dict[str, pa.Array], dict[int, int]]:
        """The wanted columns, and the reasons of rows with another number of cells by their number."""
        wrong: dict[int, int] = {}

        def leave_out(row: pyarrow.csv.InvalidRow) -> str:
            blank = not row.text.strip()
            reason = reject_reasons.BLANK_LINE if blank else reject_reasons.WRONG_COLUMN_COUNT
            wrong[row.number - 1] = _INDEX[reason]
            return "skip"

        if not data:
            return {name: pa.array([], pa.binary()) for name in self._places}, wrong
        wanted = {str(place): pa.binary() for place in self._places.values()}
        table = pyarrow.csv.read_csv(
            pa.py_buffer(data),
            # One block: chunks would cost a copy. One thread: the job's workers take the cores, and rows have numbers.
            pyarrow.csv.ReadOptions(
                use_threads=False, block_size=len(data) + 1, column_names=[str(place) for place in range(self._width)]
            ),
            pyarrow.csv.ParseOptions(
                delimiter=self._separator,
                quote_char='"' if has_quotes else False,
                double_quote=has_quotes,
                newlines_in_values=has_quotes,
                ignore_empty_lines=False,
                invalid_row_handler=leave_out,
            ),
            pyarrow.csv.ConvertOptions(column_types=wanted, include_columns=list(wanted), null_values=[]),
        )
        return {name: table.column(str(place)).combine_chunks() for name, place in self._places.items()}, wrong


def form_of(header: Sequence[str], schema: Schema) -> Form:
    """How rows of a file with these columns are told from lines inside of a quoted cell.

    A line is a row by itself if it has as many cells as the header, and labels where the file has labels. A log
    without labels has less to tell them by: there it takes two lines, and all that the cell holds.
    """
    columns = schema.columns
    spellings = ((*columns.click_is, *columns.click_not), (*columns.conversion_is, *columns.conversion_not))
    # A label that may be spelled in any way tells nothing.
    known = [columns.click_not, columns.conversion_not]
    labels = [
        (list(header).index(name), {text.encode(schema.encoding) for text in texts})
        for name, texts, others in zip(columns.labels, spellings, known, strict=True)
        if name in header and others
    ]
    between = schema.separator.encode()

    def is_row(line: bytes) -> bool:
        cells = line.split(between)
        return len(cells) == len(header) and all(cells[place].strip() in texts for place, texts in labels)

    def holds_rows(lines: list[bytes]) -> bool:
        return any(map(is_row, lines)) if labels else len(lines) > 1 and all(map(is_row, lines))

    return Form(between, holds_rows)


def header_cells(row: bytes, separator: str, encoding: str = UTF8) -> list[str]:
    """Names in a header line, without white space around them. Raises UnicodeDecodeError."""
    text = row.decode(encoding).encode()
    if not text.strip():
        return []
    table = pyarrow.csv.read_csv(
        pa.py_buffer(text),
        pyarrow.csv.ReadOptions(use_threads=False, block_size=len(text) + 1),
        pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
    )
    return [name.strip() for name in table.column_names]


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
