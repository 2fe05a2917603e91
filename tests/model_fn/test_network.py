"""The whole network: layouts that must agree, and which weights each loss moves."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from model_batches import SCHEMA, VOCABULARY_SIZE, evaluate, flat, parsed, requests, small

from features import names
from features.schema import Columns, Field, Schema
from model_fn import backbones, embedding, losses, network, towers
from model_fn import terms as loss_terms
from model_fn.hyperparameters import BACKBONES
from model_fn.layers import Layers
from model_fn.models import MODELS

BATCH = requests(8)
FLOOR = 0.2


def trained(batch, settings, term=None):
    """Scores, loss, and the gradient to every variable by name, the table's as a dense matrix."""

    def make():
        features, labels = parsed(batch)
        net = network.build(features, SCHEMA, VOCABULARY_SIZE, settings, training=True)
        truth = losses.Labels(*(tf.cast(labels[name].values, tf.float32) for name in (names.CLICK, names.CONVERSION)))
        terms = loss_terms.task_losses(loss_terms.Scored(truth, net.logits, FLOOR, settings, net.requests))
        loss = loss_terms.total_loss(terms, settings) if term is None else terms[term]
        loss += losses.l2_penalty(net.looked_up, net.kernels, settings)
        variables = tf.compat.v1.trainable_variables()
        gradients = tf.gradients(loss, variables)
        dense = {
            variable.op.name: tf.convert_to_tensor(gradient)
            for variable, gradient in zip(variables, gradients, strict=True)
            if gradient is not None
        }
        return network.scores(net.logits), loss, dense

    return evaluate(make)


# Terms and backbones do not know of each other: every one of each, not every pair.
@pytest.mark.parametrize(
    ("model", "backbone"),
    [*((model, BACKBONES[0]) for model in MODELS), *(("escm2_dr", backbone) for backbone in BACKBONES[1:])],
)
def test_flat_and_request_layout_are_one_model(model, backbone):
    settings = small(model=model, backbone=backbone, l2_reg=0.01, embedding_l2_reg=0.01)
    check_layouts(settings)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_layouts_agree_under_batch_norm(backbone):
    """A context that stands for n impressions counts n times in the moments, wherever it is computed once."""
    check_layouts(small(backbone=backbone, batch_norm=True), tolerance=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_cvr_tower_that_sees_the_click_logit_is_one_model_in_both_layouts(backbone):
    check_layouts(small(model="escm2_dr", backbone=backbone, cvr_sees_ctr=True))


def check_layouts(settings, tolerance=1e-6):
    scores, loss, gradients = trained(BATCH, settings)
    flat_scores, flat_loss, flat_gradients = trained(flat(BATCH), settings)
    np.testing.assert_allclose(loss, flat_loss, atol=tolerance)
    assert len(scores["pctr"]) == sum(len(request.sample_id) for request in BATCH)
    for name, score in scores.items():
        np.testing.assert_allclose(score, flat_scores[name], atol=tolerance, err_msg=name)
    assert gradients.keys() == flat_gradients.keys()
    for name, gradient in gradients.items():
        assert np.abs(gradient).max() > tolerance or "bias" in name, name
        np.testing.assert_allclose(gradient, flat_gradients[name], atol=tolerance, err_msg=name)


@pytest.mark.parametrize(
    ("backbone", "precision"), [*((backbone, "bfloat16") for backbone in BACKBONES), ("group_towers", "float16")]
)
def test_whatever_stands_together_computes_in_one_type(backbone, precision):
    """Also groups without layers, attention and the click logit, which are of float32."""
    words = {"backbone": backbone, "group_layers": "item:4", "ple_levels": 2}
    settings = small(model="escm2_dr", attention="history:item", cvr_sees_ctr=True, batch_norm=True, **words)
    exact, _, _ = trained(BATCH, settings)
    scores, _, gradients = trained(BATCH, dataclasses.replace(settings, precision=precision))
    np.testing.assert_allclose(scores["pctcvr"], exact["pctcvr"], rtol=0.2)
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())
    assert np.abs(gradients["model/attention_history/kernel"]).max() > 0


