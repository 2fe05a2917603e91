"""Batches, graphs and sessions for the tests of model_fn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from record_examples import Request, example, random_requests, small_schema

from features import names, parse_spec
from features.schema import Schema
from model_fn.hyperparameters import Hyperparameters

SCHEMA = small_schema()
VOCABULARY_SIZE = 200
SMALL = Hyperparameters(
    embedding_size=4,
    embedding_range=0.5,
    deep_layers=(8, 4),
    group_layers="user:6,5;item:7;*:3",
    num_experts=3,
    expert_layers=(5,),
    ple_levels=2,
)


def small(**changes: Any) -> Hyperparameters:
    return dataclasses.replace(SMALL, **changes)


def requests(count: int = 12, seed: int = 0, click_rate: float = 0.4) -> list[Request]:
    return random_requests(SCHEMA, VOCABULARY_SIZE, count, seed, click_rate=click_rate)


def flat(of: list[Request]) -> list[Request]:
    return [one for request in of for one in request.flat()]


def parsed(of: list[Request], schema: Schema = SCHEMA) -> tuple[dict, dict]:
    """Features and labels of a batch, as ops of the current graph."""
    spec = parse_spec.record_spec(schema) | parse_spec.label_spec() | parse_spec.sample_id_spec()
    serialized = [example(schema, request).SerializeToString() for request in of]
    features = tf.io.parse_example(tf.constant(serialized, tf.string), spec)
    return features, {name: features.pop(name) for name in (names.CLICK, names.CONVERSION)}


def input_fn(of: list[Request], batch: int = 6, epochs: int = 1) -> Callable[[], tf.data.Dataset]:
    spec = parse_spec.record_spec(SCHEMA) | parse_spec.label_spec() | parse_spec.sample_id_spec()
    serialized = [example(SCHEMA, request).SerializeToString() for request in of]

    def split(batch_of_records: tf.Tensor) -> tuple[dict, dict]:
        features = tf.io.parse_example(batch_of_records, spec)
        return features, {name: features.pop(name) for name in (names.CLICK, names.CONVERSION)}

    return lambda: tf.data.Dataset.from_tensor_slices(serialized).repeat(epochs).batch(batch).map(split)


def evaluate(make: Callable[[], Any], values: dict[str, np.ndarray] | None = None, seed: int = 5) -> Any:
    """Value of what `make` builds in a graph of its own, its variables initialized or set to `values` by name."""
    with tf.Graph().as_default():
        tf.compat.v1.set_random_seed(seed)
        made = make()
        # A graph that runs once is not worth optimizing: grappler takes longer than the rest of the test.
        config = tf.compat.v1.ConfigProto()
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        with tf.compat.v1.Session(config=config) as session:
            session.run(tf.compat.v1.global_variables_initializer())
            for variable in tf.compat.v1.global_variables() if values else ():
                variable.load(values[variable.op.name], session)
            return session.run(made)
