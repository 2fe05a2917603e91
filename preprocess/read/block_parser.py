"""First step: a block of input becomes rows, sorted by order key and sent to their partitions."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator

import numpy as np

from features import names
from features.raw_log import log_files
from features.raw_log.batches import TableReader
from features.raw_log.moments import SECONDS_PER_DAY
from preprocess.columns import rows
from preprocess.columns.rows import Rows
from preprocess.exchange import channels, rejects, sample_ids
from preprocess.exchange.mail import Inbox, Outbox
from preprocess.job import Job
from preprocess.join import key_ranges
from preprocess.read import lines, quantiles, table_rows
from preprocess.read.aliccp_reader import AliccpReader
from preprocess.read.inputs import Block, InputFile
from preprocess.read.parsed import Parsed


@dataclasses.dataclass(frozen=True)
class ParsedBlock:
    """What the first step tells of a piece of a block. Small: the rows are sent.

    Attributes:
        block: of the input.
        number: of the piece in the block; compressed and Parquet files are read in several.
        read: rows of each kind of file in it, rejected ones included.
        used: rows that passed.
        reasons: number of rejected rows by reason index.
        unknown: features of fields that the schema does not have, by name.
        sample_ids: smallest and largest sample id and whether they ascend; None without impressions.
        numbers: histogram of each number field's values in the train split.
        keys: some of its distinct keys, int64 [n].
        conversions: what the conversion window made of them.
        delays: how soon conversions came, as `delays.count` gives it.
        days: a row for each day: its number since 1970, impressions, clicks, conversions and, where they have weights,
            the sums of those: float64 [days, 4 or 7]; none where the schema names no time.
    """

    block: Block
    number: int
    read: int
    used: int
    reasons: np.ndarray
    unknown: Counter[str]
    sample_ids: tuple[int, int, bool] | None
    numbers: dict[str, quantiles.Histogram]
    keys: np.ndarray
    days: np.ndarray
    conversions: Counter[str]
    delays: np.ndarray


def parse_block(job: Job, block: Block, inbox: Inbox, outbox: Outbox) -> list[ParsedBlock]:
    """Parses a block and sends its rows to the partitions. Errors of reading name the file."""
    file = job.files[block.file_index]
    pieces = _aliccp_pieces(job, block, file) if file.input_format == names.ALICCP else _table_pieces(job, block, file)
    return [_send(job, block, number, parsed, outbox) for number, parsed in enumerate(pieces)]


def _aliccp_pieces(job: Job, block: Block, file: InputFile) -> Iterator[Parsed]:
    reader = AliccpReader(job.schema, file.is_context)
    with log_files.naming(file.path, block.start):
        if file.compressed:
            pieces = lines.stream(file.path, job.options.block_size)
        else:
            pieces = iter([lines.read_block(file.path, block.start, block.end)])
        for piece in pieces:
            yield reader.parse(piece, block.file_index)


def _table_pieces(job: Job, block: Block, file: InputFile) -> Iterator[Parsed]:
    for batch in TableReader(file, job.schema, job.options.block_size).batches(block):
        yield table_rows.parse(batch, block.file_index, job.schema, job.partitions.test_from, job.options.window)


def _send(job: Job, block: Block, number: int, parsed: Parsed, outbox: Outbox) -> ParsedBlock:
    split = job.files[block.file_index].split
    sides = {channels.CONTEXTS: parsed.contexts, channels.IMPRESSIONS: parsed.impressions}
    present = {side: _ordered(job, found, split) for side, found in sides.items() if found}
    for side, (found, partition) in present.items():
        edges = np.searchsorted(partition, np.arange(job.partitions.count + 1))
        for key, part in enumerate(found.pack_parts(edges)):
            outbox.send(side, key, part)
    if channels.IMPRESSIONS in present:
        sample_ids.send(*present[channels.IMPRESSIONS], job.partitions.sample_id_parts, outbox)
    rejects.send(parsed.rejects, outbox)
    samples = [key_ranges.sample(found, job.schema) for found, _ in present.values()]
    return ParsedBlock(
        block=block,
        number=number,
        read=parsed.read,
        used=parsed.read - len(parsed.rejects),
        reasons=np.bincount(parsed.rejects.reason, minlength=256),
        unknown=parsed.unknown,
        sample_ids=_sample_id_range(parsed.impressions),
        numbers=_histograms(job, parsed, split),
        keys=np.concatenate([np.empty(0, np.int64), *samples]),
        days=_by_day(parsed.impressions),
        conversions=parsed.conversions,
        delays=parsed.delays,
    )


def _ordered(job: Job, found: Rows, split: str | None) -> tuple[Rows, np.ndarray]:
    """Rows by partition, then order key, and the partition of each."""
    order_key = job.partitions.order_keys(found.request)
    partition = job.partitions.of(order_key, split, found.columns.get(rows.TIME))
    order = np.lexsort((order_key, partition))
    columns = {**found.columns, rows.ORDER_KEY: order_key}
    columns.pop(rows.TIME, None)
    ordered = dataclasses.replace(found, columns=columns, key=rows.narrow(found.key)).take(order)
    return ordered, partition[order]


def _histograms(job: Job, parsed: Parsed, split: str | None) -> dict[str, quantiles.Histogram]:
    """Histogram of each number in the impressions of the train split."""
    if not parsed.numbers or not parsed.impressions or names.TRAIN not in job.partitions.ranges:
        return {}
    order_key = job.partitions.order_keys(parsed.impressions.request)
    partition = job.partitions.of(order_key, split, parsed.impressions.columns.get(rows.TIME))
    train = np.isin(partition, job.partitions.ranges[names.TRAIN])
    return {name: quantiles.histogram(numbers[train]) for name, numbers in parsed.numbers.items()}


def _by_day(impressions: Rows | None) -> np.ndarray:
    """What `ParsedBlock.days` is."""
    if impressions is None or rows.TIME not in impressions.columns:
        return np.empty((0, 0))
    columns = impressions.columns
    days, place = np.unique(columns[rows.TIME] // SECONDS_PER_DAY, return_inverse=True)
    labels = [np.ones(len(place)), columns[rows.CLICK], columns[rows.CLICK] & columns[rows.CONVERSION]]
    if rows.WEIGHT in columns:
        labels += [columns[rows.WEIGHT] * label for label in labels]
    return np.stack([days, *(np.bincount(place, label, len(days)) for label in labels)], axis=1)


def _sample_id_range(impressions: Rows | None) -> tuple[int, int, bool] | None:
    if impressions is None or not len(impressions):
        return None
    ids = impressions.columns[rows.SAMPLE_ID]
    return int(ids.min()), int(ids.max()), bool((ids[1:] > ids[:-1]).all())
