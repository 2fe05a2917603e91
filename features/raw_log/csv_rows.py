r"""Where the rows of CSV begin and end, quotes and line breaks inside of them considered, in bytes.

A row is cut as RFC 4180 has it: a cell that begins with a quote ends at the next quote that is not doubled, and a
separator or line end must follow. Quotes inside of other cells are characters. A cell whose quote is not closed so is
at fault, and costs its own line alone: reading goes on with the next line, so a stray quote never swallows the rows
behind it. The same is said of a quoted cell with a line break that does not end within `LONGEST_BREAK` bytes, or
that holds what are rows by themselves.

The last two bounds also make the cutting local. At the start of a line, look for the next quote that is not doubled: if
neither separator nor line end follows it (or none is near), no cell can have been open there, and a row begins. Two
readers of neighbouring blocks look at the same bytes and find the same place, so blocks can be read at the same time.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import numpy as np

from features import reject_reasons

# A quoted cell must end within so many bytes of the first line break in it.
LONGEST_BREAK = 1 << 20
_NEWLINE, _RETURN, _QUOTE = 0x0A, 0x0D, 0x22
_FINE, _OPEN, _RETURNS, _BLANK = 0, 1, 2, 3
_REASONS = {
    _OPEN: reject_reasons.OPEN_QUOTE,
    _RETURNS: reject_reasons.WRONG_COLUMN_COUNT,
    _BLANK: reject_reasons.BLANK_LINE,
}


@dataclasses.dataclass(frozen=True)
class Form:
    """How the cells of a file are separated.

    Attributes:
        separator: one byte, between cells.
        holds_rows: whether lines inside of a quoted cell are rows by themselves; see `csv_table`.
    """

    separator: bytes
    holds_rows: Callable[[list[bytes]], bool]


@dataclasses.dataclass(frozen=True)
class CsvRows:
    """Whole rows.

    Attributes:
        data: the bytes; the last row ends with a line end, also where the file's last does not.
        edges: place of each row's first byte in `data`, and the end: int64 [rows + 1].
        offset: place of `data` in the (uncompressed) file.
        faults: index in `reject_reasons.REASONS` by place of a row that cannot be cut into cells.
        has_quotes: whether a quote is among the bytes.
    """

    data: bytes
    edges: np.ndarray
    offset: int
    faults: dict[int, int]
    has_quotes: bool

    def __len__(self) -> int:
        return len(self.edges) - 1

    def row(self, index: int) -> bytes:
        """One row with its line end."""
        return self.data[self.edges[index] : self.edges[index + 1]]

    def select(self, chosen: np.ndarray) -> bytes:
        """The bytes of the chosen rows: bool [rows] -> bytes."""
        if chosen.all():
            return self.data
        return np.frombuffer(self.data, np.uint8)[np.repeat(chosen, np.diff(self.edges))].tobytes()


def cut(data: bytes, offset: int, form: Form, is_end: bool) -> CsvRows:
    """The whole rows at the begin of bytes that begin with a row. `is_end`: the last row ends with them."""
    if is_end and data and data[-1] != _NEWLINE:
        data += b"\n"
    codes = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(codes == _NEWLINE) + 1
    has_quotes = b'"' in data
    faults: dict[int, int] = {}
    has_lone_returns = b"\r" in data and bool(_lone_returns(codes).size)
    if has_quotes or has_lone_returns:
        regular = None if has_lone_returns else _regular_ends(codes, ends, form, data, is_end)
        ends, faults = (regular, {}) if regular is not None else _Cutter(data, codes, ends, form, is_end).cut()
    edges = np.concatenate([np.zeros(1, np.int64), ends])
    return CsvRows(data[: edges[-1]], edges, offset, faults, has_quotes)


def _lone_returns(codes: np.ndarray) -> np.ndarray:
    """Places of carriage returns that no line feed follows."""
    found = np.flatnonzero(codes == _RETURN)
    return found[codes[np.minimum(found + 1, len(codes) - 1)] != _NEWLINE]


def _followers(form: Form) -> tuple[np.ndarray, np.ndarray]:
    """Tables of the bytes that may stand before a quote that opens, and behind one that closes."""
    before, behind = np.zeros(256, bool), np.zeros(256, bool)
    before[[form.separator[0], _NEWLINE, _QUOTE]] = True
    behind[[form.separator[0], _NEWLINE, _RETURN, _QUOTE]] = True
    return before, behind


def _regular_ends(codes: np.ndarray, ends: np.ndarray, form: Form, data: bytes, is_end: bool) -> np.ndarray | None:
    """Ends of the rows where every quote opens or closes a cell in turn; None where one does neither."""
    quotes = np.flatnonzero(codes == _QUOTE)
    parity = np.searchsorted(quotes, ends) & 1
    rows = ends[parity == 0]
    if is_end and parity.size and parity[-1]:
        return None
    whole = int(rows[-1]) if len(rows) else 0
    if len(ends) and not is_end and int(ends[-1]) - whole > LONGEST_BREAK:
        return None
    quotes = quotes[quotes < whole]
    before, behind = _followers(form)
    opening, closing = quotes[0::2], quotes[1::2]
    starts = opening[1:] if len(opening) and opening[0] == 0 else opening
    if not (before[codes[starts - 1]].all() and behind[codes[closing + 1]].all()):
        return None
    inner = ends[(parity == 1) & (ends < whole)]
    if len(inner) and _broken_too_long(inner, closing, opening, data, form):
        return None
    return rows


def _broken_too_long(inner: np.ndarray, closing: np.ndarray, opening: np.ndarray, data: bytes, form: Form) -> bool:
    """Whether a cell with line breaks (whose ends are `inner`) is no cell: too long, or made of rows."""
    # Doubled quotes close and open at once: the cell ends where no quote opens right behind.
    last = np.append(closing[:-1] + 1 != opening[1:], True)
    final = closing[last]
    cell = np.searchsorted(final, inner)
    _, first, counts = np.unique(cell, return_index=True, return_counts=True)
    if (final[cell[first]] - inner[first] + 1 >= LONGEST_BREAK).any():
        return True
    return any(
        form.holds_rows(data[inner[begin] : inner[begin + count - 1]].splitlines())
        for begin, count in zip(first.tolist(), counts.tolist(), strict=True)
        if count > 1
    )


class _Cutter:
    """Cuts bytes line by line: only lines that are not regular by themselves cost more than a comparison."""

    def __init__(self, data: bytes, codes: np.ndarray, ends: np.ndarray, form: Form, is_end: bool) -> None:
        self._data, self._codes, self._ends, self._form, self._is_end = data, codes, ends, form, is_end
        separator = re.escape(form.separator)
        self._bare = re.compile(rb"[^" + separator + rb"\r\n]*")

    def cut(self) -> tuple[np.ndarray, dict[int, int]]:
        starts: np.ndarray = np.concatenate([np.zeros(1, np.int64), self._ends])
        is_start: np.ndarray = np.ones(len(starts), bool)
        faulty: list[tuple[int, int]] = []
        covered = 0
        for line in np.flatnonzero(self._irregular()).tolist():
            if line < covered:
                continue
            end, fault = self._row(int(starts[line]))
            if end is None:
                # The rest of the row is not here yet.
                starts, is_start = starts[: line + 1], is_start[: line + 1]
                break
            if fault:
                end = int(self._ends[line])
                fault = fault if self._data[starts[line] : end].strip() else _BLANK
                faulty.append((line, reject_reasons.REASONS.index(_REASONS[fault])))
            covered = int(np.searchsorted(starts, end))
            is_start[line + 1 : covered] = False
        number = np.cumsum(is_start) - 1
        return starts[is_start][1:], {int(number[line]): reason for line, reason in faulty}

    def _irregular(self) -> np.ndarray:
        """Lines that are no row, or not surely one, by themselves: bool [lines]."""
        codes, ends = self._codes, self._ends
        irregular = np.zeros(len(ends), bool)
        lone = np.searchsorted(ends, _lone_returns(codes), side="right")
        irregular[lone[lone < len(ends)]] = True
        quotes = np.flatnonzero(codes == _QUOTE)
        quotes = quotes[quotes < (ends[-1] if len(ends) else 0)]
        line = np.searchsorted(ends, quotes, side="right")
        first = np.searchsorted(line, np.arange(len(ends)))
        closes = (np.arange(len(quotes)) - first[line]) & 1 == 1
        before, behind = _followers(self._form)
        fits = np.where(closes, behind[codes[quotes + 1]], (quotes == 0) | before[codes[quotes - 1]])
        irregular[line[~fits]] = True
        irregular |= np.bincount(line, minlength=len(ends)) & 1 == 1
        return irregular

    def _row(self, start: int) -> tuple[int | None, int]:
        """End of the row that begins here (None: not in the data) and what is wrong with it."""
        data, place = self._data, start
        while True:
            if data[place : place + 1] == b'"':
                closed = self._closing(place)
                if closed <= 0:
                    return (None, _FINE) if closed == 0 else (start, _OPEN)
                place = closed + 1
            else:
                place = self._bare.match(data, place).end()  # type: ignore[union-attr]
            following = data[place : place + 2]
            if following[:1] == self._form.separator:
                place += 1
            elif following[:1] == b"\n":
                return place + 1, _FINE
            elif following == b"\r\n":
                return place + 2, _FINE
            elif len(following) < 2 and not self._is_end:
                return None, _FINE
            else:
                return start, _RETURNS if following[:1] == b"\r" else _OPEN

    def _closing(self, opening: int) -> int:
        """Place of the quote that closes a cell; 0: it is not in the data yet, -1: there is none."""
        data = self._data
        end = data.find(b"\n", opening)
        limit = min(len(data), end + LONGEST_BREAK if end >= 0 else len(data))
        place = opening + 1
        while (place := data.find(b'"', place, limit)) >= 0:
            if data[place + 1 : place + 2] != b'"':
                inside = data[opening + 1 : place].split(b"\n")
                return -1 if len(inside) > 2 and self._form.holds_rows(_unreturned(inside[1:-1])) else place
            place += 2
        return -1 if self._is_end or limit < len(data) else 0


def _unreturned(lines: list[bytes]) -> list[bytes]:
    return [line.removesuffix(b"\r") for line in lines]


def may_be_inside(data: bytes, place: int, separator: bytes, is_end: bool) -> int | None:
    """Whether a quoted cell may be open where a line begins: the place behind the quote that would close it, else 0.

    None: more bytes are needed to tell, unless `is_end`.
    """
    limit = place + LONGEST_BREAK
    found = place
    while (found := data.find(b'"', found, limit)) >= 0:
        following = data[found + 1 : found + 2]
        if not following and not is_end:
            return None
        if following != b'"':
            return found + 1 if following in (b"", b"\n", b"\r", separator) else 0
        found += 2
    return 0 if is_end or len(data) >= limit else None
