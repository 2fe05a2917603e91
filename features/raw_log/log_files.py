"""The files of a log: where they are, of which split, what columns they have, and the blocks that they are read in."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import os
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet

import storage
from features import names, row_places
from features.raw_log import compression, csv_rows, csv_table, parquet_batches, partitions, splits, table
from features.raw_log.partitions import Partitions
from features.raw_log.splits import Assigned, Found
from features.schema import Schema

# Raw bytes for a compressed byte, to estimate how much a compressed file holds.
_COMPRESSION_RATIO = 4
_WILDCARDS = "*?["
_HEADER_LIMIT = 1 << 20
# First bytes of what is no CSV.
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"\xfd7zXZ": "xz",
    b"PAR1": "Parquet",
}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class InputError(ValueError):
    """Input that is missing or cannot be read as asked for; the message names the file."""


@dataclasses.dataclass(frozen=True)
class LogFile:
    """A file of the log.

    Attributes:
        index: its place among all files of the log; part of its rows' places.
        path: of the file.
        size: bytes on disk.
        split: the split that its rows belong to; None: each request falls to a split by its key; "": not read.
        input_format: one of `names.INPUT_FORMATS`.
        is_context: whether it is a common_features file.
        columns: of the header of a CSV file, or of a Parquet file; none of a file that holds nothing.
        first: where the first row begins, behind the header.
        header_lines: lines of the header; the names in it may be quoted, and hold line breaks.
        row_groups: number of rows of each row group of a Parquet file.
        partitions: columns that its folders name, with their value; those that the file has itself are not among them.
        values_size: bytes that the values of a Parquet file take in memory, about.
    """

    index: int
    path: str
    size: int
    split: str | None
    input_format: str = names.CSV
    is_context: bool = False
    columns: tuple[str, ...] = ()
    first: int = 0
    header_lines: int = 0
    row_groups: tuple[int, ...] = ()
    partitions: Partitions = ()
    values_size: int = 0

    @property
    def all_columns(self) -> tuple[str, ...]:
        """Its own, and those that its folders name."""
        return self.columns + tuple(name for name, _ in self.partitions)

    @property
    def is_read(self) -> bool:
        """Whether it is of a split that is asked for."""
        return self.split != ""

    @property
    def compressed(self) -> bool:
        """Whether it can only be read from begin to end."""
        return bool(compression.codec_of(self.path)) and self.input_format != names.PARQUET

    @property
    def raw_size(self) -> int:
        """Bytes when uncompressed; estimated for a compressed file."""
        return max(self.size * _COMPRESSION_RATIO, self.values_size) if self._is_small else self.size

    @property
    def _is_small(self) -> bool:
        """Whether it holds more than its bytes."""
        return self.compressed or bool(self.row_groups)


@dataclasses.dataclass(frozen=True, order=True)
class Block:
    """A part of a file that one task reads: a byte range, row groups, or all of a compressed file."""

    file_index: int
    start: int
    end: int


def listed(root: str) -> list[tuple[str, int]]:
    """Paths and sizes of a file, of all files below a folder, or of what a glob matches. Links are followed."""
    if not storage.is_local(root):
        return _listed_remotely(root)
    found: list[str] = []
    for place in [root] if os.path.exists(root) else glob.glob(root):
        found += _files_below(place, set()) if os.path.isdir(place) else [place]
    # A link to nothing has the link's own size: it is refused where it is to be read.
    return sorted((dict(storage.sizes_of(found, follow_links=False)) | dict(storage.sizes_of(found))).items())


def _listed_remotely(root: str) -> list[tuple[str, int]]:
    found = set(storage.list_files(root))
    if any(sign in root for sign in _WILDCARDS):
        return sorted({*found, *storage.list_files(storage.join(root, "**"))})
    with contextlib.suppress(FileNotFoundError):
        found |= set(storage.walk(root))
    return sorted(found)


def _files_below(folder: str, above: set[str]) -> list[str]:
    """Files of a folder and those in it; a link to a folder above it is not followed again."""
    real = os.path.realpath(folder)
    if real in above:
        return []
    found: list[str] = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        found += _files_below(entry.path, above | {real}) if entry.is_dir() else [entry.path]
    return found


def find(input_dir: str, wanted: Sequence[str], input_format: str) -> tuple[list[LogFile], list[str]]:
    """All files of a log in order of path, and a line for each other file that is there.

    Args:
        input_dir: folders, files or globs, comma-separated.
        wanted: splits to read.
        input_format: one of `names.INPUT_FORMATS`.

    Raises:
        SplitError: by `splits.assign`.
        InputError: no such folder, or more files than places.
    """
    roots = [root.strip() for root in input_dir.split(",") if root.strip()]
    found = [file for root in roots for file in _found(root, len(roots) > 1)]
    assigned = splits.assign(found, wanted, input_format, input_dir)
    files = [_file(index, assigned, input_format) for index in range(len(assigned.files))]
    if input_format == names.ALICCP:
        _check_sides(files, wanted, input_dir)
    _check_each(files)
    return files, assigned.not_read


def _found(root: str, is_one_of_several: bool) -> Iterator[Found]:
    there = listed(root)
    if not there:
        raise InputError(f"--input_dir={root}: no such file or folder, or nothing in it")
    if [path for path, _ in there] == [root]:
        yield Found(root, there[0][1], os.path.basename(root), True, partitions.of_path(root, os.path.dirname(root)))
        return
    folder = _fixed_part(root).rstrip("/")
    # The names of several folders tell them apart, so they count; that of the only one is where the log happens to be.
    above = os.path.basename(folder) + "/" if is_one_of_several and folder == root.rstrip("/") else ""
    for path, size in there:
        relative = above + path[len(folder) :].lstrip("/")
        yield Found(path, size, relative, not _is_below(path, root), partitions.of_path(path, folder))


def _fixed_part(root: str) -> str:
    """The folder that all matches of a glob are below (empty: the current one); a path without wildcards as it is."""
    wild = min((root.find(sign) for sign in _WILDCARDS if sign in root), default=-1)
    return root if wild < 0 or os.path.exists(root) else root[: root.rfind("/", 0, wild) + 1]


def _is_below(path: str, root: str) -> bool:
    """Whether a path was found in a folder, and not matched itself by the last part of a glob."""
    return path.count("/") > root.rstrip("/").count("/")


def _file(index: int, assigned: Assigned, input_format: str) -> LogFile:
    found = assigned.files[index]
    is_context = input_format == names.ALICCP and splits.is_common(found.relative)
    split = assigned.splits[index]
    return LogFile(index, found.path, found.size, split, input_format, is_context, partitions=found.partitions)


def _check_sides(files: Sequence[LogFile], wanted: Sequence[str], input_dir: str) -> None:
    for split in wanted:
        for is_context, name in ((True, names.common_file(split)), (False, names.skeleton_file(split))):
            if not any(file.is_context == is_context and file.split == split for file in files):
                raise InputError(f"--input_dir={input_dir}: no {name} there; see --splits and --input_format")


def _check_each(files: Sequence[LogFile]) -> None:
    if len(files) > row_places.MAX_FILES:
        raise InputError(f"{len(files)} input files; at most {row_places.MAX_FILES} are allowed, join some")
    for file in files:
        if file.is_read and storage.is_local(file.path) and not os.path.isfile(file.path):
            raise InputError(f"{file.path}: no file (a link to nothing, or a pipe); mend it or take it away")
        if file.raw_size > row_places.MAX_OFFSET:
            raise InputError(
                f"{file.path}: {file.size} bytes; a file may have at most {row_places.MAX_OFFSET}, cut it in several"
            )


@contextlib.contextmanager
def naming(path: str, start: int = 0) -> Iterator[None]:
    """Adds the file to errors of reading it."""
    try:
        yield
    except compression.DamagedFileError:
        raise
    except (OSError, EOFError, pa.ArrowException) as error:
        raise OSError(f"{path}, from {start}: {error}") from error


def resolved(schema: Schema, input_dir: str, splits: Sequence[str], input_format: str) -> Schema:
    """The schema with its patterns resolved by the columns of the log's first file that has some.

    Raises:
        SchemaError: a pattern fits no column.
        ValueError, OSError: as `find`; a file that cannot be read.
    """
    if input_format == names.ALICCP or not any(field.is_pattern for field in schema.fields):
        return schema
    files = (file for file in find(input_dir, splits, input_format)[0] if file.is_read)
    return schema.resolved(next(filter(None, (_columns(file, schema) for file in files)), ()))


def _columns(file: LogFile, schema: Schema) -> tuple[str, ...]:
    with naming(file.path), storage.reading(file.path) as opened:
        if file.input_format == names.PARQUET:
            with pyarrow.parquet.ParquetFile(opened) as parquet:
                return _with_columns(file, parquet.schema_arrow.names).all_columns
        found = _with_header(file, opened, schema)
        return found.all_columns if found.columns else ()


def _with_columns(file: LogFile, columns: Sequence[str]) -> LogFile:
    """The file with the columns in it: these are what they say, whatever its folders are called."""
    others = tuple(pair for pair in file.partitions if pair[0] not in columns)
    return dataclasses.replace(file, columns=tuple(columns), partitions=others)


def _with_labels(file: LogFile, schema: Schema) -> LogFile:
    """A file of rows that wait for scores, which has no labels: all are 0, and each row counts once."""
    named, there = schema.columns, file.all_columns
    if file.split != names.SCORE or any(label in there for label in named.labels):
        return file
    ones = {*named.click_is, *named.conversion_is}
    zeros = {named.click: named.click_not, named.conversion: named.conversion_not}
    absent = {
        column: next(word for word in (*spellings, *names.ZERO_WORDS) if word not in ones)
        for column, spellings in zeros.items()
    }
    if named.weight and named.weight not in there:
        absent[named.weight] = "1"
    return dataclasses.replace(file, partitions=(*file.partitions, *absent.items()))


def described(file: LogFile, schema: Schema, with_labels: bool = True) -> LogFile:
    """The file of a table with its columns.

    Raises:
        MissingColumnError, ColumnTypeError: the schema does not fit the file.
        InputError: no header, or one that cannot be read.
        OSError: the file cannot be read.
    """
    with naming(file.path), storage.reading(file.path) as opened:
        if file.input_format == names.PARQUET:
            file = _with_row_groups(file, opened, schema, with_labels)
        else:
            file = _with_header(file, opened, schema)
            if file.columns:
                file = _with_labels(file, schema)
                table.check_columns(file.all_columns, schema, file.path, with_labels)
    return file


def _with_row_groups(file: LogFile, opened: BinaryIO, schema: Schema, with_labels: bool) -> LogFile:
    with pyarrow.parquet.ParquetFile(opened) as parquet:
        metadata, columns = parquet.metadata, parquet.schema_arrow
    file = _with_labels(_with_columns(file, columns.names), schema)
    table.check_columns(file.all_columns, schema, file.path, with_labels)
    kinds = {name: pa.string() for name, _ in file.partitions} | dict(zip(columns.names, columns.types, strict=True))
    table.check_types(kinds, schema, file.path, with_labels)
    groups = tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
    return dataclasses.replace(file, row_groups=groups, values_size=parquet_batches.bytes_in_memory(metadata))


def _with_header(file: LogFile, opened: BinaryIO, schema: Schema) -> LogFile:
    with compression.plain(opened, file.path) as plain:
        begin = plain.read(_HEADER_LIMIT)
    _check_encoding(begin, file.path)
    mark = len(_BYTE_ORDER_MARK) if begin.startswith(_BYTE_ORDER_MARK) else 0
    if not begin[mark:].strip(b"\r\n"):
        # Some systems write parts without a row, and without a header.
        return file
    if schema.header:
        return dataclasses.replace(_with_columns(file, schema.header), first=mark)
    form = csv_rows.Form(schema.separator.encode(), lambda lines: False)
    rows = csv_rows.cut(begin[mark:], mark, form, len(begin) < _HEADER_LIMIT)
    if not len(rows):
        raise InputError(
            f"{file.path}: no line end in the first {_HEADER_LIMIT} bytes: a line of names is needed, or header in the "
            "schema, and lines that end with a line feed"
        )
    header = rows.row(0)
    try:
        columns = csv_table.header_cells(header, schema.separator, schema.encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file.path}: the header (first line) is not {schema.encoding}: {error}; give the schema encoding"
        ) from error
    first = mark + len(header)
    return dataclasses.replace(_with_columns(file, columns), first=first, header_lines=header.count(b"\n"))


def _check_encoding(begin: bytes, path: str) -> None:
    """Refuses what would be cut at the wrong bytes."""
    if begin.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path}: is UTF-16 or UTF-32, which is not read; write it as UTF-8")
    magic = next((name for mark, name in _MAGIC.items() if begin.startswith(mark)), "")
    if magic:
        raise InputError(f"{path}: is {magic} by its first bytes, but not by its name; rename it")


def blocks(file: LogFile, block_size: int) -> Iterator[Block]:
    """The blocks of a file, in order."""
    if not file.is_read:
        return
    if file.input_format == names.PARQUET:
        yield from (Block(file.index, group, group + 1) for group in range(len(file.row_groups)))
    elif file.compressed:
        yield Block(file.index, file.first, file.size)
    else:
        for start in range(file.first, file.size, block_size):
            yield Block(file.index, start, min(start + block_size, file.size))
