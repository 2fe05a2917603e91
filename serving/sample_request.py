"""The request that a version is tried with before it goes live, and warmed up with afterwards: nobody's by default.

It travels in the export with the scores that the checkpoint gives it, so any copy of a version can be tried again.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import os
from collections.abc import Sequence

import tensorflow as tf

import storage
from features import names, raw_requests
from features.raw_requests import RawRequest
from features.raw_values import Value
from features.schema import Field, Schema
from serving import saved_model_files
from serving.answers import Scores
from serving.export_options import LOGGED
from storage.contents import taken_apart

# Values of a field and, of a weighted one, their weights.
_Row = tuple[list[Value], list[Value]]

# A value of a context that only one request has may tell whose it is.
_FEWEST_REQUESTS = 2


@dataclasses.dataclass(frozen=True)
class Sample:
    """A request and, for each name of `names.SCORES`, the scores that the checkpoint gives it."""

    request: RawRequest
    scores: Scores


def choose(vocabulary_dir: str, schema: Schema, kind: str) -> RawRequest:
    """A request made of those that the preprocess job saved, or (`LOGGED`) the largest of them.

    Args:
        vocabulary_dir: as the job wrote it.
        schema: of the log.
        kind: one of `export_options.SAMPLE_REQUESTS`.
    """
    found = _saved(vocabulary_dir)
    if not found:
        return without_values(schema)
    if kind == LOGGED:
        return max(found, key=lambda request: len(request.sample_ids))
    return synthetic(found, schema)


def synthetic(requests: Sequence[RawRequest], schema: Schema) -> RawRequest:
    """A request that nobody made: the frequent values of each field over the requests, as many as it has on average.

    Context values that stand in one request alone are left out: a history cannot be told from it, nor a user's id.
    """
    count = max(len(request.sample_ids) for request in requests)
    context: dict[str, list[Value]] = {}
    impressions: dict[str, list[list[Value]]] = {}
    for field in schema.fields:
        rows = [row for request in requests for row in _rows(request, field)]
        (values, weights), *others = _frequent_rows(field, rows, 1 if field.is_context else count)
        columns = {field.name: [values, *(row[0] for row in others)]}
        if field.weighted:
            columns[field.weight_key] = [weights, *(row[1] for row in others)]
        if field.is_context:
            context |= {key: column[0] for key, column in columns.items()}
        else:
            impressions |= columns
    return RawRequest(list(range(count)), context, impressions)


def without_values(schema: Schema) -> RawRequest:
    """One impression that has nothing but missing values."""
    context, impressions = (
        [key for field in fields for key in ([field.name, field.weight_key] if field.weighted else [field.name])]
        for fields in (schema.context_fields, schema.impression_fields)
    )
    return RawRequest([0], {key: [] for key in context}, {key: [[]] for key in impressions})


def write(version_dir: str, sample: Sample) -> None:
    """Writes the sample into a version's folder `assets.extra`."""
    text = json.dumps({"request": vars(sample.request), "scores": sample.scores}, ensure_ascii=False)
    with tf.io.gfile.GFile(saved_model_files.extra_file(version_dir, saved_model_files.SAMPLE_FILE), "w") as file:
        file.write(text + "\n")


def read(version_dir: str) -> Sample:
    """The sample of a version. Raises ValueError for a file that holds none, tf.errors.OpError without one."""
    path = saved_model_files.extra_file(version_dir, saved_model_files.SAMPLE_FILE)
    with tf.io.gfile.GFile(path, "rb") as file:
        text = file.read()
    with taken_apart(path, "export the model again"):
        found = json.loads(text)
        return Sample(
            raw_requests.from_values(found["request"]), {name: found["scores"][name] for name in names.SCORES}
        )


def _saved(vocabulary_dir: str) -> list[RawRequest]:
    path = os.path.join(vocabulary_dir, names.SAMPLE_REQUESTS_FILE)
    return raw_requests.load(path) if storage.exists(path) else []


def _rows(request: RawRequest, field: Field) -> list[_Row]:
    if field.is_context:
        return [(request.context[field.name], request.context.get(field.weight_key, []))]
    values = request.impressions[field.name]
    return list(zip(values, request.impressions.get(field.weight_key, [[]] * len(values)), strict=True))


def _frequent_rows(field: Field, rows: Sequence[_Row], count: int) -> list[_Row]:
    """So many rows of the field's mean length, the frequent values dealt out in turn."""
    counts = collections.Counter(value for values, _ in rows for value in dict.fromkeys(values))
    least = _FEWEST_REQUESTS if field.is_context else 1
    usual = [value for value, times in counts.most_common() if times >= least]
    filled = [len(values) for values, _ in rows if values]
    if not usual or not filled:
        return [([], [])] * count
    length = max(1, round(sum(filled) / len(filled)))
    weights = [weight for _, row in rows for weight in row]
    weight = [round(sum(map(float, weights)) / len(weights), 2)] * length if weights else []
    return [([usual[(row * length + i) % len(usual)] for i in range(length)], list(weight)) for row in range(count)]
