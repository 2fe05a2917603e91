"""Losses against NumPy in float64, on rows small enough to work by hand."""

import numpy as np
import pytest
import tensorflow as tf

from model_fn import losses
from model_fn.hyperparameters import Hyperparameters

# Six impressions: three clicks, one of them with a conversion; logits on both sides of 0.
CLICK = np.array([1, 1, 1, 0, 0, 0], np.float64)
CONVERSION = np.array([1, 0, 0, 0, 0, 0], np.float64)
CTR = np.array([-2.0, 0.5, -4.0, -1.0, 3.0, -0.3])
CVR = np.array([0.7, -1.5, 2.0, -0.2, 1.0, -3.0])
IMPUTATION = np.array([-0.4, 0.3, -2.0, 1.2, 0.1, -0.6])
FLOOR = 0.1


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def bce(label, p):
    return -(label * np.log(p) + (1 - label) * np.log1p(-p))


def labels(click=CLICK, conversion=CONVERSION):
    return losses.Labels(tf.constant(click, tf.float32), tf.constant(conversion, tf.float32))


def reference(model, normalize="none", rows=slice(None)):
    """Every term of a model's loss, written as in docs/models.md."""
    o, r, a, b, g = CLICK[rows], CONVERSION[rows], CTR[rows], CVR[rows], sigmoid(IMPUTATION[rows])
    p, q = sigmoid(a), sigmoid(b)
    size = len(o)
    weights = o / np.maximum(p, FLOOR)
    divisor = weights.sum() if normalize == "self" else size
    error, imputed = bce(r, q), bce(g, q)
    terms = {"ctr": bce(o, p).sum() / size, "ctcvr": bce(o * r, p * q).sum() / size}
    if model == "esmm":
        return terms
    if model == "naive_cvr":
        return {"ctr": terms["ctr"], "cvr": (o * error).sum() / o.sum()}
    if model == "escm2_ips":
        return terms | {"ips": (weights * error).sum() / divisor}
    return terms | {
        "dr_error": imputed.sum() / size + (weights * (error - imputed)).sum() / divisor,
        "dr_imputation": (weights * (error - imputed) ** 2).sum() / divisor,
    }


def terms_of(model, normalize="none", rows=slice(None)):
    settings = Hyperparameters(model=model, propensity_normalize=normalize)
    logits = (tf.constant(x[rows], tf.float32) for x in (CTR, CVR, IMPUTATION))
    found = losses.task_losses(labels(CLICK[rows], CONVERSION[rows]), *logits, FLOOR, settings)
    return {name: term.numpy() for name, term in found.items()}


MODELS = ["esmm", "naive_cvr", "escm2_ips", "escm2_dr"]


@pytest.mark.parametrize("normalize", ["none", "self"])
@pytest.mark.parametrize("model", MODELS)
def test_terms_are_those_of_the_formulas(model, normalize):
    found, wanted = terms_of(model, normalize), reference(model, normalize)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-6, err_msg=name)


@pytest.mark.parametrize("model", ["esmm", "escm2_ips", "escm2_dr"])
def test_two_half_batches_are_the_whole(model):
    whole, first, second = (terms_of(model, rows=rows) for rows in (slice(None), slice(0, 3), slice(3, 6)))
    for name, value in whole.items():
        np.testing.assert_allclose(value, (first[name] + second[name]) / 2, rtol=2e-6, err_msg=name)


def test_naive_cvr_is_a_mean_over_clicks():
    whole, first, second = (terms_of("naive_cvr", rows=rows)["cvr"] for rows in ([0, 1, 3], [0, 3], [1]))
    np.testing.assert_allclose(whole, (first + second) / 2, rtol=2e-6)


@pytest.mark.parametrize("normalize", ["none", "self"])
@pytest.mark.parametrize("model", MODELS)
def test_without_clicks_the_loss_is_finite(model, normalize):
    found = terms_of(model, normalize, rows=slice(3, 6))
    assert all(np.isfinite(value) for value in found.values())
    for name in found.keys() & {"cvr", "ips", "dr_imputation"}:
        assert found[name] == 0


TOTALS = {
    "esmm": lambda t: 0.3 * t["ctr"] + 0.7 * t["ctcvr"],
    "naive_cvr": lambda t: 0.3 * t["ctr"] + 0.7 * t["cvr"],
    "escm2_ips": lambda t: 0.3 * t["ctr"] + 0.7 * (0.2 * t["ips"] + 0.9 * t["ctcvr"]),
    "escm2_dr": lambda t: 0.3 * t["ctr"] + 0.7 * (0.2 * (t["dr_error"] + t["dr_imputation"]) + 0.9 * t["ctcvr"]),
}


@pytest.mark.parametrize("model", MODELS)
def test_the_total_weighs_the_terms(model):
    settings = Hyperparameters(model=model, ctr_task_wgt=0.3, counterfactual_wgt=0.2, global_wgt=0.9)
    terms = reference(model)
    total = losses.total_loss({name: tf.constant(value, tf.float32) for name, value in terms.items()}, settings)
    np.testing.assert_allclose(total.numpy(), TOTALS[model](terms), rtol=2e-6)


def test_tower_weights_scale_the_two_sides():
    terms = {"ctr": tf.constant(2.0), "ctcvr": tf.constant(5.0)}
    settings = Hyperparameters(ctr_tower_wgt=3.0, cvr_tower_wgt=4.0)
    np.testing.assert_allclose(losses.total_loss(terms, settings).numpy(), 0.5 * 3 * 2 + 0.5 * 4 * 5)


EXTREME = [-40.0, -17.0, 0.0, 17.0, 40.0]


