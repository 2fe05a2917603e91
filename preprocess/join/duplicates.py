"""Sample ids that occur twice: the first row, by file and offset, is used, the others are rejected.

Rows of one sample id may have different request keys, so the partitions of the join do not bring them together. Where
every block's sample ids ascend and no two blocks overlap, as in Ali-CCP's files, nothing has to be compared.
Otherwise the sample ids that the blocks sent, cut by a hash, are.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np

from features import row_places
from preprocess.columns import rows
from preprocess.exchange import channels, mail, sample_ids
from preprocess.exchange.mail import Inbox, Outbox
from preprocess.job import Job
from preprocess.join import key_ranges
from preprocess.read import delays, quantiles
from preprocess.read.block_parser import ParsedBlock
from preprocess.read.conversions import Window
from preprocess.read.delays import KnownShares

PARSED = "parsed.plan"


@dataclasses.dataclass(frozen=True)
class ParsedLog:
    """What the first step tells, of all blocks together.

    Attributes:
        read: rows, rejected ones included.
        reasons: number of rejected rows by reason index.
        unknown: features of fields that the schema does not have, by name.
        numbers: histogram of each number field's values in the train split.
        days: as of a block, ascending.
        conversions: as of a block.
        known_shares: how much of a window's conversions clicks of an age have shown; with --weigh_open_clicks only.
    """

    read: int
    reasons: np.ndarray
    unknown: Counter[str]
    numbers: dict[str, quantiles.Histogram]
    days: np.ndarray
    conversions: Counter[str]
    known_shares: KnownShares | None


def plan_search(job: Job, parsed: Sequence[list[ParsedBlock]]) -> list[int]:
    """Keeps what the blocks told. Tasks: parts of the sample ids by hash; none where no sample id can occur twice."""
    found = sorted((block for blocks in parsed for block in blocks), key=lambda block: (block.block, block.number))
    job.save(PARSED, _together(found, job.options.window))
    job.save(key_ranges.KEY_RANGES, key_ranges.cut([block.keys for block in found], job.partitions.key_ranges))
    scopes = {job.files[block.block.file_index].split for block in found}
    if not any(_may_repeat([b for b in found if job.files[b.block.file_index].split == scope]) for scope in scopes):
        return []
    return list(range(job.partitions.sample_id_parts))


def _together(found: Sequence[ParsedBlock], window: Window) -> ParsedLog:
    histograms: dict[str, list[quantiles.Histogram]] = {}
    for block in found:
        for name, histogram in block.numbers.items():
            histograms.setdefault(name, []).append(histogram)
    return ParsedLog(
        read=sum(block.read for block in found),
        reasons=sum((block.reasons for block in found), np.zeros(256, np.int64)),
        unknown=sum((block.unknown for block in found), Counter()),
        numbers={name: quantiles.merge(parts) for name, parts in histograms.items()},
        days=_days_together([block.days for block in found]),
        conversions=sum((block.conversions for block in found), Counter()),
        known_shares=_known_shares(found, window),
    )


def _known_shares(found: Sequence[ParsedBlock], window: Window) -> KnownShares | None:
    if not window.weigh_open or window.length is None:
        return None
    return delays.estimate(sum((block.delays for block in found), delays.nothing()), window.length)


def _days_together(parts: Sequence[np.ndarray]) -> np.ndarray:
    filled = [part for part in parts if len(part)]
    if not filled:
        return np.empty((0, 0))
    every = np.concatenate(filled)
    days, place = np.unique(every[:, 0], return_inverse=True)
    counts = np.zeros((len(days), every.shape[1] - 1))
    np.add.at(counts, place, every[:, 1:])
    return np.column_stack([days, counts])


def _may_repeat(blocks: Sequence[ParsedBlock]) -> bool:
    ranges = sorted(block.sample_ids for block in blocks if block.sample_ids)
    ascending = all(ascends for _, _, ascends in ranges)
    return not ascending or any(low <= high for (_, high, _), (low, _, _) in itertools.pairwise(ranges))


def search(job: Job, part: int, inbox: Inbox, outbox: Outbox) -> None:
    """Sends the places of rows whose sample id an earlier row has to their partitions."""
    columns = sample_ids.receive(inbox)
    if not columns:
        return
    # A sample id stands for one impression of its split: files of different splits may count from 1 each.
    split = _split_numbers(job)[row_places.file_and_offset(columns[rows.PLACE])[0]]
    order = np.lexsort((columns[rows.PLACE], columns[rows.SAMPLE_ID], split))
    sample_id, split = columns[rows.SAMPLE_ID][order], split[order]
    repeated = order[1:][(sample_id[1:] == sample_id[:-1]) & (split[1:] == split[:-1])]
    partition, place = columns[sample_ids.PARTITION][repeated], columns[rows.PLACE][repeated]
    for number in np.unique(partition).tolist():
        outbox.send(channels.DUPLICATES, number, {rows.PLACE: np.sort(place[partition == number])})


def _split_numbers(job: Job) -> np.ndarray:
    """Number that stands for the split of each input file: int64 [files]."""
    splits = [file.split for file in job.files]
    return np.array([splits.index(split) for split in splits])


def plan_join(job: Job, found: Sequence[None]) -> list[int]:
    """Tasks: all partitions."""
    return list(range(job.partitions.count))


def of_partition(inbox: Inbox) -> np.ndarray:
    """Places of a partition's impressions whose sample id an earlier row has, ascending."""
    parts = [arrays[rows.PLACE] for arrays in mail.all_arrays(inbox.parts(channels.DUPLICATES))]
    return np.sort(np.concatenate([np.empty(0, np.int64), *parts]))
