"""Parquet: batches of columns to cells. Lists, pairs and maps are taken as they are, texts are cut as in CSV."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

import storage
from features import row_places
from features.schema import Field, Schema
from preprocess.columns import ragged
from preprocess.read import table_rows
from preprocess.read.inputs import InputError, InputFile
from preprocess.read.parsed import Parsed
from preprocess.read.table_rows import Lists

_ROWS_PER_BATCH = 1 << 16


class ParquetReader:
    """Reader of the row groups of a file."""

    def __init__(self, schema: Schema, file: InputFile) -> None:
        self._schema = schema
        self._file = file

    def parse(self, group: int) -> Iterator[Parsed]:
        """Rows of a row group, batch by batch."""
        schema = self._schema
        first = sum(self._file.row_groups[:group])
        columns = [*schema.columns.named(), *(field.column for field in schema.fields)]
        with storage.reading(self._file.path) as opened:
            batches = pyarrow.parquet.ParquetFile(opened).iter_batches(_ROWS_PER_BATCH, [group], columns)
            for batch in batches:
                yield table_rows.parse(self._cells(batch, first), schema)
                first += len(batch)

    def _cells(self, batch: pa.RecordBatch, first: int) -> table_rows.Cells:
        columns = {name: _plain(batch.column(name)) for name in batch.schema.names}
        fields = {field.name: self._lists(field, columns[field.column]) for field in self._schema.fields}
        texts = {name: _texts(columns[name]) for name in self._schema.columns.named()}
        for field in self._schema.context_fields:
            texts[field.column] = _one_text(fields[field.name])
        places = row_places.place_of(self._file.index, np.arange(first, first + len(batch)))
        return table_rows.Cells(places, texts, fields)

    def _lists(self, field: Field, column: pa.Array) -> Lists:
        if not _is_list(column.type):
            return table_rows.split_cells(field, _texts(column))
        if not field.is_many:
            raise InputError(f"{self._file.path}: column {field.column} holds lists; field {field.name} is of kind one")
        lengths = pc.list_value_length(column).fill_null(0).to_numpy()
        values = column.flatten()
        if isinstance(column, pa.MapArray):
            values = pa.StructArray.from_arrays([column.keys, column.items], ["value", "weight"])
        if not pa.types.is_struct(values.type):
            return table_rows.without_empty(lengths, _texts(_plain(values)))
        if values.type.num_fields != 2 or not field.weighted:
            message = "lists of structs are for weighted fields and have a value and a weight"
            raise InputError(f"{self._file.path}: column {field.column}: {message}")
        value, weight = (_texts(_plain(part)) for part in values.flatten())
        pairs = pc.binary_join_element_wise(value, weight, field.weight_separator.encode())
        empty = pc.equal(pc.binary_length(value), 0)
        return table_rows.without_empty(lengths, pc.if_else(empty, pa.scalar(b"", pa.binary()), pairs))


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind)


def _plain(column: pa.Array) -> pa.Array:
    """The column without dictionary encoding."""
    return column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column


def _texts(column: pa.Array) -> pa.Array:
    """The column as texts, empty where there is no value: binary [rows]."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    if pa.types.is_floating(column.type):
        # pandas writes what is missing as NaN.
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        column = column.cast(pa.string())
    return column.cast(pa.binary()).fill_null(b"")


def _one_text(lists: Lists) -> pa.Array:
    """The values of each row as one text, to compare rows by: binary [rows]."""
    edges = pa.array(ragged.starts(lists.lengths).astype(np.int32))
    sized = pc.binary_join_element_wise(
        pc.binary_length(lists.texts).cast(pa.string()).cast(pa.binary()), lists.texts, b":"
    )
    return pc.binary_join(pa.ListArray.from_arrays(edges, sized), b",")


def rows_at(path: str, places: list[int]) -> Iterator[bytes]:
    """Rows of a file as JSON lines, at ascending places."""
    waiting = iter(places)
    wanted, first = next(waiting, None), 0
    with storage.reading(path) as opened:
        for batch in pyarrow.parquet.ParquetFile(opened).iter_batches(_ROWS_PER_BATCH):
            while wanted is not None and wanted < first + len(batch):
                row = batch.slice(wanted - first, 1).to_pylist()[0]
                yield json.dumps(row, default=str, ensure_ascii=False).encode() + b"\n"
                wanted = next(waiting, None)
            first += len(batch)
            if wanted is None:
                return
