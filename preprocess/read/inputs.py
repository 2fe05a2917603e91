"""Which files a log has, of which split and side, and the blocks that they are read in."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import gzip
import os
from collections.abc import Iterator
from typing import BinaryIO, cast

import pyarrow.parquet

import storage
from features import names, row_places
from features.schema import ID, Schema
from preprocess.options import Options

# Raw bytes for a compressed byte, to estimate how much a compressed file holds.
_GZIP_RATIO = 4
_HEADER_LIMIT = 1 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class InputError(ValueError):
    """Input that is missing or cannot be read as asked for; the message names the file."""


@dataclasses.dataclass(frozen=True)
class InputFile:
    """A file of the log.

    Attributes:
        index: its place among the files of the job; part of its rows' places.
        path: of the file.
        size: bytes on disk.
        split: the split that its rows belong to; None: each request falls to a split by its key.
        is_context: whether it is a common_features file.
        columns: of the header of a CSV file.
        first: where the first row begins, behind the header.
        row_groups: number of rows of each row group of a Parquet file.
    """

    index: int
    path: str
    size: int
    split: str | None
    is_context: bool = False
    columns: tuple[str, ...] = ()
    first: int = 0
    row_groups: tuple[int, ...] = ()

    @property
    def compressed(self) -> bool:
        """Whether it can only be read from begin to end."""
        return self.path.endswith(names.GZIP_SUFFIX)

    @contextlib.contextmanager
    def reading(self) -> Iterator[BinaryIO]:
        """Opens the file for reading its uncompressed bytes."""
        with storage.reading(self.path) as opened:
            yield cast(BinaryIO, gzip.GzipFile(fileobj=opened)) if self.compressed else opened

    @property
    def raw_size(self) -> int:
        """Bytes when uncompressed; estimated for a compressed file."""
        return self.size * _GZIP_RATIO if self.compressed or self.row_groups else self.size


@dataclasses.dataclass(frozen=True, order=True)
class Block:
    """A part of a file that one task reads: a byte range, row groups, or all of a compressed file."""

    file_index: int
    start: int
    end: int


def find(options: Options, schema: Schema) -> list[InputFile]:
    """The files of the log.

    Raises:
        InputError: no file for a split, a file without the columns that the schema names, or more files than places.
    """
    if options.input_format == names.ALICCP:
        files = _aliccp_files(options, schema)
    else:
        files = [_with_columns(file, options, schema) for file in _table_files(options)]
    _check_size(files)
    return files


def blocks(file: InputFile, block_size: int) -> Iterator[Block]:
    """The blocks of a file, in order."""
    if file.row_groups:
        yield from (Block(file.index, group, group + 1) for group in range(len(file.row_groups)))
    elif file.compressed:
        yield Block(file.index, file.first, file.size)
    else:
        for start in range(file.first, file.size, block_size):
            yield Block(file.index, start, min(start + block_size, file.size))


def _aliccp_files(options: Options, schema: Schema) -> list[InputFile]:
    if words := [field.name for field in schema.fields if field.type != ID]:
        raise InputError(
            f"--schema={options.schema}: {', '.join(words)} not of type id; "
            f"--input_format={names.ALICCP} has ids alone, take {names.CSV} or {names.PARQUET}"
        )
    files: list[InputFile] = []
    for split in options.splits:
        for name, is_context in ((names.common_file(split), True), (names.skeleton_file(split), False)):
            stem = os.path.splitext(name)[0]
            found = _matches(options, (stem + "*.csv", stem + "*.csv" + names.GZIP_SUFFIX, stem + "/*"))
            if not found:
                raise InputError(f"--input_dir={options.input_dir}: no {name} there; see --splits and --input_format")
            files += [InputFile(len(files) + i, *match, split, is_context) for i, match in enumerate(found)]
    return files


def _table_files(options: Options) -> list[InputFile]:
    by_split = {
        split: _matches(options, names.log_patterns("", split, options.input_format)) for split in options.splits
    }
    if any(by_split.values()):
        if missing := [split for split, found in by_split.items() if not found]:
            found = ", ".join(split for split in by_split if split not in missing)
            raise InputError(
                f"--input_dir={options.input_dir}: files of the split {found}, but none of {', '.join(missing)}; "
                f"name them {missing[0]}*.{options.input_format}, or give --splits={found}"
            )
        chosen = [(split, match) for split, found in by_split.items() for match in found]
        return [InputFile(i, *match, split) for i, (split, match) in enumerate(chosen)]
    if len(options.splits) > 2:
        raise InputError(
            f"--splits={','.join(options.splits)}: no file in {options.input_dir} is named for one of them, and a log "
            "without files by split is cut in two at most"
        )
    everything = _matches(options, names.log_patterns("", "", options.input_format))
    if not everything:
        raise InputError(f"--input_dir={options.input_dir}: no *.{options.input_format} there; see --input_format")
    return [InputFile(i, *match, None) for i, match in enumerate(everything)]


def _matches(options: Options, patterns: tuple[str, ...] | list[str]) -> list[tuple[str, int]]:
    found: dict[str, int] = {}
    for folder in options.input_dir.split(","):
        for pattern in patterns:
            found.update(storage.list_files(storage.join(folder.strip(), pattern)))
    return sorted(found.items())


def _with_columns(file: InputFile, options: Options, schema: Schema) -> InputFile:
    if options.input_format == names.PARQUET:
        with storage.reading(file.path) as opened:
            try:
                metadata = pyarrow.parquet.ParquetFile(opened).metadata
            except pyarrow.ArrowInvalid as error:
                raise InputError(f"{file.path}: {error}") from error
            columns = tuple(metadata.schema.to_arrow_schema().names)
            groups = tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
        file = dataclasses.replace(file, columns=columns, row_groups=groups)
    else:
        file = _with_header(file)
    named = [*schema.columns.named(), *(field.column for field in schema.fields)]
    if missing := [column for column in named if column not in file.columns]:
        has = ", ".join(file.columns)
        raise InputError(
            f"{file.path}: no column {', '.join(missing)}, which --schema={options.schema} names; has {has}"
        )
    return file


def _with_header(file: InputFile) -> InputFile:
    with file.reading() as opened:
        begin = opened.read(_HEADER_LIMIT)
    line, newline, _ = begin.partition(b"\n")
    try:
        text = line.removeprefix(_BYTE_ORDER_MARK).decode("utf-8").rstrip("\r")
    except UnicodeDecodeError as error:
        raise InputError(f"{file.path}: the header (first line) is not UTF-8: {error}") from error
    columns = tuple(next(csv.reader([text]), []))
    return dataclasses.replace(file, columns=columns, first=len(line) + len(newline))


def _check_size(files: list[InputFile]) -> None:
    if len(files) > row_places.MAX_FILES:
        raise InputError(f"{len(files)} input files; at most {row_places.MAX_FILES} are allowed, join some")
    for file in files:
        if file.raw_size > row_places.MAX_OFFSET:
            raise InputError(
                f"{file.path}: {file.size} bytes; a file may have at most {row_places.MAX_OFFSET}, cut it in several"
            )
