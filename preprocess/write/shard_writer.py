"""Fourth step: the pieces of a shard, remapped, become a record file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

import storage
from features import names
from features.vocabulary import UNKNOWN, Vocabulary
from preprocess.columns import rows
from preprocess.exchange import channels, mail
from preprocess.exchange.mail import Inbox, Outbox
from preprocess.job import Job
from preprocess.join import piece
from preprocess.join.piece import Piece
from preprocess.write import remap, tfrecord_writer
from preprocess.write.record_encoder import RecordEncoder


@dataclasses.dataclass
class FieldTotals:
    """What a field has in some records. Each is int64 [fields].

    Attributes:
        rows: impressions that have a value; those of a context count all its impressions.
        values: values, each counted once for each impression.
        unknown: values that the vocabulary does not have, counted likewise.
        longest: most values in one row.
    """

    rows: np.ndarray
    values: np.ndarray
    unknown: np.ndarray
    longest: np.ndarray


@dataclasses.dataclass(frozen=True)
class WrittenShard:
    """What the writing of a shard tells.

    Attributes:
        split: of the shard.
        shard: its number.
        path: of the file.
        bytes: size of the file.
        plain_bytes: size before compression.
        records: number of records.
        requests: number of requests.
        impressions: number of impressions.
        clicks: number of clicks.
        conversions: number of conversions.
        weights: sums of the weights of impressions, clicks and conversions, float64 [3]; 0 where they have none.
        open_clicks: clicks that are weighed, since their window is open.
        totals: of its fields.
    """

    split: str
    shard: int
    path: str
    bytes: int
    plain_bytes: int
    records: int
    requests: int
    impressions: int
    clicks: int
    conversions: int
    weights: np.ndarray
    open_clicks: int
    totals: FieldTotals


def write_shard(job: Job, task: tuple[str, int], inbox: Inbox, outbox: Outbox) -> WrittenShard:
    """Writes the record file of a shard."""
    return _ShardWriter(job, *task, inbox).run()


class _ShardWriter:
    def __init__(self, job: Job, split: str, shard: int, inbox: Inbox) -> None:
        self._job = job
        self._inbox = inbox
        self._split = split
        self._shard = shard
        self._vocabulary: Vocabulary = job.load_vocabulary()
        count = len(job.schema.fields)
        self._totals = FieldTotals(*(np.zeros(count, np.int64) for _ in range(4)))
        self._plain_bytes = 0
        self._records = 0
        # requests, impressions, clicks, conversions
        self._labels = np.zeros(4, np.int64)
        self._weights = np.zeros(3)
        self._open_clicks = 0

    def run(self) -> WrittenShard:
        path = self._job.shard_path(self._split, self._shard)
        size = storage.write(path, tfrecord_writer.compressed(self._framed(), self._job.options.compression))
        requests, impressions, clicks, conversions = self._labels.tolist()
        return WrittenShard(
            split=self._split,
            shard=self._shard,
            path=path,
            bytes=size,
            plain_bytes=self._plain_bytes,
            records=self._records,
            requests=requests,
            impressions=impressions,
            clicks=clicks,
            conversions=conversions,
            weights=self._weights,
            open_clicks=self._open_clicks,
            totals=self._totals,
        )

    def _framed(self) -> Iterator[bytes]:
        options, schema = self._job.options, self._job.schema
        seed = options.seed if options.impressions_per_record else None
        for made in self._pieces():
            new_ids = self._vocabulary.lookup(made.keys)
            self._count(made, new_ids)
            columns = remap.remap_piece(made, new_ids, self._vocabulary, options.oov)
            for batch in RecordEncoder(schema, made, columns, options.record_limit, seed).batches():
                framed = tfrecord_writer.frames(batch)
                self._plain_bytes += len(framed)
                self._records += len(batch)
                yield framed

    def _pieces(self) -> Iterator[Piece]:
        """Pieces of the shard's partitions, in order."""
        for arrays in mail.all_arrays(self._inbox.parts(channels.PIECES)):
            yield piece.unpack(arrays, self._job.schema)

    def _count(self, made: Piece, new_ids: np.ndarray) -> None:
        """Adds to the totals of the report."""
        labels = made.labels
        # A conversion counts with its click alone: those of a test that knows them without one are no rate of clicks.
        click, conversion = labels[rows.CLICK], labels[rows.CLICK] & labels[rows.CONVERSION]
        sums = [len(made.sizes), len(click), click.sum(), conversion.sum()]
        self._labels += np.array(sums, np.int64)
        if rows.WEIGHT in labels:
            weight = labels[rows.WEIGHT].astype(np.float64)
            self._weights += [weight.sum(), weight @ click, weight @ conversion]
        if names.KNOWN_SHARE in labels:
            self._open_clicks += int((labels[names.KNOWN_SHARE] < 1).sum())
        is_unknown = new_ids == UNKNOWN
        for index, field in enumerate(self._job.schema.fields):
            column = made.columns[field.name]
            times = made.sizes if field.is_context else np.ones(1, np.int64)
            unknown = np.zeros(len(column.codes), bool) if field.is_dense else is_unknown[column.codes]
            self._totals.rows[index] += ((column.lengths > 0) * times).sum()
            self._totals.values[index] += (column.lengths * times).sum()
            self._totals.longest[index] = max(self._totals.longest[index], column.lengths.max(initial=0))
            if field.is_context:
                self._totals.unknown[index] += unknown @ np.repeat(times, column.lengths)
            else:
                self._totals.unknown[index] += unknown.sum()