def test_a_lower_precision_is_of_training_alone():
    """Or a request's scores would hang on its layout: an export whose signatures differ is refused."""

    def scores(settings, training):
        return evaluate(lambda: network.logits(parsed(BATCH)[0], SCHEMA, VOCABULARY_SIZE, settings, training).cvr)

    low = small(precision="bfloat16", cvr_sees_ctr=True)
    np.testing.assert_array_equal(scores(low, False), scores(small(cvr_sees_ctr=True), False))
    assert np.abs(scores(low, True) - scores(low, False)).max() > 1e-5


# Numbers beside the embeddings, none as wide as they or another.
DENSE = Schema(
    "dense",
    (
        Field("user", "user", "context", "one", "id"),
        Field("profile", "user", "context", "one", "vector", size=3),
        Field("item", "item", "impression", "one", "id"),
        Field("price", "item", "impression", "one", "number", scale="log1p"),
        Field("picture", "picture", "impression", "one", "vector", size=5),
    ),
    Columns("click", "conversion"),
)


def dense_batch(sizes, order):
    """Requests of so many impressions; `order` has the request of each."""
    rng = np.random.default_rng(4)
    users, profiles = rng.integers(10, 90, 3), rng.normal(size=(3, 3)).astype(np.float32)
    profiles[1] = np.nan
    splits = np.cumsum([0, *sizes])
    impressions = {"item": rng.integers(10, 90, 8)}
    impressions |= {
        name: rng.normal(size=(8, width)).astype(np.float32) for name, width in (("price", 1), ("picture", 5))
    }
    impressions["price"][2] = np.nan
    rows = {name: tf.RaggedTensor.from_row_splits(column, splits) for name, column in impressions.items()}
    return {"user": tf.constant(users[order]), "profile": tf.constant(profiles[order]), **rows}


@pytest.mark.parametrize(("backbone", "behind"), [*((name, BACKBONES[0]) for name in BACKBONES), ("dcn", "ple")])
def test_dense_fields_of_any_width_go_through_every_backbone(backbone, behind):
    settings = small(backbone=backbone, behind_crosses=behind, group_layers="user:6;item:4;*:3")
    sizes, order = [3, 1, 4], np.array([0, 1, 2])

    def scores(*layout):
        def make():
            net = network.build(dense_batch(*layout), DENSE, 100, settings, training=True)
            kernels = [k for k in net.kernels if "tower" not in k.op.name or backbone == "shared_embedding"]
            return network.scores(net.logits), tf.gradients(net.logits.ctr, kernels)[0]

        return evaluate(make)

    (whole, gradient), (flat_scores, _) = scores(sizes, order), scores([1] * 8, np.repeat(order, sizes))
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0
    for name, score in whole.items():
        # Not all: a small layer may be dead for two of them.
        assert len(set(score.tolist())) > 5
        np.testing.assert_allclose(score, flat_scores[name], atol=1e-6, err_msg=name)


# docs/models.md: which towers a term moves. All of them move the embedding.
MOVES = {
    ("escm2_dr", "ctr"): {"ctr"},
    ("escm2_ips", "ips"): {"cvr"},
    ("escm2_dr", "dr_error"): {"cvr"},
    ("escm2_dr", "dr_imputation"): {"imputation"},
    ("escm2_dr", "ctcvr"): {"ctr", "cvr"},
    ("naive_cvr", "cvr"): {"cvr"},
    ("dr_v2", "balance"): {"ctr"},
    ("mrdr", "mrdr_imputation"): {"imputation"},
    ("stable_dr", "imputation_balance"): {"ctr"},
    ("dcmt", "agreement"): {"cvr", "counterfactual"},
    ("ddpo", "taught_unclicked"): {"cvr"},
    ("ddpo", "teacher"): {"teacher"},
}


