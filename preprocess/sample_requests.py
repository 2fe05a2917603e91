"""A few raw requests of the train split, which travel with the vocabulary: exported models are warmed up with them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from features import names, raw_requests
from features.raw_requests import RawLogError, RawRequest, Values
from features.schema import Field
from preprocess import ragged, rows, storage
from preprocess.job import Job
from preprocess.join import Joined
from preprocess.rows import Rows

_REQUESTS = 8
_IMPRESSIONS = 64
_PART = "sample_requests.plan"


def save_joined(job: Job, partition: int, joined: Joined) -> None:
    """Keeps the first requests of the first partition of an Ali-CCP log, whose contexts are elsewhere in the input."""
    split = job.options.splits[0]
    if not job.repeats_context and partition == job.partitions.ranges[split].start:
        count = min(len(joined.sizes), _REQUESTS)
        firsts = ragged.starts(joined.sizes)
        found = [_request(job, joined, int(firsts[i]), int(firsts[i + 1]), i) for i in range(count)]
        job.save(_PART, found)


def _request(job: Job, joined: Joined, begin: int, end: int, number: int) -> RawRequest:
    shown = np.arange(begin, min(end, begin + _IMPRESSIONS))
    impressions = [_values(joined.impressions, row, job.schema.impression_fields, job) for row in shown.tolist()]
    keys = [key for field in job.schema.impression_fields for key in _keys(field)]
    return RawRequest(
        sample_ids=joined.impressions.columns[rows.SAMPLE_ID][shown].tolist(),
        context=_values(joined.contexts, number, job.schema.context_fields, job),
        impressions={key: [values[key] for values in impressions] for key in keys},
    )


def _keys(field: Field) -> list[str]:
    return [field.name, field.weight_key] if field.weighted else [field.name]


def _values(found: Rows, row: int, fields: Sequence[Field], job: Job) -> Values:
    begin = int(found.counts[:row].sum())
    features = slice(begin, begin + int(found.counts[row]))
    field_index, key, weight = found.field[features], found.key[features], found.weight[features]
    values: Values = {}
    for field in fields:
        mine = field_index == job.schema.index[field.name]
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
    """First requests of a CSV or Parquet log; none of a remote one, which `raw_requests` does not read."""
    folder = job.options.input_dir.split(",")[0].strip()
    if not storage.is_local(folder):
        return []
    split = "" if job.files[0].split is None else names.TRAIN
    found = raw_requests.read(folder, split, job.schema, job.options.input_format, _pass_over, _IMPRESSIONS)
    return list(itertools.islice(found, _REQUESTS))


def _pass_over(error: RawLogError) -> None:
    """Broken rows are no samples; the job reports them."""
