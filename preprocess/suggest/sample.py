"""The first rows of a log, all columns as texts: CSV with any separator, with or without header, or Parquet."""

from __future__ import annotations

import codecs
import csv
import dataclasses
import io
import itertools
import os
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet

from features import names
from features.raw_log import compression, parquet_batches, partitions, splits

_SAMPLE_BYTES = 32 << 20
_SEPARATORS = (",", "\t", ";", "|", "\x01")
_CSV_SUFFIXES = (".csv", ".tsv", ".txt")
_HIDDEN = ("_", ".")
# Tried in this order; the last fits any bytes.
_ENCODINGS = ("utf-8", "gb18030", "latin-1")


class SampleError(ValueError):
    """A file of which no sample can be taken."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """Rows of a log.

    Attributes:
        files: that were looked at.
        input_format: csv or parquet.
        columns: the texts of each column, null where a cell is empty; of a Parquet list the lists of texts.
        separator: of CSV cells.
        header: names given to the columns of files without a header line; else empty.
        encoding: of CSV files.
        trim: whether white space stands around cells.
    """

    files: tuple[str, ...]
    input_format: str
    columns: dict[str, pa.Array]
    separator: str = ","
    header: tuple[str, ...] = ()
    encoding: str = _ENCODINGS[0]
    trim: bool = False

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values())))


def read(paths: Sequence[str], rows: int) -> Sample:
    """The first rows of the files, equally many of each.

    Args:
        paths: files, or folders of them.
        rows: at most in all.

    Raises:
        SampleError: no file of a known kind, files of both kinds, of different columns or without a row.
    """
    files = [(path, file) for path in paths for file in _files(path)]
    formats = {names.PARQUET if file.endswith(".parquet") else names.CSV for _, file in files}
    if len(formats) != 1:
        raise SampleError(f"{', '.join(paths)}: {'files of both CSV and Parquet' if formats else 'no file to read'}")
    input_format = formats.pop()
    each = max(1, rows // len(files))
    read_one = _read_parquet if input_format == names.PARQUET else _read_csv
    parts = [_with_folders(read_one(file, each), path) for path, file in files]
    first = parts[0]
    for part in parts[1:]:
        if list(part.columns) != list(first.columns):
            raise SampleError(f"{part.files[0]}: other columns than {first.files[0]}; give files of one log")
    columns = {name: pa.concat_arrays([part.columns[name] for part in parts]) for name in first.columns}
    made = dataclasses.replace(first, files=tuple(file for _, file in files), columns=columns)
    if not made.rows:
        raise SampleError(f"{', '.join(made.files)}: no rows")
    return made


def _with_folders(sample: Sample, path: str) -> Sample:
    """The sample of a file with the columns that its folders name, of which `path` was given."""
    (file,) = sample.files
    found = partitions.of_path(file, os.path.dirname(path) if path == file else path)
    texts = {name: pa.array([value or None] * sample.rows, pa.string()) for name, value in found}
    return dataclasses.replace(sample, columns=texts | sample.columns)


def _files(path: str) -> list[str]:
    if not os.path.exists(path):
        raise SampleError(f"{path}: no such file or folder")
    if os.path.isfile(path):
        return [path]
    found = []
    for folder, below, files in os.walk(path):
        below[:] = sorted(name for name in below if not name.startswith(_HIDDEN))
        found += [os.path.join(folder, name) for name in sorted(files) if _is_log(name)]
    return found


def _is_log(name: str) -> bool:
    if name.startswith(_HIDDEN):
        return False
    return splits.stem(name).lower().endswith(_CSV_SUFFIXES) or name.endswith(".parquet")


def _read_parquet(path: str, rows: int) -> Sample:
    try:
        with parquet_batches.open_file(path) as file:
            batches: list[pa.RecordBatch] = []
            for batch in _batches(file):
                batches.append(batch)
                enough = sum(found.nbytes for found in batches) >= _SAMPLE_BYTES
                if enough or sum(len(found) for found in batches) >= rows:
                    break
            table = pa.Table.from_batches(batches, file.schema_arrow).slice(0, rows)
    except (pa.ArrowException, OSError) as error:
        raise SampleError(f"{path}: not a readable Parquet file: {error}") from error
    columns = {name: _texts(table.column(name).combine_chunks()) for name in table.column_names}
    return Sample((path,), names.PARQUET, columns)


def _batches(file: parquet.ParquetFile) -> Iterator[pa.RecordBatch]:
    for group in range(file.num_row_groups):
        yield from parquet_batches.read(file, group, None, _SAMPLE_BYTES >> 3)


def _texts(array: pa.Array) -> pa.Array:
    """Texts of a column, or lists of texts; what has no text (a map, a struct) comes as null."""
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.nulls(0, array.type)
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type):
        return pa.array([None if v is None else [str(x) for x in v if x is not None] for v in array.to_pylist()])
    try:
        texts = array.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array([None if v is None else str(v) for v in array.to_pylist()], pa.string())
    return _without_empty(texts)


def _without_empty(texts: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


def _read_csv(path: str, rows: int) -> Sample:
    text, encoding = _decoded(_head(path))
    lines = list(itertools.islice(io.StringIO(text, newline=""), rows + 1))
    if not lines:
        raise SampleError(f"{path}: the file is empty")
    separator = _separator(path, lines[:100])
    first = _rows(path, lines[:1], separator)[0]
    header: tuple[str, ...] = ()
    if _looks_like_data(first):
        header = tuple(f"column_{number}" for number in range(1, len(first) + 1))
    trim = any(name != name.strip() for name in first)
    table = _table(path, "".join(lines), separator, header)
    columns = {name: _cells(table.column(name).combine_chunks(), trim) for name in table.column_names}
    if trim:
        columns = {name.strip(): column for name, column in columns.items()}
    return Sample((path,), names.CSV, columns, separator, header, encoding, trim)


def _cells(texts: pa.Array, trim: bool) -> pa.Array:
    return _without_empty(pc.utf8_trim_whitespace(texts) if trim else texts)


def _head(path: str) -> bytes:
    """Whole lines of the first bytes of a file."""
    try:
        with open(path, "rb") as opened, compression.plain(opened, path) as file:
            head = file.read(_SAMPLE_BYTES)
    except (OSError, EOFError) as error:
        raise SampleError(f"{path}: not readable: {error}") from error
    return head[: head.rfind(b"\n") + 1] if len(head) == _SAMPLE_BYTES else head


def _decoded(head: bytes) -> tuple[str, str]:
    head = head.removeprefix(codecs.BOM_UTF8)
    encoding = next(encoding for encoding in _ENCODINGS if _decodes(head, encoding))
    return head.decode(encoding), encoding


def _decodes(head: bytes, encoding: str) -> bool:
    try:
        head.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _separator(path: str, lines: Sequence[str]) -> str:
    """The separator that cuts every line into the same number of cells, the most of them."""
    best, cells = "", 1
    for separator in _SEPARATORS:
        widths = {len(row) for row in _rows(path, lines, separator) if row}
        if len(widths) == 1 and (width := widths.pop()) > cells:
            best, cells = separator, width
    if not best:
        shown = ", ".join(map(repr, _SEPARATORS))
        raise SampleError(f"{path}: none of {shown} cuts the first {len(lines)} lines into equally many cells")
    return best


def _rows(path: str, lines: Sequence[str], separator: str) -> list[list[str]]:
    # A history may be a long cell.
    csv.field_size_limit(2 * _SAMPLE_BYTES)
    try:
        return list(csv.reader(lines, delimiter=separator))
    except csv.Error as error:
        raise SampleError(f"{path}: no lines of cells: {error}") from error


def _looks_like_data(cells: Sequence[str]) -> bool:
    """Whether a first line is no header: a name is no number, and no name stands twice."""
    return any(_is_number(cell) for cell in cells) or len(set(cells)) < len(cells)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _table(path: str, text: str, separator: str, header: tuple[str, ...]) -> pa.Table:
    column_names = list(header) or _rows(path, [text[: text.find("\n") + 1]], separator)[0]
    options = arrow_csv.ConvertOptions(
        column_types={name: pa.string() for name in column_names}, strings_can_be_null=False
    )
    read_options = arrow_csv.ReadOptions(column_names=list(header) or None, block_size=_SAMPLE_BYTES * 2)
    parse_options = arrow_csv.ParseOptions(
        delimiter=separator, newlines_in_values=True, invalid_row_handler=lambda row: "skip"
    )
    try:
        return arrow_csv.read_csv(io.BytesIO(text.encode()), read_options, parse_options, options)
    except pa.ArrowException as error:
        raise SampleError(f"{path}: {error}") from error
