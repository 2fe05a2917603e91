"""The task of the third step: joins a partition, sends its pieces and, for the train split, their counts."""

from __future__ import annotations

import dataclasses
from collections import Counter

from features import names
from features.scaling import Moments
from features.schema import STANDARD
from preprocess import vocabulary_folder
from preprocess.exchange import channels, rejects
from preprocess.exchange.mail import Inbox, Outbox
from preprocess.job import Job
from preprocess.join import counting, duplicates, piece
from preprocess.join.duplicates import ParsedLog
from preprocess.join.joined import Joined
from preprocess.join.key_ranges import KEY_RANGES
from preprocess.join.piece_reader import PieceReader
from preprocess.read import quantiles
from preprocess.sample_requests import SampleCollector

JOINED = "joined.plan"


@dataclasses.dataclass(frozen=True)
class JoinedPartition:
    """What the join of a partition tells.

    Attributes:
        partition: its number.
        requests: number of requests.
        without_context: number of impressions whose context the log does not have.
        unused_contexts: number of contexts that no impression points to.
        reasons: number of rejected rows by reason index.
    """

    partition: int
    requests: int
    without_context: int
    unused_contexts: int
    reasons: dict[int, int]


def join_partition(job: Job, partition: int, inbox: Inbox, outbox: Outbox) -> JoinedPartition:
    """Joins the rows of a partition and sends the pieces to its shard."""
    return _PartitionJoiner(job, partition, outbox).run(PieceReader(job, inbox))


class _PartitionJoiner:
    def __init__(self, job: Job, partition: int, outbox: Outbox) -> None:
        self._job = job
        self._partition = partition
        self._outbox = outbox
        self._counts = job.partitions.split_of(partition) == names.TRAIN and not job.options.vocabulary
        self._boundaries = boundaries(job)
        parsed: ParsedLog = job.load(duplicates.PARSED)
        self._shares = parsed.known_shares
        self._reasons: Counter[int] = Counter()
        self._samples = SampleCollector(job, partition)
        self._requests = 0
        self._without_context = 0
        self._unused_contexts = 0

    def run(self, reader: PieceReader) -> JoinedPartition:
        for joined in reader.pieces():
            self._add(joined)
        self._samples.save(self._job)
        return JoinedPartition(
            partition=self._partition,
            requests=self._requests,
            without_context=self._without_context,
            unused_contexts=self._unused_contexts,
            reasons=dict(self._reasons),
        )

    def _add(self, joined: Joined) -> None:
        rejects.send(joined.rejects, self._outbox)
        self._reasons.update(joined.rejects.reason.tolist())
        self._samples.add(joined)
        self._requests += len(joined.sizes)
        self._without_context += int(joined.sizes[~joined.has_context].sum())
        self._unused_contexts += joined.unused_contexts
        made = piece.make(joined, self._job.schema, self._boundaries, self._shares)
        if self._counts:
            counting.send(counting.count(made, self._job.schema), self._job.load(KEY_RANGES), self._outbox)
        self._outbox.send(channels.PIECES, self._job.partitions.shard_of(self._partition), made.pack())


def boundaries(job: Job) -> dict[str, tuple[float, ...]]:
    """Bucket boundaries of the number fields: of the vocabulary in use, the schema, or the train split's quantiles."""
    if job.options.vocabulary:
        return job.load_vocabulary().boundaries
    found: dict[str, tuple[float, ...]] = {}
    # A bucket must go on meaning the same numbers.
    previous = job.options.previous_vocabulary
    before = vocabulary_folder.load(previous).boundaries if previous else {}
    parsed: ParsedLog = job.load(duplicates.PARSED)
    for field in job.schema.fields:
        if field.boundaries:
            found[field.name] = field.boundaries
        elif field.name in before:
            found[field.name] = before[field.name]
        elif field.quantiles:
            histogram = parsed.numbers.get(field.name)
            found[field.name] = quantiles.boundaries(histogram, field.quantiles) if histogram else ()
    return found


def moments(job: Job) -> dict[str, Moments]:
    """Moments of the numbers with scale `standard`: of the train split, or of the vocabulary that this one follows."""
    previous = job.options.previous_vocabulary
    before = vocabulary_folder.load(previous).moments if previous else {}
    parsed: ParsedLog = job.load(duplicates.PARSED)
    found: dict[str, Moments] = {}
    for field in job.schema.dense_fields:
        if field.scale == STANDARD:
            histogram = parsed.numbers.get(field.name)
            found[field.name] = before.get(field.name) or quantiles.moments(histogram)
    return found
