"""Rows of Ali-CCP's two files as a client sends them: impressions in order, contexts found by their keys."""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

import numpy as np

import storage
from features import keys
from features.raw_log import aliccp_row, compression, log_files
from features.raw_log.log_files import LogFile
from features.raw_log.raw_rows import RawLogError, RawRow, Values
from features.raw_values import ValueProblem
from features.schema import Field, Schema

Report = Callable[[RawLogError], None]


def rows(files: Sequence[LogFile], schema: Schema, report: Report) -> Iterator[RawRow]:
    """The rows of the skeleton files, in order. Those that cannot be read are reported where they stand."""
    contexts = _Contexts([file for file in files if file.is_context], schema, report)
    return _rows([file for file in files if not file.is_context], schema, report, contexts)


def _rows(files: Sequence[LogFile], schema: Schema, report: Report, contexts: _Contexts) -> Iterator[RawRow]:
    fields = {field.column: field for field in schema.impression_fields}
    one_value = {field.column: not field.is_many for field in schema.impression_fields}
    for file in files:
        with (
            log_files.naming(file.path),
            storage.reading(file.path) as opened,
            compression.plain(opened, file.path) as plain,
        ):
            offset = 0
            for number, line in enumerate(plain, 1):
                try:
                    row = aliccp_row.parse(line, one_value, is_context=False, with_labels=False)
                except ValueProblem as problem:
                    report(RawLogError(file.path, number, offset, problem))
                else:
                    find = functools.partial(contexts.find, row.request)
                    yield RawRow(row.request, row.sample_id, _values(row, fields), find)
                offset += len(line)


def _values(row: aliccp_row.Row, fields: dict[str, Field]) -> Values:
    """Values and weights of the known fields."""
    values: Values = {}
    for feature in row.features:
        field = fields.get(feature.field)
        if field is not None:
            values.setdefault(field.name, []).append(feature.key)
            if field.weighted:
                values.setdefault(field.weight_key, []).append(feature.weight)
    return values


@contextlib.contextmanager
def _seekable(file: LogFile) -> Iterator[BinaryIO]:
    """The open file; a compressed one is unpacked into a temporary file, since contexts are read by place."""
    with log_files.naming(file.path), storage.reading(file.path) as opened:
        if not file.compressed:
            yield opened
            return
        with compression.plain(opened, file.path) as plain, tempfile.TemporaryFile() as unpacked:
            shutil.copyfileobj(plain, unpacked, 1 << 20)
            unpacked.seek(0)
            yield unpacked


class _Contexts:
    """Rows of common_features files, found by their key through arrays: a fingerprint and a place for each row.

    Building reads the files once; 730 thousand rows take 18 MB. A row is parsed when it is asked for.
    """

    def __init__(self, files: Sequence[LogFile], schema: Schema, report: Report) -> None:
        self._paths = [file.path for file in files]
        self._report = report
        self._fields = {field.column: field for field in schema.context_fields}
        self._one_value = {field.column: not field.is_many for field in schema.context_fields}
        # Open until the iterator that holds this is done.
        self._stack = contextlib.ExitStack()
        self._opened = [self._stack.enter_context(_seekable(file)) for file in files]
        fingerprints, offsets, counts = [], [], []
        for opened in self._opened:
            offset = 0
            for line in opened:
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

    def find(self, key: bytes) -> Values:
        """Values of the context, none where the files have no (readable) row of that key."""
        fingerprint = np.int64(keys.fingerprint64(key))
        place = int(np.searchsorted(self._fingerprints, fingerprint))
        while place < len(self._order) and self._fingerprints[place] == fingerprint:
            number = int(self._order[place])
            file = int(np.searchsorted(self._ends, number, side="right"))
            self._opened[file].seek(int(self._offsets[number]))
            line = self._opened[file].readline()
            if line.startswith(key + b","):
                first = int(self._ends[file - 1]) if file else 0
                return self._parse(file, number - first + 1, int(self._offsets[number]), line)
            place += 1
        return {}

    def _parse(self, file: int, number: int, offset: int, line: bytes) -> Values:
        try:
            return _values(aliccp_row.parse(line, self._one_value, is_context=True), self._fields)
        except ValueProblem as problem:
            self._report(RawLogError(self._paths[file], number, offset, problem))
            return {}
