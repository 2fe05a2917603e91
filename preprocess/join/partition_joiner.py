"""The task of the second step: joins a partition, writes its pieces and, for the train split, their counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from features import names
from preprocess import vocabulary_folder
from preprocess.columns import segments
from preprocess.job import Job
from preprocess.join import counting, duplicates, piece
from preprocess.join.piece_reader import PieceReader
from preprocess.read import quantiles
from preprocess.read.block_parser import ParsedBlock, SegmentFile, write_rejects
from preprocess.sample_requests import SampleCollector

JOINED = "joined.plan"
# Entries of a count file's segment: what a range of keys may read beyond its bounds.
_ENTRIES_PER_SEGMENT = 1 << 16


@dataclasses.dataclass(frozen=True)
class CountRun:
    """A file of counts in ascending order of key.

    Attributes:
        file: the counts in segments.
        first_keys: first key of each segment, int64 [segments].
        entries: number of keys.
    """

    file: SegmentFile
    first_keys: np.ndarray
    entries: int


@dataclasses.dataclass(frozen=True)
class JoinedPartition:
    """What the join of a partition tells.

    Attributes:
        partition: its number.
        pieces: file of joined pieces.
        runs: files of counts; none outside the train split.
        requests: number of requests.
        without_context: number of impressions whose context the log does not have.
        unused_contexts: number of contexts that no impression points to.
        reasons: number of rejected rows by reason index.
        rejects: path of their places.
    """

    partition: int
    pieces: SegmentFile
    runs: list[CountRun]
    requests: int
    without_context: int
    unused_contexts: int
    reasons: np.ndarray
    rejects: list[str]


def join_partition(job: Job, partition: int) -> JoinedPartition:
    """Joins the rows of a partition."""
    return _PartitionJoiner(job, partition).run()


class _PartitionJoiner:
    def __init__(self, job: Job, partition: int) -> None:
        self._job = job
        self._partition = partition
        self._counts = job.partitions.split_of(partition) == names.TRAIN and not job.options.vocabulary
        self._boundaries = boundaries(job)
        self._runs: list[CountRun] = []
        self._rejects: list[str] = []
        self._reasons = np.zeros(256, np.int64)
        self._samples = SampleCollector(job, partition)
        self._requests = 0
        self._without_context = 0
        self._unused_contexts = 0

    def run(self) -> JoinedPartition:
        path = self._job.path("joined", f"{self._partition:05d}")
        edges = segments.write(path, self._packed_pieces())
        self._samples.save(self._job)
        return JoinedPartition(
            partition=self._partition,
            pieces=SegmentFile(path, edges),
            runs=self._runs,
            requests=self._requests,
            without_context=self._without_context,
            unused_contexts=self._unused_contexts,
            reasons=self._reasons,
            rejects=self._rejects,
        )

    def _packed_pieces(self) -> Iterator[segments.Arrays]:
        schema = self._job.schema
        for number, joined in enumerate(PieceReader(self._job, self._partition).pieces()):
            name = f"{self._partition:05d}-{number:05d}"
            if path := write_rejects(self._job.path("rejects", f"join-{name}"), joined.rejects):
                self._rejects.append(path)
                self._reasons += np.bincount(joined.rejects.reason, minlength=256)
            self._samples.add(joined)
            self._requests += len(joined.sizes)
            self._without_context += int(joined.sizes[~joined.has_context].sum())
            self._unused_contexts += joined.unused_contexts
            made = piece.make(joined, schema, self._boundaries)
            if self._counts and len(made.keys):
                self._runs.append(_write_run(self._job.path("counts", name), counting.count(made, schema)))
            yield made.pack()


def _write_run(path: str, counts: counting.Counts) -> CountRun:
    starts = range(0, len(counts.keys), _ENTRIES_PER_SEGMENT)
    columns = {"keys": counts.keys, "counts": counts.counts, "fields": counts.fields}
    parts = ({n: column[start : start + _ENTRIES_PER_SEGMENT] for n, column in columns.items()} for start in starts)
    return CountRun(
        SegmentFile(path, segments.write(path, parts)), counts.keys[starts.start :: starts.step], len(counts.keys)
    )


def boundaries(job: Job) -> dict[str, tuple[float, ...]]:
    """Bucket boundaries of the number fields: of the vocabulary in use, the schema, or the train split's quantiles."""
    if job.options.vocabulary:
        return job.load_vocabulary().boundaries
    found: dict[str, tuple[float, ...]] = {}
    # A bucket must go on meaning the same numbers.
    previous = job.options.previous_vocabulary
    before = vocabulary_folder.load(previous).boundaries if previous else {}
    parsed: list[ParsedBlock] = job.load(duplicates.PARSED)
    for field in job.schema.fields:
        if field.boundaries:
            found[field.name] = field.boundaries
        elif field.name in before:
            found[field.name] = before[field.name]
        elif field.quantiles:
            parts = [block.numbers[field.name] for block in parsed if field.name in block.numbers]
            found[field.name] = quantiles.boundaries(quantiles.merge(parts), field.quantiles)
    return found
