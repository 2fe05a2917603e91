"""Parsed rows, columnar: contexts or impressions with their features as one flat list, row after row."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from features import names
from features.schema import Schema
from preprocess.columns import ragged
from preprocess.columns.segments import Arrays

# Columns that every row, or every impression, has.
PLACE = "place"
ORDER_KEY = "order_key"
SAMPLE_ID = "sample_id"
CLICK = "click"
CONVERSION = "conversion"
# Only in logs whose schema names the columns.
WEIGHT = names.SAMPLE_WEIGHT
USER = names.SAMPLE_USER
# Seconds since 1970, where the schema names a time; only until rows have a partition.
TIME = "time"
# Seconds from the click to the cut of clicks whose window is open, else infinite; only until rows are joined.
AGE = "age"
# Two halves of a digest of a row's context cells; only in logs that repeat the context in each row.
DIGEST_HIGH = "digest_high"
DIGEST_LOW = "digest_low"


def label_names(schema: Schema) -> list[str]:
    """The columns of an impression that its record holds as they are."""
    users = (USER,) if schema.columns.user else ()
    return [SAMPLE_ID, CLICK, CONVERSION, *schema.columns.label_floats, *users]


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of one side, contexts or impressions.

    Attributes:
        columns: arrays [rows] by column name.
        request: request key of each row, binary [rows].
        counts: number of features of each row, int32 [rows].
        field: index of each feature's field in the schema, uint16 [features].
        key: key of each feature; of a number the bits of its float32. int64 or uint32 [features].
        weight: float32 [features].
    """

    columns: Arrays
    request: pa.Array
    counts: np.ndarray
    field: np.ndarray
    key: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.counts)

    def take(self, order: np.ndarray) -> Rows:
        """The rows of these places, in this order."""
        features = ragged.take(self.counts, order)
        return Rows(
            columns={name: column[order] for name, column in self.columns.items()},
            request=self.request.take(pa.array(order)),
            counts=self.counts[order],
            field=self.field[features],
            key=self.key[features],
            weight=self.weight[features],
        )

    def pack_parts(self, edges: np.ndarray) -> Iterator[Arrays]:
        """Arrays for a segment file: of the rows from each edge to the next, int64 [parts + 1]. Parts are views."""
        key_edges = self._request_edges()
        texts = np.frombuffer(self.request.buffers()[2] or b"", np.uint8)
        feature_edges = ragged.starts(self.counts)
        by_row = {**self.columns, "request.length": np.diff(key_edges), "counts": self.counts}
        by_feature = {"field": self.field, "key": self.key, "weight": self.weight}
        for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            first, last = feature_edges[begin], feature_edges[end]
            yield {
                **{name: array[begin:end] for name, array in by_row.items()},
                "request.bytes": texts[key_edges[begin] : key_edges[end]],
                **{name: array[first:last] for name, array in by_feature.items()},
            }

    def _request_edges(self) -> np.ndarray:
        if not len(self):
            return np.zeros(1, np.int32)
        return np.frombuffer(self.request.buffers()[1], np.int32, len(self) + 1, 4 * self.request.offset)


def unpack(arrays: Arrays) -> Rows:
    """The rows of a part that `Rows.pack_parts` made."""
    rest = dict(arrays)
    edges = ragged.starts(rest.pop("request.length")).astype(np.int32)
    texts = rest.pop("request.bytes")
    request = pa.Array.from_buffers(pa.binary(), len(edges) - 1, [None, pa.py_buffer(edges), pa.py_buffer(texts)])
    features = {name: rest.pop(name) for name in ("counts", "field", "key", "weight")}
    return Rows(columns=rest, request=request, **features)


def concatenate(parts: Sequence[Rows]) -> Rows:
    """All rows, part after part."""
    if not parts:
        return empty()
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    return Rows(
        columns={name: np.concatenate([part.columns[name] for part in parts]) for name in first.columns},
        request=pa.concat_arrays([part.request for part in parts]),
        counts=np.concatenate([part.counts for part in parts]),
        field=np.concatenate([part.field for part in parts]),
        key=np.concatenate([part.key for part in parts]),
        weight=np.concatenate([part.weight for part in parts]),
    )


def narrow(keys: np.ndarray) -> np.ndarray:
    """Keys as uint32 where they fit: half the bytes to write, read and hash."""
    if len(keys) and (keys.min() < 0 or keys.max() >= 1 << 32):
        return keys
    return keys.astype(np.uint32)


@dataclasses.dataclass(frozen=True)
class Rejects:
    """Rows that are not used.

    Attributes:
        place: int64 [rejects].
        reason: index in `reject_reasons.REASONS`, uint8 [rejects].
        column: what column is at fault, as a place in `raw_log.table.column_names`, int16 [rejects]; -1, and so unless
            given: none, or one that goes without saying.
    """

    place: np.ndarray
    reason: np.ndarray
    column: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, np.int16))

    def __post_init__(self) -> None:
        if len(self.column) != len(self.place):
            object.__setattr__(self, "column", np.full(len(self.place), -1, np.int16))

    def __len__(self) -> int:
        return len(self.place)


def no_rejects() -> Rejects:
    """An empty set of rejects."""
    return Rejects(np.empty(0, np.int64), np.empty(0, np.uint8))


def merge_rejects(parts: Sequence[Rejects]) -> Rejects:
    """All rejects of the parts."""
    if not parts:
        return no_rejects()
    arrays = [(part.place, part.reason, part.column) for part in parts]
    return Rejects(*(np.concatenate(found) for found in zip(*arrays, strict=True)))


def empty() -> Rows:
    """No rows, with the columns of either side."""
    columns: Arrays = {name: np.empty(0, np.int64) for name in (PLACE, SAMPLE_ID, DIGEST_HIGH, DIGEST_LOW)}
    columns |= {ORDER_KEY: np.empty(0, np.uint64), CLICK: np.empty(0, np.uint8), CONVERSION: np.empty(0, np.uint8)}
    columns |= {WEIGHT: np.empty(0, np.float32), USER: np.empty(0, np.int64)}
    columns[AGE] = np.empty(0, np.float32)
    return Rows(
        columns=columns,
        request=pa.array([], pa.binary()),
        counts=np.empty(0, np.int32),
        field=np.empty(0, np.uint16),
        key=np.empty(0, np.uint32),
        weight=np.empty(0, np.float32),
    )
