"""A few raw requests of the train split, which travel with the vocabulary: exported models are warmed up with them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import storage
from features import names, raw_requests
from features.raw_requests import RawLogError, RawRequest, Values
from features.schema import Field, Schema
from preprocess.columns import ragged, rows
from preprocess.columns.rows import Rows
from preprocess.job import Job
from preprocess.join.joined import Joined

_REQUESTS = 8
_IMPRESSIONS = 64
_PART = "sample_requests.plan"


class SampleCollector:
    """The first requests of the first partition of an Ali-CCP log, whose contexts are elsewhere in the input.

    Args:
        job: the run.
        partition: that is joined.
    """

    def __init__(self, job: Job, partition: int) -> None:
        split = job.options.splits[0]
        self._wanted = not job.repeats_context and partition == job.partitions.ranges[split].start
        self._schema = job.schema
        self._found: list[RawRequest] = []
        self._last_key = b""

    def add(self, joined: Joined) -> None:
        """Takes what is still wanted of the next piece; a request may go on from the piece before."""
        edges = ragged.starts(joined.sizes).tolist()
        for number, (begin, end) in enumerate(itertools.pairwise(edges)):
            key = joined.impressions.request[begin].as_py()
            goes_on = bool(self._found) and key == self._last_key
            if not self._wanted or (len(self._found) == _REQUESTS and not goes_on):
                return
            if not goes_on:
                context = _values(joined.contexts, number, self._schema.context_fields, self._schema)
                keys = [key for field in self._schema.impression_fields for key in _keys(field)]
                self._found.append(RawRequest([], context, {key: [] for key in keys}))
                self._last_key = key
            self._extend(joined.impressions, begin, end)

    def _extend(self, impressions: Rows, begin: int, end: int) -> None:
        request = self._found[-1]
        for row in range(begin, min(end, begin + _IMPRESSIONS - len(request.sample_ids))):
            request.sample_ids.append(int(impressions.columns[rows.SAMPLE_ID][row]))
            values = _values(impressions, row, self._schema.impression_fields, self._schema)
            for key, found in request.impressions.items():
                found.append(values[key])

    def save(self, job: Job) -> None:
        """Keeps the requests for `write`."""
        if self._wanted:
            job.save(_PART, self._found)


def _keys(field: Field) -> list[str]:
    return [field.name, field.weight_key] if field.weighted else [field.name]


def _values(found: Rows, row: int, fields: Sequence[Field], schema: Schema) -> Values:
    begin = int(found.counts[:row].sum())
    features = slice(begin, begin + int(found.counts[row]))
    field_index, key, weight = found.field[features], found.key[features], found.weight[features]
    values: Values = {}
    for field in fields:
        mine = field_index == schema.index[field.name]
        values[field.name] = key[mine].tolist()
        if field.weighted:
            values[field.weight_key] = weight[mine].tolist()
    return values


def write(job: Job) -> None:
    """Writes the sample requests into the run's vocabulary folder; with --vocabulary, that vocabulary's."""
    target = storage.join(job.path(names.VOCABULARY_DIR), names.SAMPLE_REQUESTS_FILE)
    if job.options.vocabulary:
        given = storage.join(job.options.vocabulary, names.SAMPLE_REQUESTS_FILE)
        if storage.exists(given):
            storage.write(target, [storage.read(given)])
        return
    found = _of_table(job) if job.repeats_context else job.load(_PART)
    storage.write(target, [raw_requests.to_json(found).encode()])


def _of_table(job: Job) -> list[RawRequest]:
    """First requests of a CSV or Parquet log."""
    options = job.options
    found = raw_requests.read(
        options.input_dir, names.TRAIN, job.schema, options.input_format, _pass_over, _IMPRESSIONS
    )
    return list(itertools.islice(found, _REQUESTS))


def _pass_over(error: RawLogError) -> None:
    """Broken rows are no samples; the job reports them."""
