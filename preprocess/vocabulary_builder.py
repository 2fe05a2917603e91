"""Third step: counts of all partitions become the vocabulary. By ranges of keys, so that memory does not grow with ids.

A new id is given by count (descending), then key. Ranges are merged independently; what they exchange is how many
keys each has of each count, and from that every key's new id follows within its range. The result does not depend
on where the ranges are cut.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

import storage
from features.vocabulary import ID_DTYPE, KEY_DTYPE, OOV, Vocabulary
from preprocess import vocabulary_folder
from preprocess.columns import segments
from preprocess.exchange.mail import Inbox, Outbox
from preprocess.generations import history, next_vocabulary
from preprocess.job import Job
from preprocess.join import counting, partition_joiner
from preprocess.join.key_ranges import KEY_RANGES
from preprocess.join.partition_joiner import JoinedPartition

COUNTED = "counted.plan"
_COLUMNS = ("keys", "counts", "fields")
_DTYPES = (("keys", KEY_DTYPE), ("counts", history.COUNT_DTYPE), ("fields", history.FIELD_DTYPE))


class TooManyIdsError(ValueError):
    """More ids than an int32 can number."""


@dataclasses.dataclass(frozen=True)
class CountedRange:
    """What the merge of a range tells.

    Attributes:
        number: of the range.
        path: file of two segments: the keys that are kept, ascending, with counts and fields, and the other ones.
        edges: of the segments, int64 [3].
        kept: number of these keys.
        frequencies: distinct counts of all keys, ascending, and how many keys have each: int64 [2, counts].
        ids_by_field: number of distinct keys of each field, kept and in all: int64 [2, fields].
    """

    number: int
    path: str
    edges: np.ndarray
    kept: int
    frequencies: np.ndarray
    ids_by_field: np.ndarray


def plan_ranges(job: Job, joined: Sequence[JoinedPartition]) -> list[int]:
    """Keeps what the join told. Tasks: ranges of keys; none with a given vocabulary."""
    job.save(partition_joiner.JOINED, sorted(joined, key=lambda found: found.partition))
    return [] if job.options.vocabulary else list(range(len(job.load(KEY_RANGES))))


def merge_range(job: Job, number: int, inbox: Inbox, outbox: Outbox) -> CountedRange:
    """Merges the counts of a range and keeps what is frequent enough."""
    merged = counting.receive(inbox, job.schema)
    kept = merged.counts >= job.options.min_count
    path = job.path("kept", f"{number:05d}")
    edges = segments.write(path, [_chosen(merged, kept), _chosen(merged, ~kept)])
    count = len(job.schema.fields)
    by_field = [np.bincount(fields, minlength=count) for fields in (merged.fields[kept], merged.fields)]
    frequencies = np.stack(np.unique(merged.counts, return_counts=True))
    return CountedRange(number, path, edges, int(kept.sum()), frequencies, np.stack(by_field))


def _chosen(counts: counting.Counts, chosen: np.ndarray) -> segments.Arrays:
    return {name: getattr(counts, name)[chosen] for name in _COLUMNS}


def plan_records(job: Job, counted: Sequence[CountedRange]) -> list[tuple[str, int]]:
    """Numbers the kept keys and writes the vocabulary. Tasks: the shards of all splits."""
    ranges = sorted(counted, key=lambda found: found.number)
    job.save(COUNTED, ranges)
    if job.options.previous_vocabulary:
        next_vocabulary.save(job, _day(ranges), partition_joiner.boundaries(job), partition_joiner.moments(job))
    elif not job.options.vocabulary:
        _save(job, ranges)
    return [(split, shard) for split, count in job.partitions.shards.items() for shard in range(count)]


def _save(job: Job, ranges: Sequence[CountedRange]) -> None:
    size = sum(found.kept for found in ranges)
    if job.schema.reserved_ids + size > np.iinfo(ID_DTYPE).max:
        raise TooManyIdsError(f"{size} ids occur {job.options.min_count} times or more; raise --min_count")
    # Through files, mapped into memory where the output is local: the arrays may be larger than it.
    keys_path, ids_path = job.path("numbered", "keys"), job.path("numbered", "ids")
    storage.write(keys_path, (found["keys"].astype(KEY_DTYPE) for found in _kept(ranges)))
    storage.write(ids_path, (ids.astype(ID_DTYPE) for ids in _new_ids(job.schema.reserved_ids, ranges)))
    made = Vocabulary(
        schema=job.schema,
        keys=_array(keys_path, KEY_DTYPE),
        ids=_array(ids_path, ID_DTYPE),
        boundaries=partition_joiner.boundaries(job),
        moments=partition_joiner.moments(job),
        statistics=_statistics(job, ranges),
        generation={"number": 0, "parent": None, "carried": 0, "added": size},
    )
    vocabulary_folder.save(made, job.vocabulary_dir)
    _save_history(job, ranges)


def _save_history(job: Job, ranges: Sequence[CountedRange]) -> None:
    """Writes what the next day's job needs to know beside the ids."""
    columns = {
        history.COUNTS: (_kept, "counts"),
        history.FIELDS: (_kept, "fields"),
        history.PENDING_KEYS: (_rare, "keys"),
        history.PENDING_COUNTS: (_rare, "counts"),
        history.PENDING_FIELDS: (_rare, "fields"),
    }
    arrays = {name: _column(read(ranges), column) for name, (read, column) in columns.items()}
    history.write(job.vocabulary_dir, arrays)