@pytest.mark.parametrize(("model", "term"), MOVES)
@pytest.mark.parametrize("backbone", ["shared_embedding", "ple"])
def test_a_term_moves_its_towers_and_the_shared_layers_only(backbone, model, term):
    _, _, gradients = trained(BATCH, small(model=model, backbone=backbone), term)
    moved = {name for name, gradient in gradients.items() if np.abs(gradient).max() > 0}
    towers = {task for task in MODELS[model].towers if any(f"towers/{task}/" in name for name in moved)}
    assert towers == MOVES[model, term]
    assert "model/embedding_table" in moved
    assert backbone == "shared_embedding" or any("/towers/" not in name and "table" not in name for name in moved)


@pytest.mark.parametrize(("model", "term"), [("escm2_ips", "ips"), ("escm2_dr", "dr_error"), ("naive_cvr", "cvr")])
@pytest.mark.parametrize("backbone", ["shared_embedding", "ple"])
def test_a_cvr_tower_that_sees_the_click_logit_does_not_move_it(backbone, model, term):
    _, _, gradients = trained(BATCH, small(model=model, backbone=backbone, cvr_sees_ctr=True), term)
    moved = {name for name, gradient in gradients.items() if np.abs(gradient).max() > 0}
    assert any("towers/cvr/" in name for name in moved) and not any("towers/ctr/" in name for name in moved)


def test_a_cvr_tower_follows_what_it_sees_of_the_click_logit():
    """Without layers it is linear in the bends: those of a logit between two knots, and those beyond the last one."""

    def make():
        bends = towers._bends(tf.constant([-3.25, -40.0, 40.0, 0.0]))
        return bends, tf.reduce_sum(bends, 1)

    bends, sums = evaluate(make)
    expected = np.zeros((4, 12))
    expected[0, [5, 6]], expected[1, 0], expected[2, 11], expected[3, 9] = (0.5, 1.5), 2.0, 2.0, 2.0
    np.testing.assert_allclose(bends, expected, atol=1e-6)
    np.testing.assert_allclose(sums, 2.0, atol=1e-6)


def test_the_first_layer_of_a_tower_is_moved_by_its_own_term_only():
    """Towers on shared inputs have their first layers side by side in one matrix."""
    settings = small(model="escm2_dr")
    width = settings.deep_layers[0]
    for task, column in (("ctr", 0), ("cvr", 1), ("imputation", 2)):
        term = {"ctr": "ctr", "cvr": "dr_error", "imputation": "dr_imputation"}[task]
        _, _, gradients = trained(BATCH, settings, term)
        for kernel in ("kernel", "context_kernel"):
            moved = np.abs(gradients[f"model/towers/layer_0/{kernel}"]).max(0) > 0
            inside = moved[column * width : (column + 1) * width]
            assert inside.any()
            assert moved.sum() == inside.sum()


