"""A lookup made in the input pipeline is the one that the model would make of the fields."""

import numpy as np
import pytest
import tensorflow as tf
from model_batches import SCHEMA, VOCABULARY_SIZE, evaluate, input_fn, parsed, requests, small

from features import names
from model_fn import embedding, lookup, network
from model_fn.hyperparameters import BACKBONES, COMBINERS


@pytest.mark.parametrize("combiner", COMBINERS)
def test_a_batch_with_its_lookup_has_no_fields_and_embeds_to_the_same(combiner):
    def make(in_input):
        features = parsed(requests())[0]
        if in_input:
            features = lookup.in_place_of_fields(features, SCHEMA, combiner)
            assert {names.SAMPLE_ID} == {key for key in features if not key.startswith("lookup/")}
        made = embedding.embed(features, SCHEMA, VOCABULARY_SIZE, small(combiner=combiner), training=True)
        return made.fields, made.everything.to_impressions(), made.looked_up

    for found, wanted in zip(*(tf.nest.flatten(evaluate(lambda b=b: make(b))) for b in (True, False)), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_dataset_carries_the_lookup_to_every_backbone(backbone):
    batch = requests(6)
    settings = small(backbone=backbone)

    def make(in_input):
        def prepare(features, labels):
            return (lookup.in_place_of_fields(features, SCHEMA, settings.combiner) if in_input else features), labels

        features, _ = tf.compat.v1.data.make_one_shot_iterator(input_fn(batch)().map(prepare)).get_next()
        return network.scores(network.logits(features, SCHEMA, VOCABULARY_SIZE, settings, training=True))

    found, wanted = evaluate(lambda: make(True)), evaluate(lambda: make(False))
    for name, scores in wanted.items():
        np.testing.assert_allclose(found[name], scores, rtol=1e-6)


def test_each_id_has_one_row_and_each_value_one_cell():
    def make():
        found = lookup.make(parsed(requests())[0], SCHEMA, "sum", distinct=True)
        return found.ids, found.cells, found.weights

    ids, cells, weights = evaluate(make)
    assert len(set(ids)) == len(ids) and cells.shape == (len(weights), 2)
    assert set(cells[:, 1]) == set(range(len(ids))) and cells[:, 0].min() == 0
    assert len(weights) > len(ids), "the batch has ids that occur more than once"
