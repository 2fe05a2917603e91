"""Requests made up for tests, written as records by tf.train.Example: independent of the preprocess job's encoder."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import tensorflow as tf

from features import names
from features.schema import Columns, Field, Schema
from features.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class Request:
    """New ids (already remapped) and weights: context one list a field, impressions one list a field and impression."""

    context: dict[str, list]
    impressions: dict[str, list[list]]
    sample_id: list[int]
    click: list[int]
    conversion: list[int]

    def flat(self) -> list[Request]:
        """One request for each impression, the context copied into each."""
        return [
            Request(
                self.context,
                {key: [rows[i]] for key, rows in self.impressions.items()},
                [self.sample_id[i]],
                [self.click[i]],
                [self.conversion[i]],
            )
            for i in range(len(self.sample_id))
        ]


def small_schema() -> Schema:
    """One field of every shape that a record knows, in four groups."""
    return Schema(
        name="small",
        unique_ids=True,
        columns=Columns(request="request", sample_id="sample_id", click="click", conversion="conversion"),
        fields=(
            Field("user", "user", "context", "one", "id"),
            Field("history", "user", "context", "many", "id", weighted=True),
            Field("tags", "user", "context", "many", "id"),
            Field("item", "item", "impression", "one", "id"),
            Field("intents", "item", "impression", "many", "id"),
            Field("match", "combination", "impression", "one", "id", weighted=True),
            Field("matches", "combination", "impression", "many", "id", weighted=True),
            Field("place", "place", "impression", "one", "id"),
        ),
    )


def random_requests(
    schema: Schema, vocabulary_size: int, requests: int, seed: int = 0, most: int = 9, click_rate: float = 0.3
) -> list[Request]:
    """Requests of 1 to `most` impressions; sample ids count up from 0. A field without value has its missing id."""
    rng = np.random.default_rng(seed)
    made = []
    next_id = 0
    for _ in range(requests):
        count = int(rng.integers(1, most + 1))
        context: dict[str, list] = {}
        impressions: dict[str, list[list]] = {}
        for field in schema.fields:
            rows = [_values(rng, schema, field, vocabulary_size) for _ in range(1 if field.is_context else count)]
            weights = [[float(w) for w in rng.uniform(0.5, 2.0, len(row)).astype(np.float32)] for row in rows]
            if field.is_context:
                context[field.name] = rows[0]
                context |= {field.weight_key: weights[0]} if field.weighted else {}
            else:
                impressions[field.name] = rows
                impressions |= {field.weight_key: weights} if field.weighted else {}
        click = (rng.random(count) < click_rate).astype(int)
        conversion = click * (rng.random(count) < 0.4)
        made.append(Request(context, impressions, [*range(next_id, next_id + count)], [*click], [*conversion]))
        next_id += count
    return made


def _values(rng: np.random.Generator, schema: Schema, field: Field, vocabulary_size: int) -> list[int]:
    count = int(rng.integers(0, 6)) if field.is_many else int(rng.random() < 0.9)
    found = rng.integers(schema.reserved_ids, vocabulary_size, count)
    return [int(x) for x in found] or [schema.missing_id(field)]


def example(schema: Schema, request: Request) -> tf.train.Example:
    """The record of a request."""
    features: dict[str, tf.train.Feature] = {
        names.SAMPLE_ID: _ints(request.sample_id),
        names.CLICK: _ints(request.click),
        names.CONVERSION: _ints(request.conversion),
    }
    for field in schema.fields:
        rows = [request.context[field.name]] if field.is_context else request.impressions[field.name]
        features[field.name] = _ints([value for row in rows for value in row])
        if field.is_many and not field.is_context:
            features[field.length_key] = _ints([len(row) for row in rows])
        if field.weighted:
            key = field.weight_key
            weights = [request.context[key]] if field.is_context else request.impressions[key]
            features[key] = tf.train.Feature(float_list=tf.train.FloatList(value=[w for row in weights for w in row]))
    return tf.train.Example(features=tf.train.Features(feature=features))


def _ints(values: list) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value) for value in values]))


def write_records(path: str, schema: Schema, requests: list[Request]) -> None:
    """A TFRecord file of requests, gzipped where the name says so."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    compression = "GZIP" if path.endswith(names.GZIP_SUFFIX) else ""
    with tf.io.TFRecordWriter(path, compression) as writer:
        for request in requests:
            writer.write(example(schema, request).SerializeToString())


def write_data_dir(
    data_dir: str, schema: Schema, vocabulary_size: int = 200, train: int = 60, test: int = 20, seed: int = 0
) -> dict[str, list[Request]]:
    """A folder as the preprocess job leaves it (without the report): vocabulary, two shards of train, one of test."""
    os.makedirs(data_dir, exist_ok=True)
    keys = np.arange(1000, 1000 + vocabulary_size - schema.reserved_ids, dtype=np.int64)
    ids = np.random.default_rng(seed).permutation(len(keys)).astype(np.int32) + schema.reserved_ids
    Vocabulary(schema, keys, ids.astype(np.int32)).save(names.vocabulary_dir(data_dir))
    made = {
        names.TRAIN: random_requests(schema, vocabulary_size, train, seed),
        names.TEST: random_requests(schema, vocabulary_size, test, seed + 1),
    }
    for split, shards in ((names.TRAIN, 2), (names.TEST, 1)):
        for shard in range(shards):
            name = f"part-{shard:05d}-of-{shards:05d}{names.RECORD_SUFFIX}{names.GZIP_SUFFIX}"
            write_records(os.path.join(data_dir, split, name), schema, made[split][shard::shards])
    with open(os.path.join(data_dir, names.SUCCESS_FILE), "w", encoding="utf-8"):
        pass
    return made
