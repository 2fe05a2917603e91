"""Sample ids that occur twice: the first row, by file and offset, is used, the others are rejected.

Rows of one sample id may have different request keys, so the partitions of the join do not bring them together. Where
every block's sample ids ascend and no two blocks overlap, as in Ali-CCP's files, nothing has to be compared.
Otherwise sample ids and places go through files once more, cut by a hash of the sample id.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np

from features import keys, row_places
from preprocess.columns import rows, segments
from preprocess.job import Job
from preprocess.read.block_parser import IMPRESSIONS, ParsedBlock, SegmentFile

PARSED = "parsed.plan"
ROUTED = "routed.plan"
DUPLICATES = "duplicates.plan"

_ROWS_PER_PART = 1 << 21


@dataclasses.dataclass(frozen=True)
class Routing:
    """A task: the sample ids of a partition, to be cut into `parts` by their hash."""

    partition: int
    parts: int


def plan_routing(job: Job, parsed: Sequence[list[ParsedBlock]]) -> list[Routing]:
    """Keeps the parsed blocks for later steps. Tasks, none where no sample id can occur twice."""
    found = sorted((block for blocks in parsed for block in blocks), key=lambda block: (block.block, block.number))
    job.save(PARSED, found)
    scopes = {job.files[block.block.file_index].split for block in found}
    if not any(_may_repeat([b for b in found if job.files[b.block.file_index].split == scope]) for scope in scopes):
        return []
    parts = max(1, math.ceil(sum(block.used for block in found) / _ROWS_PER_PART))
    return [Routing(partition, parts) for partition in range(job.partitions.count)]


def _may_repeat(blocks: Sequence[ParsedBlock]) -> bool:
    ranges = sorted(block.sample_ids for block in blocks if block.sample_ids)
    ascending = all(ascends for _, _, ascends in ranges)
    return not ascending or any(low <= high for (_, high, _), (low, _, _) in itertools.pairwise(ranges))


def route(job: Job, task: Routing) -> SegmentFile:
    """Writes the sample ids of a partition, with their rows' places, cut by hash."""
    loaded = [block.files[IMPRESSIONS].read(task.partition) for block in job.load(PARSED) if IMPRESSIONS in block.files]
    loaded = [arrays for arrays in loaded if arrays]
    sample_id = np.concatenate([arrays[rows.SAMPLE_ID] for arrays in loaded] or [np.empty(0, np.int64)])
    place = np.concatenate([arrays[rows.PLACE] for arrays in loaded] or [np.empty(0, np.int64)])
    part = (keys.mix64(sample_id).view(np.uint64) % np.uint64(task.parts)).astype(np.int64)
    order = np.argsort(part, kind="stable")
    edges = np.searchsorted(part[order], np.arange(task.parts + 1))
    columns = {
        rows.SAMPLE_ID: sample_id[order],
        rows.PLACE: place[order],
        "partition": np.full(len(place), task.partition, np.int32),
    }
    path = job.path("routed", f"{task.partition:05d}")
    pieces = zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    cut = ({name: column[begin:end] for name, column in columns.items()} for begin, end in pieces)
    return SegmentFile(path, segments.write(path, cut))


def plan_search(job: Job, routed: Sequence[SegmentFile]) -> list[int]:
    """Tasks: the parts by hash."""
    job.save(ROUTED, list(routed))
    return list(range(len(routed[0].edges) - 1)) if routed else []


def search(job: Job, part: int) -> dict[int, np.ndarray]:
    """Places of the rows of a part whose sample id an earlier row has, by partition."""
    loaded = [arrays for arrays in (file.read(part) for file in job.load(ROUTED)) if arrays]
    if not loaded:
        return {}
    columns = {name: np.concatenate([arrays[name] for arrays in loaded]) for name in loaded[0]}
    # A sample id stands for one impression of its split: files of different splits may count from 1 each.
    split = _split_numbers(job)[row_places.file_and_offset(columns[rows.PLACE])[0]]
    order = np.lexsort((columns[rows.PLACE], columns[rows.SAMPLE_ID], split))
    sample_id, split = columns[rows.SAMPLE_ID][order], split[order]
    repeated = order[1:][(sample_id[1:] == sample_id[:-1]) & (split[1:] == split[:-1])]
    partition, place = columns["partition"][repeated], columns[rows.PLACE][repeated]
    return {int(number): np.sort(place[partition == number]) for number in np.unique(partition)}


def _split_numbers(job: Job) -> np.ndarray:
    """Number that stands for the split of each input file: int64 [files]."""
    splits = [file.split for file in job.files]
    return np.array([splits.index(split) for split in splits])


def plan_join(job: Job, found: Sequence[dict[int, np.ndarray]]) -> list[int]:
    """Keeps the duplicates by partition. Tasks: all partitions."""
    merged: dict[int, list[np.ndarray]] = {}
    for part in found:
        for partition, places in part.items():
            merged.setdefault(partition, []).append(places)
    job.save(DUPLICATES, {partition: np.sort(np.concatenate(places)) for partition, places in merged.items()})
    return list(range(job.partitions.count))