@pytest.mark.parametrize("a", EXTREME)
@pytest.mark.parametrize("b", EXTREME)
@pytest.mark.parametrize("converted", [0.0, 1.0])
def test_ctcvr_loss_and_gradient_hold_at_extreme_logits(a, b, converted):
    """Against the closed form in float64: 1 - pq = pq * (e^-a + e^-b + e^-(a+b))."""
    logits = [tf.constant([a]), tf.constant([b])]
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = losses.ctcvr_loss(losses.Labels(tf.constant([1.0]), tf.constant([converted])), *logits)
    slopes = [slope.numpy()[0] for slope in tape.gradient(loss, logits)]
    rest = np.exp(-a) + np.exp(-b) + np.exp(-a - b)
    log_p = -np.log1p(rest)
    odds = 1 / rest
    wanted = -log_p if converted else np.log1p(odds)
    wanted_slopes = [sigmoid(-x) * (-1 if converted else odds) for x in (a, b)]
    np.testing.assert_allclose(loss.numpy(), wanted, rtol=1e-5, atol=1e-30)
    np.testing.assert_allclose(slopes, wanted_slopes, rtol=1e-4, atol=1e-30)


@pytest.mark.parametrize("logit", EXTREME)
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_ctr_loss_and_gradient_hold_at_extreme_logits(logit, label):
    value = tf.constant([logit])
    with tf.GradientTape() as tape:
        tape.watch(value)
        loss = losses.ctr_loss(losses.Labels(tf.constant([label]), tf.constant([0.0])), value)
    np.testing.assert_allclose(loss.numpy(), np.logaddexp(0, -logit if label else logit), rtol=1e-6, atol=1e-30)
    slope = -sigmoid(-logit) if label else sigmoid(logit)
    np.testing.assert_allclose(tape.gradient(loss, value).numpy(), [slope], rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("model", MODELS)
def test_all_losses_and_gradients_are_finite_beyond_any_logit(model):
    grid = np.array(np.meshgrid([-120, -40, 0, 40, 120], [-120, -40, 0, 40, 120], [-120, 40]), np.float32)
    a, b, g = (tf.constant(part.ravel()) for part in grid)
    click = tf.constant(np.arange(a.shape[0]) % 2, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch([a, b, g])
        terms = losses.task_losses(losses.Labels(click, click), a, b, g, 0.01, Hyperparameters(model=model))
        loss = losses.total_loss(terms, Hyperparameters(model=model))
    assert np.isfinite(loss.numpy())
    for slope in tape.gradient(loss, [a, b, g], unconnected_gradients="zero"):
        assert np.isfinite(slope.numpy()).all()


@pytest.mark.parametrize("p", [1e-30, 1e-12, 2e-4, 0.3, 0.5, 0.9, 1 - 1e-6])
def test_log_complement_keeps_all_digits(p):
    log_p = tf.constant(np.log(p), tf.float32)
    rounded = np.float64(log_p.numpy())
    exact = np.log(-np.expm1(rounded)) if p > 0.5 else np.log1p(-np.exp(rounded))
    np.testing.assert_allclose(losses.log_complement(log_p).numpy(), exact, rtol=1e-6)


# Which logits a term has a gradient to (docs/models.md).
TABLE = {
    "ctr": (True, False, False),
    "ips": (False, True, False),
    "dr_error": (False, True, False),
    "dr_imputation": (False, False, True),
    "ctcvr": (True, True, False),
}


@pytest.mark.parametrize("term", TABLE)
def test_gradients_go_where_the_table_says(term):
    settings = Hyperparameters(model="escm2_ips" if term == "ips" else "escm2_dr")
    logits = [tf.constant(x, tf.float32) for x in (CTR, CVR, IMPUTATION)]
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = losses.task_losses(labels(), *logits, FLOOR, settings)[term]
    slopes = tape.gradient(loss, logits, unconnected_gradients="zero")
    assert tuple(bool(np.abs(slope.numpy()).max() > 1e-4) for slope in slopes) == TABLE[term]
    for slope, trained in zip(slopes, TABLE[term], strict=True):
        assert trained or not slope.numpy().any()


def test_dr_trains_the_cvr_tower_on_unclicked_impressions():
    cvr = tf.constant(CVR, tf.float32)
    weights = losses.propensity_weights(labels(), tf.constant(CTR, tf.float32), FLOOR)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(cvr)
        error = losses.dr_error_risk(labels(), cvr, tf.constant(IMPUTATION, tf.float32), weights, "none")
        ips = losses.ips_risk(labels(), cvr, weights, "none")
    unclicked = CLICK == 0
    assert np.abs(tape.gradient(error, cvr).numpy()[unclicked]).min() > 0
    assert not tape.gradient(ips, cvr).numpy()[unclicked].any()


def test_weights_stop_at_the_floor():
    weights = losses.propensity_weights(labels(), tf.constant(CTR, tf.float32), FLOOR).numpy()
    np.testing.assert_allclose(weights, CLICK / np.maximum(sigmoid(CTR), FLOOR), rtol=1e-6)
    assert weights.max() == pytest.approx(1 / FLOOR)


def test_l2_acts_on_rows_and_kernels_by_half_their_squares():
    settings = Hyperparameters(l2_reg=0.1, embedding_l2_reg=0.01)
    kernels = [tf.constant([[1.0, 2.0]]), tf.constant([[3.0]])]
    penalty = losses.l2_penalty(tf.constant([[2.0, 1.0], [4.0, 0.0]]), kernels, settings)
    np.testing.assert_allclose(penalty.numpy(), 0.1 * (1 + 4 + 9) / 2 + 0.01 * (4 + 1 + 16) / 2, rtol=1e-6)
    assert losses.l2_penalty(tf.ones([2, 2]), kernels, Hyperparameters()).numpy() == 0
