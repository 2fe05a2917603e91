"""Attention over histories, against NumPy and between layouts."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from model_batches import SCHEMA, VOCABULARY_SIZE, evaluate, flat, parsed, requests, small

from model_fn import embedding, lookup, network
from model_fn.hyperparameters import Hyperparameters

BATCH = requests(6, seed=3)
SETTINGS = small(attention="history:item,tags:place")


def attended(batch, settings, distinct=True):
    def make():
        found = embedding.embed(parsed(batch)[0], SCHEMA, VOCABULARY_SIZE, settings, training=distinct)
        with tf.compat.v1.variable_scope("", reuse=True):
            table = embedding.embedding_table(VOCABULARY_SIZE, settings)
            kernel = tf.compat.v1.get_variable("attention_history/kernel")
        return found.attended, table, kernel

    return evaluate(make)


@pytest.mark.parametrize("length", [0, 2])
def test_a_vector_is_the_softmax_over_the_history(length):
    settings = dataclasses.replace(SETTINGS, attention_length=length)
    (found, _), table, kernel = attended(BATCH, settings)
    wanted = []
    for request in BATCH:
        ids, weights = request.context["history"], request.context["history/weight"]
        keys, weights = table[ids][: length or None], np.array(weights)[: length or None]
        for item in request.impressions["item"]:
            scores = keys @ (table[item[0]] @ kernel) / 2 + np.log(weights)
            share = np.exp(scores - scores.max())
            wanted.append((share / share.sum()) @ keys)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("length", [0, 2])
@pytest.mark.parametrize("newest", ["first", "last"])
def test_of_an_ordered_history_the_newest_count_and_each_place_has_a_number(newest, length):
    fields = [dataclasses.replace(field, newest=newest * (field.name == "history")) for field in SCHEMA.fields]
    schema = dataclasses.replace(SCHEMA, fields=tuple(fields))
    settings = dataclasses.replace(SETTINGS, attention_length=length)
    numbers = np.linspace(1.0, -2.0, length or 100).astype(np.float32)

    def embed():
        return embedding.embed(parsed(BATCH)[0], schema, VOCABULARY_SIZE, settings, training=True).attended

    def make():
        with tf.compat.v1.variable_scope("model", reuse=tf.compat.v1.AUTO_REUSE):
            embed()
            bias = tf.compat.v1.get_variable("attention_history/place_bias")
            with tf.control_dependencies([bias.assign(numbers)]):
                return embed(), embedding.embedding_table(VOCABULARY_SIZE, settings)

    (found, _), table = evaluate(make)
    wanted = []
    for request in BATCH:
        step = 1 if newest == "first" else -1
        ids = request.context["history"][::step][: length or None]
        weights = np.array(request.context["history/weight"])[::step][: length or None]
        for item in request.impressions["item"]:
            scores = table[ids] @ table[item[0]] / 2 + np.log(weights) + numbers[: len(ids)]
            share = np.exp(scores - scores.max())
            wanted.append((share / share.sum()) @ table[ids])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("backbone", ["shared_embedding", "group_towers"])
def test_request_and_flat_layout_agree_in_scores_and_gradients(backbone):
    settings = dataclasses.replace(SETTINGS, backbone=backbone)

    def run(batch):
        def make():
            net = network.build(parsed(batch)[0], SCHEMA, VOCABULARY_SIZE, settings, training=True)
            names = [variable.op.name for variable in tf.compat.v1.trainable_variables()]
            slopes = tf.gradients(tf.reduce_mean(net.logits.cvr), tf.compat.v1.trainable_variables())
            kept = {
                name: tf.convert_to_tensor(slope)
                for name, slope in zip(names, slopes, strict=True)
                if slope is not None
            }
            return net.logits.cvr, kept

        return evaluate(make)

    (scores, slopes), (flat_scores, flat_slopes) = run(BATCH), run(flat(BATCH))
    np.testing.assert_allclose(scores, flat_scores, atol=1e-6)
    assert np.abs(slopes["model/attention_history/kernel"]).max() > 0
    for name, slope in slopes.items():
        np.testing.assert_allclose(slope, flat_slopes[name], atol=1e-5, err_msg=name)


def test_the_lookup_of_training_and_that_of_serving_give_the_same():
    ours, _, _ = attended(BATCH, SETTINGS, distinct=True)
    theirs, _, _ = attended(BATCH, SETTINGS, distinct=False)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)

    def prepared():
        features = lookup.in_place_of_fields(parsed(BATCH)[0], SCHEMA, SETTINGS.combiner)
        return embedding.embed(features, SCHEMA, VOCABULARY_SIZE, SETTINGS, training=True).attended

    for one, other in zip(ours, evaluate(prepared), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(
    ("attention", "message"),
    [
        ("item:item", "'item' is no context field of kind many; there are history, tags"),
        ("history:user", "'user' is no field of an impression; there are intents, item"),
    ],
)
def test_fields_that_cannot_be_used_are_named(attention, message):
    with tf.Graph().as_default(), pytest.raises(ValueError, match=message):
        network.logits(parsed(BATCH)[0], SCHEMA, VOCABULARY_SIZE, small(attention=attention), False)


@pytest.mark.parametrize("attention", ["history", "history:", ":item", "history:item,history:place"])
def test_settings_that_cannot_be_read_are_refused(attention):
    with pytest.raises(ValueError, match="each history is written once"):
        Hyperparameters(attention=attention)
