r"""Ali-CCP's two files: lines to columns.

A line that matches a regular expression is regular: Arrow's CSV reader takes all regular lines of a block at once,
and then, with \x01 made a line end and \x02 and \x03 made commas, all their features as a table of three columns
(a hundred megabytes a second and core). The few others go through `aliccp_row`, one by one in Python, which finds
what is wrong with them, or that they are unusual but right.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from features import names, reject_reasons, row_places
from features.raw_log import aliccp_row, table
from features.raw_values import ValueProblem
from features.schema import Field, Schema
from preprocess.columns import ragged, rows
from preprocess.columns.rows import Rejects, Rows
from preprocess.read.lines import Lines
from preprocess.read.parsed import Parsed

# So many digits cannot overflow.
ID_PATTERN = "[0-9]{1,18}"
WEIGHT_PATTERN = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_FEATURE = rf"[!-+\--~]+\x02{ID_PATTERN}\x03{WEIGHT_PATTERN}"
_TAIL = rf"[!-+\--~]*,[0-9]{{1,9}},(?:{_FEATURE}(?:\x01{_FEATURE})*)?\r?\n$"
_REGULAR_CONTEXT = f"^{_TAIL}"
_REGULAR_IMPRESSION = f"^{ID_PATTERN},[01],[01],{_TAIL}"

_LABELS = {rows.SAMPLE_ID: pa.int64(), rows.CLICK: pa.uint8(), rows.CONVERSION: pa.uint8()}
_LINE_COLUMNS = {"request": pa.binary(), "count": pa.int32(), "features": pa.binary()}
_FEATURE_COLUMNS = {"field": pa.dictionary(pa.int32(), pa.binary()), "key": pa.int64(), "weight": pa.float64()}
_SEPARATORS = (names.FEATURE_SEPARATOR + names.FIELD_SEPARATOR + names.VALUE_SEPARATOR).encode()
_TO_TABLE = bytes.maketrans(_SEPARATORS, b"\n,,")


class AliccpReader:
    """Reader of blocks of one side: common_features (`is_context`) or sample_skeleton."""

    def __init__(self, schema: Schema, is_context: bool) -> None:
        fields: tuple[Field, ...] = schema.context_fields if is_context else schema.impression_fields
        self._is_context = is_context
        self._regular = _REGULAR_CONTEXT if is_context else _REGULAR_IMPRESSION
        self._columns = _LINE_COLUMNS if is_context else {**_LABELS, **_LINE_COLUMNS}
        self._one_value = {field.column: not field.is_many for field in fields}
        self._is_single = np.array([not field.is_many for field in schema.fields])
        self._field_count = len(schema.fields)
        labels = zip((names.SAMPLE_ID, names.CLICK, names.CONVERSION), _label_columns(schema), strict=True)
        self._column = {name: place for place, name in enumerate(table.column_names(schema))}
        self._column |= {name: self._column.get(column or "", table.WHOLE_ROW) for name, column in labels}
        self._known = {field.column: schema.index[field.name] for field in fields}

    def parse(self, lines: Lines, file_index: int) -> Parsed:
        """Rows of a block of lines."""
        places = row_places.place_of(file_index, lines.offsets())
        fields = _FieldNumbers(self._known, self._field_count)
        regular = pc.match_substring_regex(lines.texts(), self._regular).to_numpy(zero_copy_only=False)
        found = self._regular_rows(lines.select(regular), places[regular], fields)
        doubtful = self._doubtful(found)
        rejects = rows.no_rejects()
        if doubtful.any() or not regular.all():
            irregular = ~regular
            irregular[np.flatnonzero(regular)[doubtful]] = True
            checked, rejects = self._checked_rows(lines, np.flatnonzero(irregular), places, fields)
            both = rows.concatenate([found.take(np.flatnonzero(~doubtful)), checked])
            found = both.take(np.argsort(both.columns[rows.PLACE]))
        accepted, unknown = self._without_unknown(found, fields)
        accepted.columns.pop("count")
        if self._is_context:
            return Parsed(accepted, None, rejects, len(lines), unknown)
        return Parsed(None, accepted, rejects, len(lines), unknown)

    def _regular_rows(self, data: bytes, places: np.ndarray, fields: _FieldNumbers) -> Rows:
        table = _read_table(data, self._columns)
        lists = table.pop("features")
        sizes = pc.binary_length(lists).to_numpy()
        text = ragged.joined(lists.filter(pa.array(sizes > 0)), names.FEATURE_SEPARATOR.encode())
        features = _read_table(text.translate(_TO_TABLE), _FEATURE_COLUMNS)
        request = table.pop("request")
        return Rows(
            columns={rows.PLACE: places, **{name: column.to_numpy() for name, column in table.items()}},
            request=request,
            counts=_feature_counts(text, sizes),
            field=_field_numbers(features["field"], fields),
            key=features["key"].to_numpy(),
            # By way of float64, as every other reader of the log rounds.
            weight=features["weight"].to_numpy().astype(np.float32),
        )

    def _doubtful(self, found: Rows) -> np.ndarray:
        """Rows that need a closer look: bool [rows]."""
        doubtful = found.columns["count"] != found.counts
        if not self._is_context:
            doubtful |= found.columns[rows.CONVERSION] > found.columns[rows.CLICK]
        row = ragged.rows_of(found.counts)
        known = found.field < self._field_count
        single = np.zeros(len(found.field), bool)
        single[known] = self._is_single[found.field[known]]
        cells = row[single] * self._field_count + found.field[single]
        seen = np.bincount(cells, minlength=len(found) * self._field_count)
        return doubtful | (seen.reshape(len(found), self._field_count) > 1).any(axis=1)

    def _checked_rows(
        self, lines: Lines, chosen: np.ndarray, places: np.ndarray, fields: _FieldNumbers
    ) -> tuple[Rows, Rejects]:
        good: list[tuple[int, aliccp_row.Row]] = []
        bad: list[tuple[int, int, int]] = []
        for index in chosen.tolist():
            try:
                good.append((places[index], aliccp_row.parse(lines.line(index), self._one_value, self._is_context)))
            except ValueProblem as problem:  # noqa: PERF203 each line has its own
                column = self._column.get(problem.column, table.WHOLE_ROW)
                bad.append((places[index], reject_reasons.REASONS.index(problem.reason), column))
        place, reason, at_fault = np.array(bad, np.int64).reshape(-1, 3).T
        return self._rows_of(good, fields), Rejects(place, reason.astype(np.uint8), at_fault.astype(np.int16))

    def _rows_of(self, good: list[tuple[int, aliccp_row.Row]], fields: _FieldNumbers) -> Rows:
        found = [row for _, row in good]
        features = [feature for row in found for feature in row.features]
        columns = {rows.PLACE: np.array([place for place, _ in good], np.int64)}
        if not self._is_context:
            labels = ((rows.SAMPLE_ID, np.int64), (rows.CLICK, np.uint8), (rows.CONVERSION, np.uint8))
            columns |= {name: np.array([getattr(row, name) for row in found], dtype) for name, dtype in labels}
        counts = np.array([len(row.features) for row in found], np.int32)
        return Rows(
            columns={**columns, "count": counts},
            request=pa.array([row.request for row in found], pa.binary()),
            counts=counts,
            field=fields.of(feature.field for feature in features),
            key=np.array([feature.key for feature in features], np.int64),
            weight=np.array([feature.weight for feature in features], np.float32),
        )

    def _without_unknown(self, found: Rows, fields: _FieldNumbers) -> tuple[Rows, Counter[str]]:
        known = found.field < self._field_count
        if known.all():
            return dataclasses.replace(found, field=found.field.astype(np.uint16)), Counter()
        times = np.bincount(found.field, minlength=fields.end)
        unknown = Counter({name: int(times[number]) for name, number in fields.unknown().items() if times[number]})
        accepted = Rows(
            columns=found.columns,
            request=found.request,
            counts=ragged.sums(known, found.counts).astype(np.int32),
            field=found.field[known].astype(np.uint16),
            key=found.key[known],
            weight=found.weight[known],
        )
        return accepted, unknown


class _FieldNumbers:
    """Numbers of field names: of the schema's, and behind them of those that the schema does not have."""

    def __init__(self, known: dict[str, int], field_count: int) -> None:
        self._numbers = dict(known)
        self._known = known
        self.end = field_count

    def of(self, columns: Iterable[str]) -> np.ndarray:
        """Number of each name: int32 [names]. New names get the next numbers, more than a schema's own."""
        return np.array([self._number(name) for name in columns], np.int32)

    def unknown(self) -> dict[str, int]:
        """Numbers of the names that the schema does not have."""
        return {name: number for name, number in self._numbers.items() if name not in self._known}

    def _number(self, name: str) -> int:
        if name not in self._numbers:
            self._numbers[name] = self.end
            self.end += 1
        return self._numbers[name]


