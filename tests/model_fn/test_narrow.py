"""Fields narrower than the table, against NumPy; and names of fields and groups that TensorFlow would not take."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from model_batches import SCHEMA, VOCABULARY_SIZE, evaluate, parsed, requests, small

from model_fn import embedding, narrow, network, scopes

BATCH = requests(6, seed=3)
SETTINGS = small(attention="history:item")


def schema_of(changes):
    """The small schema with attributes of fields changed: {field: {attribute: value}}."""
    fields = [dataclasses.replace(field, **changes.get(field.name, {})) for field in SCHEMA.fields]
    return dataclasses.replace(SCHEMA, fields=tuple(fields))


ITEMS = {"vocabulary": "item", "embedding_size": 2}
NARROW = schema_of({"place": {"embedding_size": 1}, "item": ITEMS, "history": ITEMS})


def embedded():
    """What the narrow fields give, the table, its gradient, and the matrices."""
    found = embedding.embed(parsed(BATCH)[0], NARROW, VOCABULARY_SIZE, SETTINGS, training=True)
    with tf.compat.v1.variable_scope("", reuse=True):
        table = embedding.embedding_table(VOCABULARY_SIZE, SETTINGS)
        names = [f"widening_{name}/kernel" for name in ("item", "place")] + ["attention_history/kernel"]
        kernels = [tf.compat.v1.get_variable(name) for name in names]
    own = (found.everything.context, found.everything.impression)
    whole = tf.add_n([tf.reduce_sum(part**2) for part in (*own, *found.attended) if part is not None])
    (slope,) = tf.gradients(whole, [table])
    return found.fields, found.everything.impression, found.attended, table, tf.convert_to_tensor(slope), kernels


def test_the_first_numbers_of_a_row_count_and_a_matrix_brings_them_to_the_common_width():
    fields, impression, (attended,), table, slope, (items, places, query) = evaluate(embedded)
    shown = [item[0] for request in BATCH for item in request.impressions["item"]]
    placed = [place[0] for request in BATCH for place in request.impressions["place"]]
    np.testing.assert_allclose(fields["item"], table[shown][:, :2] @ items, atol=1e-6)
    np.testing.assert_allclose(fields["place"], table[placed][:, :1] @ places, atol=1e-6)
    wide = [field.name for field in NARROW.fields if not field.is_context]
    width = SETTINGS.embedding_size
    for number, name in enumerate(wide):
        columns = impression[:, number * width : (number + 1) * width]
        np.testing.assert_array_equal(columns, fields[name], err_msg=name)

    wanted = []
    for request in BATCH:
        keys = table[request.context["history"]][:, :2] @ items
        for item in request.impressions["item"]:
            scores = keys @ (table[item[0]][:2] @ items @ query) / 2 + np.log(request.context["history/weight"])
            share = np.exp(scores - scores.max())
            wanted.append((share / share.sum()) @ keys)
    np.testing.assert_allclose(attended, wanted, rtol=1e-4, atol=1e-6)

    # Rows that other fields use as well have a gradient in all their numbers.
    others = {i for r in BATCH for name in ("user", "tags") for i in r.context[name]}
    others |= {i for r in BATCH for name in ("intents", "match", "matches") for row in r.impressions[name] for i in row}
    alone = sorted(set(shown) - others)
    assert alone
    assert not slope[alone][:, 2:].any()
    assert slope[alone][:, :2].all()


@pytest.mark.parametrize("backbone", ["shared_embedding", "group_towers", "mmoe", "ple", "dcn"])
def test_every_backbone_takes_them_and_the_size_of_all_changes_nothing(backbone):
    settings = small(backbone=backbone)
    whole = schema_of({field.name: {"embedding_size": settings.embedding_size} for field in SCHEMA.fields})

    def scores(schema):
        return evaluate(lambda: network.logits(parsed(BATCH)[0], schema, VOCABULARY_SIZE, settings, False).cvr)

    np.testing.assert_allclose(scores(whole), scores(SCHEMA), atol=1e-6)
    assert np.abs(scores(NARROW) - scores(SCHEMA)).max() > 1e-3


def test_a_size_beyond_the_table_names_both():
    schema = schema_of({"place": {"embedding_size": 5}})
    message = "field place: embedding_size is 5 in the schema and --embedding_size, the width of the table, 4; give"
    with tf.Graph().as_default(), pytest.raises(ValueError, match=message):
        network.logits(parsed(BATCH)[0], schema, VOCABULARY_SIZE, small(), False)


def test_any_word_names_a_field_or_group():
    words = ["item", "商品", "商店", "a b", "a;b", "", "ü/ö", "-x"]
    found = [scopes.scope("group", word) for word in words]
    assert found[0] == "group_item", "names of checkpoints stay"
    assert len(set(found)) == len(words)
    changes = {name: {"group": word} for name, word in zip(SCHEMA.by_name, words, strict=True) if word}
    odd = schema_of(changes | {"place": {"group": words[-1], "embedding_size": 2, "vocabulary": "場所 1"}})
    odd = dataclasses.replace(
        odd, fields=tuple(dataclasses.replace(f, name=f"名 {f.name}") for f in odd.fields), columns=odd.columns
    )
    settings = small(backbone="group_towers", group_layers="*:3", attention="名 history:名 item")
    renamed = [
        dataclasses.replace(
            request,
            context={f"名 {key}": value for key, value in request.context.items()},
            impressions={f"名 {key}": value for key, value in request.impressions.items()},
        )
        for request in BATCH
    ]
    scores = evaluate(lambda: network.logits(parsed(renamed, odd)[0], odd, VOCABULARY_SIZE, settings, False).cvr)
    assert np.isfinite(scores).all()


def test_a_width_of_its_own_is_taken_as_it_is():
    field = SCHEMA.by_name["item"]
    with tf.Graph().as_default():
        rows = tf.zeros([3, 4])
        assert narrow.widened(rows, field, small()) is rows
