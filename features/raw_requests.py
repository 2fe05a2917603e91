"""Requests as they stand in a raw log, for whoever sends them to a served model. Streams; for bulk work see preprocess.

A request is a run of consecutive rows that share a context. Nothing is filtered or mapped: ids are whole numbers,
words are texts, numbers are floats, lists have the length that they have in the log.
"""

from __future__ import annotations

import csv
import dataclasses
import glob
import gzip
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from features import keys, names, reject_reasons, row_places
from features.raw_values import Value, ValueProblem, parse_cell, parse_id, parse_value, parse_weight
from features.schema import Field, Schema

Values = dict[str, list[Value]]


class RawLogError(ValueError):
    """A row that cannot be read: file, line (from 1; of Parquet the row) and a reason of `reject_reasons`."""

    def __init__(self, file: str, line: int, problem: ValueProblem) -> None:
        super().__init__(f"{file}, line {line}: {problem}")
        self.file = file
        self.line = line
        self.reason = problem.reason


OnBroken = Callable[[RawLogError], None]


@dataclasses.dataclass(frozen=True)
class RawRequest:
    """A context and the impressions that share it. Keys are field names and, for weighted fields, weight keys.

    Attributes:
        sample_ids: of the impressions, n of them.
        context: values of each context field; an empty list where the log has none.
        impressions: of each impression field n lists of values.
    """

    sample_ids: list[int]
    context: Values
    impressions: dict[str, list[list[Value]]]


@dataclasses.dataclass(frozen=True)
class _Row:
    """One impression of the log; rows of one `key` in a row are a request."""

    key: object
    sample_id: int
    values: Values


def read(
    input_dir: str,
    split: str,
    schema: Schema,
    input_format: str,
    on_broken: OnBroken | None = None,
    max_impressions: int | None = None,
) -> Iterator[RawRequest]:
    """Streams the requests of a split in input order. Labels are not looked at, so a log without them can be read.

    Args:
        input_dir: folder of the log: Ali-CCP's two files, or what `names.log_patterns` names.
        split: train, test or any other word in the file names.
        schema: what to read; columns and fields beside it are passed over.
        input_format: one of `names.INPUT_FORMATS`.
        on_broken: called with each row that cannot be read, which is then left out (a broken context row: its
            impressions are read without context). Without it the first such row is raised.
        max_impressions: a longer run of impressions is cut, each piece with the whole context.

    Raises:
        RawLogError: a broken row, where `on_broken` is not given.
        FileNotFoundError: no log there.
        ValueError: an unknown format, or a table without a column that the schema names.
    """
    report = on_broken or _raise
    if input_format == names.ALICCP:
        contexts = _AliccpContexts(_aliccp_paths(input_dir, names.common_file(split)), schema, report)
        rows = _aliccp_rows(_aliccp_paths(input_dir, names.skeleton_file(split)), schema, report)
        return _requests(rows, lambda row: contexts.find(str(row.key)), schema, max_impressions)
    if input_format not in names.INPUT_FORMATS:
        allowed = ", ".join(names.INPUT_FORMATS)
        raise ValueError(f"input_format {input_format!r}: allowed are {allowed}")
    rows = _table_rows(input_dir, split, schema, input_format, report)
    return _requests(rows, lambda row: row.values, schema, max_impressions)


def to_json(requests: Iterable[RawRequest]) -> str:
    """JSON text of a list of requests, one request a line."""
    return "[" + ",\n".join(json.dumps(vars(request), ensure_ascii=False) for request in requests) + "]\n"


def from_json(text: str | bytes) -> list[RawRequest]:
    """The requests that `to_json` wrote."""
    return [RawRequest(**request) for request in json.loads(text)]


def _requests(
    rows: Iterable[_Row], context_of: Callable[[_Row], Values], schema: Schema, max_impressions: int | None
) -> Iterator[RawRequest]:
    context_keys = _value_keys(schema.context_fields)
    impression_keys = _value_keys(schema.impression_fields)
    for _, run in itertools.groupby(rows, key=lambda row: row.key):
        context: Values = {}
        while piece := list(itertools.islice(run, max_impressions)):
            if not context:
                found = context_of(piece[0])
                context = {key: found.get(key, []) for key in context_keys}
            impressions = {key: [row.values.get(key, []) for row in piece] for key in impression_keys}
            yield RawRequest([row.sample_id for row in piece], context, impressions)


def _value_keys(fields: Sequence[Field]) -> list[str]:
    return [key for field in fields for key in ([field.name, field.weight_key] if field.weighted else [field.name])]


def _raise(error: RawLogError) -> None:
    raise error


# Ali-CCP: two files without header.


def _aliccp_paths(input_dir: str, name: str) -> list[str]:
    """The file of that name, or what it was cut into: others that begin so, or a folder of files."""
    stem, suffix = os.path.splitext(os.path.join(input_dir, name))
    paths = sorted(glob.glob(stem + "*" + suffix) + glob.glob(os.path.join(stem, "*")))
    if not paths:
        raise FileNotFoundError(
            f"no {name} in {input_dir}; compressed files must be unpacked, contexts are read by place"
        )
    return paths