def _label_columns(schema: Schema) -> tuple[str | None, str, str]:
    return schema.columns.sample_id, schema.columns.click, schema.columns.conversion


def _read_table(data: bytes, columns: dict[str, pa.DataType]) -> dict[str, pa.Array]:
    if not data:
        return {name: pa.array([], kind) for name, kind in columns.items()}
    table = pyarrow.csv.read_csv(
        pa.py_buffer(data),
        # One block: chunks would cost a copy. One thread: Beam's workers take the cores.
        pyarrow.csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=list(columns)),
        pyarrow.csv.ParseOptions(quote_char=False, double_quote=False),
        pyarrow.csv.ConvertOptions(column_types=columns, null_values=[]),
    )
    return {name: table.column(name).combine_chunks() for name in columns}


def _feature_counts(text: bytes, sizes: np.ndarray) -> np.ndarray:
    """Number of features in each list: the joined lists and the length of each -> int32 [lists]."""
    separators = np.flatnonzero(np.frombuffer(text, np.uint8) == ord(names.FEATURE_SEPARATOR))
    filled = sizes > 0
    ends = np.cumsum(sizes[filled] + 1) - 1
    counts = np.zeros(len(sizes), np.int32)
    counts[filled] = np.diff(np.searchsorted(separators, ends), prepend=-1)
    return counts


def _field_numbers(field: pa.DictionaryArray, fields: _FieldNumbers) -> np.ndarray:
    numbers = fields.of(name.decode() for name in field.dictionary.to_pylist())
    return numbers[field.indices.to_numpy()]
