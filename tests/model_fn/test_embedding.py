"""Pooled vectors against a loop over the requests."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from model_batches import SCHEMA, VOCABULARY_SIZE, evaluate, parsed, requests, small

from features.schema import Columns, Field, Schema
from model_fn import embedding
from model_fn.embedding import TABLE

ROWS = np.random.default_rng(3).normal(size=(VOCABULARY_SIZE, 4)).astype(np.float32)


def pooled(ids, weights, many, combiner):
    """One bag: sum of weight times row, as the combiner divides it."""
    vector = np.asarray(weights, np.float64) @ ROWS[ids]
    if many and combiner == "mean":
        return vector / np.sum(weights)
    if many and combiner == "sqrtn":
        return vector / np.sqrt(np.sum(np.square(weights)))
    return vector


def wanted_of(batch, field, combiner):
    vectors = []
    for request in batch:
        if field.is_context:
            rows, weights = [request.context[field.name]], [request.context.get(field.weight_key)]
        else:
            rows = request.impressions[field.name]
            weights = request.impressions.get(field.weight_key, [None] * len(rows))
        for ids, given in zip(rows, weights, strict=True):
            vectors.append(pooled(ids, given or [1.0] * len(ids), field.is_many, combiner))
    return np.array(vectors)


def embedded(batch, settings, training=True, schema=SCHEMA):
    def make():
        made = embedding.embed(parsed(batch, schema)[0], schema, VOCABULARY_SIZE, settings, training)
        everything = made.everything
        parts = [part for part in (everything.context, everything.impression) if part is not None]
        return made.fields, parts, everything.to_impressions(), made.looked_up

    return evaluate(make, {TABLE: ROWS})


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("combiner", ["sum", "mean", "sqrtn"])
def test_every_shape_of_field_is_pooled_as_a_loop_pools_it(combiner, training):
    batch = requests()
    fields, parts, everything, _ = embedded(batch, small(combiner=combiner), training)
    assert list(fields) == [field.name for field in SCHEMA.fields]
    for field in SCHEMA.fields:
        np.testing.assert_allclose(fields[field.name], wanted_of(batch, field, combiner), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(parts[0], np.hstack([fields[f.name] for f in SCHEMA.context_fields]))
    np.testing.assert_array_equal(parts[1], np.hstack([fields[f.name] for f in SCHEMA.impression_fields]))
    sizes = [len(request.sample_id) for request in batch]
    np.testing.assert_array_equal(everything, np.hstack([np.repeat(parts[0], sizes, 0), parts[1]]))


def test_training_looks_each_distinct_id_up_once():
    batch = requests()
    used = {
        value
        for request in batch
        for key, values in request.context.items()
        if not key.endswith("/weight")
        for value in values
    } | {
        value
        for request in batch
        for key, rows in request.impressions.items()
        if not key.endswith("/weight")
        for row in rows
        for value in row
    }
    looked_up = embedded(batch, small())[3]
    assert sorted(map(tuple, looked_up)) == sorted(tuple(ROWS[value]) for value in used)


def test_the_gradient_is_sparse_with_each_row_once():
    def make():
        made = embedding.embed(parsed(requests())[0], SCHEMA, VOCABULARY_SIZE, small(), training=True)
        table = tf.compat.v1.trainable_variables()[0]
        gradient = tf.gradients(tf.reduce_sum(made.everything.to_impressions()), table)[0]
        assert isinstance(gradient, tf.IndexedSlices)
        return gradient.indices, gradient.values

    indices, values = evaluate(make)
    assert len(set(indices)) == len(indices) == len(values)


def test_a_batch_of_no_requests_and_requests_of_no_impressions_have_their_place():
    first, second = requests(2)
    empty = dataclasses.replace(
        second, impressions={key: [] for key in second.impressions}, sample_id=[], click=[], conversion=[]
    )
    _, parts, everything, _ = embedded([first, empty, second, empty], small())
    alone = embedded([first, second], small())[2]
    assert len(parts[0]) == 4
    np.testing.assert_allclose(everything, alone, rtol=1e-6)


def test_a_schema_without_context_has_an_impression_part_only():
    schema = Schema("items", (Field("item", "item", "impression", "one", "id"),), Columns("click", "conversion"))
    batch = [dataclasses.replace(request, context={}) for request in requests(3)]
    _, parts, everything, _ = embedded(batch, small(), schema=schema)
    assert len(parts) == 1
    np.testing.assert_allclose(everything, wanted_of(batch, schema.fields[0], "sum"), rtol=1e-6)


@pytest.mark.parametrize(
    ("place", "training", "expected"), [("cpu", True, "CPU"), ("gpu", True, "GPU"), ("cpu", False, "")]
)
def test_training_keeps_table_and_gather_where_it_is_told(place, training, expected):
    with tf.Graph().as_default() as graph:
        embedding.embed(parsed(requests())[0], SCHEMA, VOCABULARY_SIZE, small(embedding_device=place), training)
        (table,) = (op for op in graph.get_operations() if op.type == "VarHandleOp")
        gathers = [op for op in graph.get_operations() if op.type == "ResourceGather"]
    assert gathers
    for op in (table, *gathers):
        assert (tf.DeviceSpec.from_string(op.device).device_type or "") == expected
