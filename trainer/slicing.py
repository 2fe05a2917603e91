"""--slice_by: which fields may be named, and what the slices of an evaluation are called."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import storage
from features import keys, names, raw_requests
from features.schema import ID, NUMBER, Field, Schema
from model_fn import slices
from model_fn.metric_ops import slice_table_name
from trainer.data_dir import DataDir

VALUE = "value"
_COUNTS = (slices.IMPRESSIONS, slices.CLICKS, slices.CONVERSIONS)


def refuse_unknown(fields: Sequence[str], schema: Schema) -> None:
    """Raises ValueError for what is no field of ids with one value."""
    able = [field.name for field in schema.id_fields if not field.is_many]
    if unknown := [name for name in fields if name not in able]:
        raise ValueError(f"--slice_by={','.join(unknown)}: allowed are fields of ids of kind one: {', '.join(able)}")


def describe(result: Mapping[str, Any], data: DataDir) -> dict[str, list[dict[str, Any]]]:
    """The slices of an evaluation by field, for its JSON file: largest first, all others last.

    Args:
        result: what `Estimator.evaluate` gave.
        data: that was evaluated.
    """
    fields = [field for field in data.schema.id_fields if slice_table_name(field.name) in result]
    return {field.name: _slices(np.asarray(result[slice_table_name(field.name)]), field, data) for field in fields}


def _slices(table: np.ndarray, field: Field, data: DataDir) -> list[dict[str, Any]]:
    columns = slices.columns(with_weights=data.schema.columns.weight is not None)
    rows = [dict(zip(columns, row, strict=True)) for row in table.tolist()]
    rows.sort(key=lambda row: (row[slices.ID] == slices.OTHERS, -row[slices.IMPRESSIONS]))
    words = _words([int(row[slices.ID]) for row in rows], field, data)
    return [_described(words[int(row.pop(slices.ID))], row) for row in rows]


def _described(word: str, row: Mapping[str, float]) -> dict[str, Any]:
    """A slice: its value, its counts and the metrics that its impressions determine."""
    metrics = {name: value for name, value in row.items() if name not in _COUNTS and math.isfinite(value)}
    return {VALUE: word, **{name: int(row[name]) for name in _COUNTS}, **metrics}


def _words(ids: Sequence[int], field: Field, data: DataDir) -> dict[int, str]:
    """What the log calls a field's values that have these ids; a word that is not known goes by its id."""
    known = data.vocabulary
    reserved = {known.schema.missing_id(field): "missing", known.schema.oov_id(field): "not in the vocabulary"}
    places = np.flatnonzero(np.isin(known.ids, ids))
    by_id = dict(zip(known.ids[places].tolist(), known.keys[places].tolist(), strict=True))
    texts = {one: f"id {one}" for one in ids} | _texts(by_id, field, data)
    return texts | reserved | {slices.OTHERS: "all others"}


def _texts(by_id: Mapping[int, int], field: Field, data: DataDir) -> dict[int, str]:
    if field.type not in (ID, NUMBER):
        words = _sample_words(field, data)
        made = dict(zip(keys.keys_of_strings(field, words).tolist(), words, strict=True))
        return {one: made[key] for one, key in by_id.items() if key in made}
    of_keys = keys.ids_of_keys(data.schema, field, np.array(list(by_id.values()), np.int64)).tolist()
    values = dict(zip(by_id, of_keys, strict=True))
    if field.type == ID:
        return {one: str(value) for one, value in values.items()}
    return {one: range_text(data.vocabulary.boundaries[field.name], bucket) for one, bucket in values.items()}


def range_text(edges: Sequence[float], bucket: int) -> str:
    """The numbers of a bucket, as `keys.buckets_of_numbers` makes it."""
    low = f"from {edges[bucket - 1]:g}" if bucket else ""
    high = f"below {edges[bucket]:g}" if bucket < len(edges) else ""
    return " ".join(filter(None, (low, high)))


def _sample_words(field: Field, data: DataDir) -> list[str]:
    """Words of a field in the requests that the preprocess job saved: a key is a hash that tells none."""
    path = storage.join(names.vocabulary_dir(data.path), names.SAMPLE_REQUESTS_FILE)
    if not storage.exists(path):
        return []
    found: set[str] = set()
    for request in raw_requests.load(path):
        rows = [request.context[field.name]] if field.is_context else request.impressions[field.name]
        found.update(str(value) for row in rows for value in row)
    return sorted(found)
