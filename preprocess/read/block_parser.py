"""First step: a block of input becomes rows, sorted by order key and cut by partition, in files of segments."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator

import numpy as np

import storage
from features import names
from features.raw_log import log_files
from features.raw_log.batches import ROWS_PER_BATCH, TableReader
from preprocess.columns import rows, segments
from preprocess.columns.rows import Rejects, Rows
from preprocess.job import Job
from preprocess.read import lines, quantiles, table_rows
from preprocess.read.aliccp_reader import AliccpReader
from preprocess.read.inputs import Block, InputFile
from preprocess.read.parsed import Parsed

CONTEXTS = "contexts"
IMPRESSIONS = "impressions"


@dataclasses.dataclass(frozen=True)
class SegmentFile:
    """A file with one segment for each partition.

    Attributes:
        path: of the file.
        edges: of the segments, int64 [partitions + 1].
    """

    path: str
    edges: np.ndarray

    def size(self, partition: int) -> int:
        """Bytes of a partition's segment."""
        return int(self.edges[partition + 1] - self.edges[partition])

    def read(self, partition: int) -> segments.Arrays:
        """Arrays of a partition's segment; none where it is empty."""
        if not self.size(partition):
            return {}
        return segments.read(self.path, self.edges[partition], self.edges[partition + 1])


@dataclasses.dataclass(frozen=True)
class ParsedBlock:
    """What the first step tells of a piece of a block. Small: the rows are in files.

    Attributes:
        block: of the input.
        number: of the piece in the block; compressed and Parquet files are read in several.
        read: rows of each kind of file in it, rejected ones included.
        used: rows that passed.
        reasons: number of rejected rows by reason index.
        unknown: features of fields that the schema does not have, by name.
        files: rows by side.
        rejects: path of the rejected rows' places, empty where there are none.
        sample_ids: smallest and largest sample id and whether they ascend; None without impressions.
        numbers: histogram of each number field's values in the train split.
    """

    block: Block
    number: int
    read: int
    used: int
    reasons: np.ndarray
    unknown: Counter[str]
    files: dict[str, SegmentFile]
    rejects: str
    sample_ids: tuple[int, int, bool] | None
    numbers: dict[str, quantiles.Histogram]


def parse_block(job: Job, block: Block) -> list[ParsedBlock]:
    """Parses a block and writes its rows for the partitions. Errors of reading name the file."""
    file = job.files[block.file_index]
    pieces = _aliccp_pieces(job, block, file) if file.input_format == names.ALICCP else _table_pieces(job, block, file)
    return [_spill(job, block, number, parsed) for number, parsed in enumerate(pieces)]


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
    size = ROWS_PER_BATCH if file.input_format == names.PARQUET else job.options.block_size
    for batch in TableReader(file, job.schema, size).batches(block):
        yield table_rows.parse(batch, block.file_index, job.schema)


def _spill(job: Job, block: Block, number: int, parsed: Parsed) -> ParsedBlock:
    split = job.files[block.file_index].split
    name = f"{block.file_index:05d}-{block.start:015d}-{number:05d}"
    sides = {CONTEXTS: parsed.contexts, IMPRESSIONS: parsed.impressions}
    return ParsedBlock(
        block=block,
        number=number,
        read=parsed.read,
        used=parsed.read - len(parsed.rejects),
        reasons=np.bincount(parsed.rejects.reason, minlength=256),
        unknown=parsed.unknown,
        files={
            side: _write_partitions(job, f"parsed/{side}-{name}", found, split)
            for side, found in sides.items()
            if found
        },
        rejects=write_rejects(job.path("rejects", f"parse-{name}"), parsed.rejects),
        sample_ids=_sample_id_range(parsed.impressions),
        numbers=_histograms(job, parsed, split),
    )


def _write_partitions(job: Job, name: str, found: Rows, split: str | None) -> SegmentFile:
    order_key = job.partitions.order_keys(found.request)
    partition = job.partitions.of(order_key, split)
    order = np.lexsort((order_key, partition))
    columns = {**found.columns, rows.ORDER_KEY: order_key}
    ordered = dataclasses.replace(found, columns=columns, key=rows.narrow(found.key)).take(order)
    edges = np.searchsorted(partition[order], np.arange(job.partitions.count + 1))
    path = job.path(name)
    return SegmentFile(path, segments.write(path, ordered.pack_parts(edges)))


def write_rejects(path: str, rejects: Rejects) -> str:
    """Writes places and reasons of rejected rows; returns the path, or nothing where there are none."""
    if not len(rejects):
        return ""
    segments.write(path, [dataclasses.asdict(rejects)])
    return path


def read_rejects(path: str) -> Rejects:
    """What `write_rejects` wrote."""
    data = storage.read(path)
    arrays = segments.parse(data)
    return Rejects(**arrays)


def _histograms(job: Job, parsed: Parsed, split: str | None) -> dict[str, quantiles.Histogram]:
    """Histogram of each number in the impressions of the train split."""
    if not parsed.numbers or not parsed.impressions or names.TRAIN not in job.partitions.ranges:
        return {}
    partition = job.partitions.of(job.partitions.order_keys(parsed.impressions.request), split)
    train = np.isin(partition, job.partitions.ranges[names.TRAIN])
    return {name: quantiles.histogram(numbers[train]) for name, numbers in parsed.numbers.items()}


def _sample_id_range(impressions: Rows | None) -> tuple[int, int, bool] | None:
    if impressions is None or not len(impressions):
        return None
    ids = impressions.columns[rows.SAMPLE_ID]
    return int(ids.min()), int(ids.max()), bool((ids[1:] > ids[:-1]).all())