def _column(arrays: Iterator[segments.Arrays], name: str) -> Iterator[np.ndarray]:
    return (found[name] for found in arrays)


def _day(ranges: Sequence[CountedRange]) -> history.Counted:
    """All keys of the day, ascending."""
    parts = [*_kept(ranges), *_rare(ranges)]
    joined = {
        name: np.concatenate([np.empty(0, dtype), *(part[name] for part in parts)]).astype(dtype, copy=False)
        for name, dtype in _DTYPES
    }
    order = np.argsort(joined["keys"], kind="stable")
    return history.Counted(*(joined[name][order] for name in _COLUMNS))


def _kept(ranges: Iterable[CountedRange]) -> Iterator[segments.Arrays]:
    return (segments.read(found.path, *found.edges[:2]) for found in ranges if found.edges[0] < found.edges[1])


def _rare(ranges: Iterable[CountedRange]) -> Iterator[segments.Arrays]:
    return (segments.read(found.path, *found.edges[1:]) for found in ranges if found.edges[1] < found.edges[2])


def _new_ids(reserved: int, ranges: Sequence[CountedRange]) -> Iterator[np.ndarray]:
    """New ids of each range's keys. `next_id[count]`, by negative count, is the next key's of that count."""
    counts = np.concatenate([found.frequencies for found in ranges] or [np.zeros((2, 0), np.int64)], axis=1)
    distinct, place = np.unique(counts[0], return_inverse=True)
    total = np.bincount(place, weights=counts[1], minlength=len(distinct)).astype(np.int64)
    next_id = reserved + total[::-1].cumsum()[::-1] - total
    for arrays in _kept(ranges):
        order = np.argsort(arrays["counts"], kind="stable")
        ascending = arrays["counts"][order]
        first = np.searchsorted(ascending, ascending, side="left")
        bins = np.searchsorted(distinct, ascending)
        ids = np.empty(len(order), np.int64)
        ids[order] = next_id[bins] + np.arange(len(order)) - first
        next_id += np.bincount(bins, minlength=len(distinct))
        yield ids


def _array(path: str, dtype: np.dtype) -> np.ndarray:
    if storage.is_local(path):
        return np.memmap(path, dtype, "r") if storage.size(path) else np.empty(0, dtype)
    return np.frombuffer(storage.read(path), dtype)


def _statistics(job: Job, ranges: Sequence[CountedRange]) -> dict[str, object]:
    kept, distinct = sum((found.ids_by_field for found in ranges), np.zeros((2, len(job.schema.fields)), np.int64))
    fields = {
        field.name: {"ids": int(distinct[i]), "kept_ids": int(kept[i]), "dropped_ids": int(distinct[i] - kept[i])}
        for i, field in enumerate(job.schema.fields)
    }
    return {"min_count": job.options.min_count, OOV: job.options.oov, "fields": fields}
