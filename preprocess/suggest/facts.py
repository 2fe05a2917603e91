"""What a sample tells of one column: how its values look, how many there are, what may stand for none."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MISSING_WORDS = ("NULL", "null", "\\N", "NaN", "nan", "NA", "N/A", "None", "none")
MISSING_ID = "-1"
_VALUE_SEPARATORS = ("|", ";", ",", "^", " ", "\t", "#", "\x02")
_WHOLE = re.compile(r"\d{1,18}")
_WHOLE_SIGNED = re.compile(r"-?\d{1,18}")
_POINT_ZERO = re.compile(r"\d{1,18}(\.0+)?")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_TOKEN = re.compile(r"[^\s\[\]{}\"']+")
_WORD = re.compile(r"[\w'-]+")
_WEIGHTED = re.compile(r"[^:]+:[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_TIME = re.compile(r"1\d{9}|1\d{12}|\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?")
# A list is one where so many of the cells hold several values.
_LEAST_LISTS = 0.1
# Of the words in all different lists, so many may be there once only.
_MOST_NEW = 0.6
_EXAMPLES = 3


@dataclasses.dataclass(frozen=True)
class Facts:
    """Of one column.

    Attributes:
        name: of the column.
        rows: of the sample.
        codes: place of each row's value in `values`, -1 for none: int64 [rows].
        values: distinct values, frequent ones first, without those that stand for none.
        missing: words that stand for no value.
        is_list: whether the column holds lists, as Parquet can.
        separator: between the values of a cell that holds several; empty for one value.
        is_weighted: whether values have weights.
        entries: distinct single values.
        length: number of values that every cell has, 0 where cells differ.
    """

    name: str
    rows: int
    codes: np.ndarray
    values: list[str]
    missing: tuple[str, ...]
    is_list: bool
    separator: str
    is_weighted: bool
    entries: list[str]
    length: int

    @property
    def present(self) -> np.ndarray:
        """Which rows have a value: bool [rows]."""
        return self.codes >= 0

    @property
    def coverage(self) -> float:
        """Share of rows that have a value."""
        return float(self.present.mean())

    @property
    def is_many(self) -> bool:
        """Whether cells hold several values."""
        return self.is_list or bool(self.separator)

    @property
    def is_whole(self) -> bool:
        """Whether all values are ids, and none is written with zeros in front."""
        return _all(_WHOLE, self.entries) and not any(len(v) > 1 and v[0] == "0" for v in self.entries)

    @property
    def is_whole_with_point(self) -> bool:
        """Whether all values are ids, some written as 12.0."""
        return _all(_POINT_ZERO, self.entries) and not self.is_whole and any("." in v for v in self.entries)

    @property
    def is_number(self) -> bool:
        """Whether all values are numbers."""
        return _all(_NUMBER, self.entries)

    @property
    def is_time(self) -> bool:
        """Whether all values are points in time."""
        return _all(_TIME, self.values)

    @property
    def examples(self) -> str:
        """Some values, for a comment."""
        return ", ".join(_printable(value) for value in self.values[:_EXAMPLES])

    def rows_with(self, spellings: Sequence[str]) -> np.ndarray:
        """Which rows have one of these values: bool [rows]."""
        places = [place for place, value in enumerate(self.values) if value in spellings]
        return np.isin(self.codes, places)


def find(name: str, column: pa.Array) -> Facts:
    """Facts of a column of texts, or of lists of texts."""
    is_list = pa.types.is_list(column.type)
    # A unit separator joins what is a list already: no text of a log holds one.
    lists = [None if v is None or not v else "\x1f".join(v) for v in column.to_pylist()] if is_list else None
    texts = pa.array(lists, pa.string()) if lists is not None else column.cast(pa.string())
    encoded = texts.dictionary_encode()
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    values = [str(value) for value in encoded.dictionary.to_pylist()]
    missing = _missing_words(values)
    order = np.argsort(-np.bincount(codes[codes >= 0], minlength=len(values)), kind="stable")
    kept = [place for place in order.tolist() if values[place] not in missing]
    renumbered = np.full(len(values) + 1, -1, np.int64)
    renumbered[kept] = np.arange(len(kept))
    values = [values[place] for place in kept]
    separator, weighted, entries, length = _lists(values, is_list)
    return Facts(name, len(codes), renumbered[codes], values, missing, is_list, separator, weighted, entries, length)


def _missing_words(values: Sequence[str]) -> tuple[str, ...]:
    words = [word for word in MISSING_WORDS if word in values]
    rest = [value for value in values if value not in words and value != MISSING_ID]
    if MISSING_ID in values and rest and _all(_WHOLE, rest):
        words.append(MISSING_ID)
    return tuple(words)


def _lists(values: Sequence[str], is_list: bool) -> tuple[str, bool, list[str], int]:
    """Separator, whether weighted, distinct entries, and the length that all have."""
    if is_list:
        cut = [value.split("\x1f") for value in values]
        return "", False, _distinct(cut), _one_length(cut)
    for separator in _VALUE_SEPARATORS:
        cut = [[part for part in value.split(separator) if part] for value in values]
        several = sum(len(parts) > 1 for parts in cut)
        if several < _LEAST_LISTS * len(values) or not several or _all(_NUMBER, values) or _all(_TIME, values):
            continue
        entries = _distinct(cut)
        if not _all(_WORD if separator == " " else _TOKEN, entries) or not _are_of_a_kind(entries, cut):
            continue
        weighted = _all(_WEIGHTED, entries)
        plain = sorted({entry.rpartition(":")[0] for entry in entries}) if weighted else entries
        return separator, weighted, plain, _one_length(cut)
    return "", False, list(values), 1


def _are_of_a_kind(entries: Sequence[str], cut: Sequence[Sequence[str]]) -> bool:
    """Whether cutting tells more than it hides: numbers, pairs, or words that come again in other lists."""
    return _all(_NUMBER, entries) or _all(_WEIGHTED, entries) or len(entries) < _MOST_NEW * sum(map(len, cut))


def _distinct(cut: Sequence[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(part for parts in cut for part in parts))


def _one_length(cut: Sequence[Sequence[str]]) -> int:
    lengths = {len(parts) for parts in cut}
    return lengths.pop() if len(lengths) == 1 else 0


def _all(pattern: re.Pattern[str], values: Sequence[str]) -> bool:
    return bool(values) and all(pattern.fullmatch(value) for value in values)


def _printable(value: str) -> str:
    shown = value.replace("\x1f", " ")
    shown = shown if len(shown) <= 24 else shown[:23] + "…"
    return shown if shown.isprintable() else ascii(shown)