def test_scores_multiply():
    logits = network.Logits(tf.constant([-3.0, 2.0, -40.0]), tf.constant([1.0, -1.0, -45.0]), {})
    scores = {name: value.numpy().astype(np.float64) for name, value in network.scores(logits).items()}
    assert list(scores) == list(names.SCORES)
    np.testing.assert_allclose(scores["pctr"], 1 / (1 + np.exp([3.0, -2.0, 40.0])), rtol=1e-6)
    np.testing.assert_allclose(scores["pctcvr"], scores["pctr"] * scores["pcvr"], rtol=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_building_twice_shares_the_variables(backbone):
    settings = small(model="escm2_dr", backbone=backbone)

    def make():
        features, _ = parsed(BATCH)
        first = network.logits(features, SCHEMA, VOCABULARY_SIZE, settings, training=False)
        count = len(tf.compat.v1.global_variables())
        second = network.logits(features, SCHEMA, VOCABULARY_SIZE, settings, training=False)
        assert len(tf.compat.v1.global_variables()) == count
        return first, second

    first, second = evaluate(make)
    np.testing.assert_array_equal(first.cvr, second.cvr)
    np.testing.assert_array_equal(first.more["imputation"], second.more["imputation"])


def test_only_dr_has_an_imputation_tower():
    made = evaluate(lambda: network.logits(parsed(BATCH)[0], SCHEMA, VOCABULARY_SIZE, small(), False)[:2])
    assert len(made) == 2
    with tf.Graph().as_default():
        found = network.logits(parsed(BATCH)[0], SCHEMA, VOCABULARY_SIZE, small(model="escm2_ips"), False)
        assert not found.more
        assert not [v for v in tf.compat.v1.global_variables() if "imputation" in v.name]


def test_a_group_of_context_fields_is_computed_once_a_request():
    with tf.Graph().as_default():
        network.logits(parsed(BATCH)[0], SCHEMA, VOCABULARY_SIZE, small(backbone="group_towers"), True)
        shapes = {v.op.name: v.shape.as_list() for v in tf.compat.v1.global_variables()}
    # user: 3 context fields of width 4; item and place with it reach the towers as impression parts.
    assert shapes["model/group_user/layer_0/context_kernel"] == [12, 6]
    assert "model/group_user/layer_0/kernel" not in shapes
    assert shapes["model/towers/layer_0/context_kernel"] == [5, 16]
    assert shapes["model/towers/layer_0/kernel"] == [7 + 3 + 3, 16]


def test_group_layers_of_a_group_that_is_not_there_are_refused():
    with tf.Graph().as_default(), pytest.raises(ValueError, match="group_layers names shop; the schema has user, item"):
        settings = small(backbone="group_towers", group_layers="shop:3")
        network.logits(parsed(BATCH)[0], SCHEMA, VOCABULARY_SIZE, settings, False)


def test_towers_without_hidden_layers_are_linear():
    for backbone in BACKBONES:
        scores, _, gradients = trained(BATCH, small(backbone=backbone, deep_layers=()))
        assert np.isfinite(scores["pctcvr"]).all()
        assert not [name for name in gradients if "towers" in name and "logit" not in name]


@pytest.mark.parametrize("behind", ["mmoe", "ple"])
def test_experts_behind_crosses_are_one_model_in_both_layouts(behind):
    check_layouts(small(backbone="dcn", behind_crosses=behind, cross_rank=3))


def test_crosses_are_those_of_the_formula():
    """Two crosses in NumPy, from the variables; the context half of the first is a kernel of its own."""
    settings = small(backbone="dcn", cross_layers=2, cross_rank=3, deep_layers=())

    def make():
        embedded = embedding.embed(parsed(BATCH)[0], SCHEMA, VOCABULARY_SIZE, settings, training=False)
        layers = Layers(settings, training=False)
        inputs = backbones.tower_inputs(embedded, SCHEMA, settings, layers, ["ctr"])
        variables = {variable.op.name: variable for variable in tf.compat.v1.trainable_variables()}
        return embedded.everything.to_impressions(), inputs.impression, variables

    start, found, kernels = evaluate(make)
    x = start.astype(np.float64)
    down = np.concatenate([kernels["cross_0/v/context_kernel"], kernels["cross_0/v/kernel"]])
    for number, v in enumerate((down, kernels["cross_1/v/kernel"])):
        x = start * (x @ v @ kernels[f"cross_{number}/u/kernel"]) + x
    assert np.abs(x - start).max() > 1e-3
    np.testing.assert_allclose(found, x, rtol=1e-4, atol=1e-6)


def test_dropout_drops_in_training_only():
    settings = small(dropout=(0.5, 0.5))

    def make(training):
        features, _ = parsed(BATCH)
        return [network.logits(features, SCHEMA, VOCABULARY_SIZE, settings, training).ctr for _ in range(2)]

    first, second = evaluate(lambda: make(True))
    assert np.abs(first - second).max() > 1e-3
    first, second = evaluate(lambda: make(False))
    np.testing.assert_array_equal(first, second)