def _aliccp_rows(paths: Sequence[str], schema: Schema, report: OnBroken) -> Iterator[_Row]:
    fields = {field.column: field for field in schema.impression_fields}
    for path in paths:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    row = _aliccp_row(fields, line)
                except ValueProblem as problem:  # noqa: PERF203
                    report(RawLogError(path, number, problem))
                else:
                    yield row


def _aliccp_row(fields: dict[str, Field], line: bytes) -> _Row:
    sample_id, _, _, key, count, features = _columns(line, 6)
    identity = parse_id(sample_id, reject_reasons.BAD_NUMBER)
    return _Row(key, identity, _feature_list(fields, count, features))


class _AliccpContexts:
    """Rows of common_features files, found by their key through arrays: a fingerprint and a place for each row.

    Building reads the files once; 730 thousand rows take 18 MB. A row is parsed when it is asked for.
    """

    def __init__(self, paths: Sequence[str], schema: Schema, report: OnBroken) -> None:
        self._paths = paths
        self._report = report
        self._fields = {field.column: field for field in schema.context_fields}
        self._files = [open(path, "rb") for path in paths]  # noqa: SIM115 until the iterator that holds this is done
        fingerprints, offsets, counts = [], [], []
        for file in self._files:
            offset = 0
            for line in file:
                fingerprints.append(keys.fingerprint64(line[: line.find(b",")]))
                offsets.append(offset)
                offset += len(line)
            counts.append(len(offsets))
        found = np.array(fingerprints, np.int64)
        # Stable: of several rows with one key the first in the log is found first, and used.
        self._order = np.argsort(found, kind="stable")
        self._fingerprints = found[self._order]
        self._offsets = np.array(offsets, np.int64)
        self._ends = np.array(counts, np.int64)

    def find(self, key: str) -> Values:
        """Values of the context, none where the files have no (readable) row of that key."""
        fingerprint = np.int64(keys.fingerprint64(key))
        place = int(np.searchsorted(self._fingerprints, fingerprint))
        while place < len(self._order) and self._fingerprints[place] == fingerprint:
            number = int(self._order[place])
            file = int(np.searchsorted(self._ends, number, side="right"))
            self._files[file].seek(self._offsets[number])
            line = self._files[file].readline()
            if line.startswith(key.encode() + b","):
                first = int(self._ends[file - 1]) if file else 0
                return self._parse(self._paths[file], number - first + 1, line)
            place += 1
        return {}

    def _parse(self, path: str, number: int, line: bytes) -> Values:
        try:
            _, count, features = _columns(line, 3)
            return _feature_list(self._fields, count, features)
        except ValueProblem as problem:
            self._report(RawLogError(path, number, problem))
            return {}


def _columns(line: bytes, count: int) -> list[str]:
    if not line.strip():
        raise ValueProblem(reject_reasons.BLANK_LINE, line)
    try:
        text = line.rstrip(b"\r\n").decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueProblem(reject_reasons.NOT_UTF8, line[error.start : error.end]) from error
    columns = text.split(",")
    if len(columns) != count:
        raise ValueProblem(reject_reasons.WRONG_COLUMN_COUNT, len(columns))
    return columns


def _feature_list(fields: dict[str, Field], count: str, features: str) -> Values:
    """Values and weights of the known fields in a list of field, id and value."""
    entries = features.split(names.FEATURE_SEPARATOR) if features else []
    if parse_id(count, reject_reasons.BAD_NUMBER) != len(entries):
        raise ValueProblem(reject_reasons.WRONG_FEATURE_COUNT, f"{count} for {len(entries)} features")
    values: Values = {}
    for entry in entries:
        column, field_end, rest = entry.partition(names.FIELD_SEPARATOR)
        value, value_end, weight = rest.partition(names.VALUE_SEPARATOR)
        if not (column and field_end and value_end):
            raise ValueProblem(reject_reasons.BAD_FEATURE, entry)
        field = fields.get(column)
        if field is None:
            continue
        if field.name in values and not field.is_many:
            raise ValueProblem(reject_reasons.SEVERAL_VALUES, f"field {column}")
        values.setdefault(field.name, []).append(parse_value(field, value))
        number = parse_weight(weight)
        if field.weighted:
            values.setdefault(field.weight_key, []).append(number)
    return values


# Tables: CSV with a header, Parquet.


def _table_rows(input_dir: str, split: str, schema: Schema, input_format: str, report: OnBroken) -> Iterator[_Row]:
    cells_of = _csv_cells if input_format == names.CSV else _parquet_cells
    parser = _TableRowParser(schema)
    for file_index, path in _table_files(input_dir, split, input_format):
        for line, offset, cells in cells_of(path, schema):
            place = row_places.place_of(file_index, offset)
            try:
                row = parser.row(place, cells)
            except ValueProblem as problem:
                report(RawLogError(path, line, problem))
            else:
                yield row


