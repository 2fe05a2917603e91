"""Reads the rows of a partition in pieces that fit in memory: all at once, or by ranges of the order key.

A request that alone is larger than a piece (a crawler's, say) comes in several pieces, cut where its records are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow.compute as pc

from features.raw_log import table
from features.schema import Schema
from preprocess.columns import rows
from preprocess.columns.rows import Rows
from preprocess.exchange import mail
from preprocess.exchange.channels import CONTEXTS, IMPRESSIONS
from preprocess.exchange.mail import Inbox
from preprocess.job import Job
from preprocess.join import duplicates
from preprocess.join.joined import Joined, join

# Bytes of a row beside its features, and of a feature, in a segment.
_ROW_BYTES = 60
_FEATURE_BYTES = 10
_LAST_KEY = (1 << 64) - 1


@dataclasses.dataclass(frozen=True)
class _Range:
    """Order keys from `first` to `last`, both included."""

    first: int
    last: int
    size: int


class PieceReader:
    """The joined rows of one partition."""

    def __init__(self, job: Job, inbox: Inbox) -> None:
        self._job = job
        self._parts = {side: inbox.parts(side) for side in (CONTEXTS, IMPRESSIONS)}
        self._duplicates = duplicates.of_partition(inbox)
        self._context_columns = _columns_of_fields(job.schema) if job.repeats_context else None

    def pieces(self) -> Iterator[Joined]:
        """Joined pieces, requests in output order over all of them."""
        size = sum(part.size for parts in self._parts.values() for part in parts)
        limit = self._job.options.piece_size
        for part in [_Range(0, _LAST_KEY, size)] if size <= limit else self._ranges(limit):
            if part.size > limit and part.first == part.last:
                for request in self._requests(part):
                    yield from self._request_in_pieces(part, request, limit)
            else:
                yield self._join(self._read(CONTEXTS, part), self._read(IMPRESSIONS, part))

    def _join(self, contexts: Sequence[Rows], impressions: Sequence[Rows]) -> Joined:
        both = rows.concatenate(contexts), rows.concatenate(impressions)
        return join(*both, self._duplicates, self._context_columns)

    def _read(self, side: str, part: _Range) -> list[Rows]:
        return list(self._stream(side, part))

    def _stream(self, side: str, part: _Range) -> Iterator[Rows]:
        """Rows of the range, block by block in input order."""
        for arrays in mail.all_arrays(self._parts[side]):
            found = rows.unpack(arrays)
            order_key = found.columns[rows.ORDER_KEY]
            begin = np.searchsorted(order_key, np.uint64(part.first), side="left")
            end = np.searchsorted(order_key, np.uint64(part.last), side="right")
            if end - begin == len(found):
                yield found
            elif end > begin:
                yield found.take(np.arange(begin, end))

    def _ranges(self, limit: int) -> list[_Range]:
        """Ranges of order keys of at most `limit` bytes each; a larger one is a single key."""
        order_key, size = self._request_sizes()
        ranges: list[_Range] = []
        for key, bytes_ in zip(order_key.tolist(), size.tolist(), strict=True):
            if ranges and ranges[-1].size + bytes_ <= limit:
                last = ranges[-1]
                ranges[-1] = _Range(last.first, key, last.size + bytes_)
            else:
                ranges.append(_Range(key, key, bytes_))
        return ranges

    def _request_sizes(self) -> tuple[np.ndarray, np.ndarray]:
        """Order keys, ascending, and the bytes of all rows that have them."""
        keys: list[np.ndarray] = [np.empty(0, np.uint64)]
        sizes: list[np.ndarray] = [np.empty(0, np.int64)]
        for arrays in mail.all_arrays([part for parts in self._parts.values() for part in parts]):
            distinct, first = np.unique(arrays[rows.ORDER_KEY], return_index=True)
            keys.append(distinct)
            sizes.append(np.add.reduceat(_ROW_BYTES + _FEATURE_BYTES * arrays["counts"].astype(np.int64), first))
        distinct, place = np.unique(np.concatenate(keys), return_inverse=True)
        total = np.zeros(len(distinct), np.int64)
        np.add.at(total, place, np.concatenate(sizes))
        return distinct, total

    def _requests(self, part: _Range) -> list[bytes]:
        """Request keys of a range, in order: more than one only where two have the same fingerprint."""
        found = [rows_.request for side in (CONTEXTS, IMPRESSIONS) for rows_ in self._stream(side, part)]
        return sorted(set().union(*(pc.unique(request).to_pylist() for request in found)))

    def _request_in_pieces(self, part: _Range, request: bytes, limit: int) -> Iterator[Joined]:
        """Pieces of one request, each with its context and a multiple of the record limit of impressions."""
        contexts = [
            found for found in (_of_request(found, request) for found in self._stream(CONTEXTS, part)) if len(found)
        ]
        record = self._job.options.record_limit
        waiting: list[Rows] = []
        for found in self._stream(IMPRESSIONS, part):
            waiting.append(_of_request(found, request))
            if sum(_ROW_BYTES * len(w) + _FEATURE_BYTES * len(w.key) for w in waiting) <= limit:
                continue
            joined = self._join(contexts, waiting)
            if not self._job.repeats_context:
                # The first is used, and the others have been rejected now.
                contexts = [context.take(np.arange(1)) for context in contexts[:1]]
            # At least one row stays: the context of the request's first row is that of the rows that follow.
            cut = (len(joined.impressions) - 1) // record * record
            waiting = [joined.impressions.take(np.arange(max(cut, 0), len(joined.impressions)))]
            yield _first_impressions(joined, max(cut, 0))
        yield self._join(contexts, waiting)


def _columns_of_fields(schema: Schema) -> list[int]:
    places = {name: place for place, name in enumerate(table.column_names(schema))}
    return [places[field.column] for field in schema.fields]


def _of_request(found: Rows, request: bytes) -> Rows:
    return found.take(np.flatnonzero(pc.equal(found.request, request).to_numpy(zero_copy_only=False)))


def _first_impressions(joined: Joined, count: int) -> Joined:
    """The same request with its first impressions alone, and all its rejects."""
    if not count:
        none = np.arange(0)
        return dataclasses.replace(
            joined,
            impressions=joined.impressions.take(none),
            contexts=joined.contexts.take(none),
            sizes=np.zeros(0, np.int64),
            has_context=np.zeros(0, bool),
        )
    return dataclasses.replace(joined, impressions=joined.impressions.take(np.arange(count)), sizes=np.array([count]))