def _table_files(input_dir: str, split: str, input_format: str) -> list[tuple[int, str]]:
    """Files of a split, numbered as the preprocess job numbers them.

    A log whose files are not named for splits is all there is to read: which requests the job put into which split is
    its own affair.
    """
    by_split = {name: _matches(names.log_patterns(input_dir, name, input_format)) for name in (*names.SPLITS, split)}
    if not any(by_split.values()):
        by_split = {split: _matches(names.log_patterns(input_dir, "", input_format))}
    numbered = enumerate((name, path) for name, paths in by_split.items() for path in paths)
    if found := [(number, path) for number, (name, path) in numbered if name == split]:
        return found
    patterns = " or ".join(names.log_patterns(input_dir, split, input_format))
    raise FileNotFoundError(f"no {input_format} log of split {split}: nothing matches {patterns}")


def _matches(patterns: Iterable[str]) -> list[str]:
    return sorted({path for pattern in patterns for path in glob.glob(pattern)})


class _TableRowParser:
    """Makes rows of cells. Remembers the last context: rows of one request repeat it, and it is the longer part."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._context_cells: list[Any] = []
        self._context: Values = {}

    def row(self, place: int, cells: dict[str, Any] | ValueProblem) -> _Row:
        """Row of the cells; `place` is its number in the input. Raises ValueProblem."""
        if isinstance(cells, ValueProblem):
            raise cells
        columns = self._schema.columns
        identity = place
        if columns.sample_id:
            identity = parse_id(cells[columns.sample_id], reject_reasons.BAD_NUMBER)
        context_cells = [cells[field.column] for field in self._schema.context_fields]
        if context_cells != self._context_cells:
            self._context = _cell_values(self._schema.context_fields, context_cells)
            self._context_cells = context_cells
        impression_cells = [cells[field.column] for field in self._schema.impression_fields]
        values = {**self._context, **_cell_values(self._schema.impression_fields, impression_cells)}
        key = tuple(cells[column] for column in columns.request_columns)
        return _Row(key or place, identity, values)


def _cell_values(fields: Sequence[Field], cells: Sequence[Any]) -> Values:
    values: Values = {}
    for field, cell in zip(fields, cells, strict=True):
        found, weights = parse_cell(field, cell)
        values[field.name] = found
        if field.weighted:
            values[field.weight_key] = list(weights)
    return values


def _needed_columns(schema: Schema, path: str, present: Sequence[str]) -> list[str]:
    columns = [*schema.columns.request_columns, schema.columns.sample_id, *(field.column for field in schema.fields)]
    needed = [column for column in columns if column]
    if missing := [column for column in needed if column not in present]:
        raise ValueError(
            f"{path}: no column {', '.join(missing)}; the schema names it, the file has {', '.join(present)}"
        )
    return needed


def _csv_cells(path: str, schema: Schema) -> Iterator[tuple[int, int, dict[str, str] | ValueProblem]]:
    """Line number, byte offset and cells of each row."""
    begins = [0, 0]

    def texts(lines: BinaryIO) -> Iterator[str]:
        """The lines of the file; keeps where the last one begins."""
        for line in lines:
            begins[0], begins[1] = begins[1], begins[1] + len(line)
            # Broken bytes come through as surrogates, so that one bad row does not stop the reading of the file.
            yield line.decode("utf-8-sig" if begins[0] == 0 else "utf-8", errors="surrogateescape")

    with _open_bytes(path) as file:
        reader = csv.reader(texts(file))
        header = next(reader, [])
        needed = {column: header.index(column) for column in _needed_columns(schema, path, header)}
        for cells in reader:
            where = (reader.line_num, begins[0])
            if not cells:
                yield *where, ValueProblem(reject_reasons.BLANK_LINE, "")
            elif len(cells) != len(header):
                yield *where, ValueProblem(reject_reasons.WRONG_COLUMN_COUNT, f"{len(cells)} of {len(header)}")
            else:
                yield *where, _utf8_only({column: cells[place] for column, place in needed.items()})


def _open_bytes(path: str) -> BinaryIO:
    return gzip.open(path, "rb") if path.endswith(names.GZIP_SUFFIX) else open(path, "rb")  # type: ignore[return-value]


def _utf8_only(cells: dict[str, str]) -> dict[str, str] | ValueProblem:
    text = "".join(cells.values())
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return ValueProblem(reject_reasons.NOT_UTF8, text[error.start : error.end].encode("utf-8", "surrogateescape"))
    return cells


def _parquet_cells(path: str, schema: Schema) -> Iterator[tuple[int, int, dict[str, Any] | ValueProblem]]:
    # Imported here: only this format needs it, and it takes a tenth of a second.
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        needed = _needed_columns(schema, path, file.schema_arrow.names)
        row = 0
        for batch in file.iter_batches(batch_size=1024, columns=needed):
            for cells in batch.to_pylist():
                yield row + 1, row, cells
                row += 1
