"""Losses against NumPy in float64, on rows small enough to work by hand."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from model_fn import losses, models, terms
from model_fn.hyperparameters import Hyperparameters
from model_fn.representation import requests_of_splits

# Six impressions: three clicks, one of them with a conversion; logits on both sides of 0.
CLICK = np.array([1, 1, 1, 0, 0, 0], np.float64)
CONVERSION = np.array([1, 0, 0, 0, 0, 0], np.float64)
CTR = np.array([-2.0, 0.5, -4.0, -1.0, 3.0, -0.3])
CVR = np.array([0.7, -1.5, 2.0, -0.2, 1.0, -3.0])
THIRD = np.array([-0.4, 0.3, -2.0, 1.2, 0.1, -0.6])
FLOOR = 0.1


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def bce(label, p):
    return -(label * np.log(p) + (1 - label) * np.log1p(-p))


def labels(click=CLICK, conversion=CONVERSION):
    return losses.Labels(tf.constant(click, tf.float32), tf.constant(conversion, tf.float32))


def reference(model, normalize="none", rows=slice(None)):
    """Every term of a model's loss, written as in docs/models.md."""
    o, r, a, b, g = CLICK[rows], CONVERSION[rows], CTR[rows], CVR[rows], sigmoid(THIRD[rows])
    p, q = sigmoid(a), sigmoid(b)
    size = len(o)
    weights = o / np.maximum(p, FLOOR)
    others = (1 - o) / np.maximum(1 - p, FLOOR)
    divisor = weights.sum() if normalize == "self" else size
    error, imputed = bce(r, q), bce(g, q)
    floored = np.maximum(p, FLOOR)
    variances = o * (1 - floored) / floored**2

    def over(total, count):
        return total.sum() / count if count else 0.0

    every = {
        "ctr": bce(o, p).sum() / size,
        "ctcvr": bce(o * r, p * q).sum() / size,
        "cvr": over(o * error, o.sum()),
        "ips": over(weights * error, divisor),
        "dr_error": imputed.sum() / size + over(weights * (error - imputed), divisor),
        "stable_error": imputed.sum() / size + over(weights * (error - imputed), weights.sum()),
        "dr_imputation": over(weights * (error - imputed) ** 2, divisor),
        "mrdr_imputation": over(variances * (error - imputed) ** 2, variances.sum() if normalize == "self" else size),
        "balance": ((weights - others) * q).mean() ** 2,
        "imputation_balance": ((weights - others) * (imputed - imputed.mean())).mean() ** 2,
        "counterfactual": (others * bce(1 - r, g)).mean(),
        "agreement": 1e-3 * np.abs(1 - q - g).mean(),
        "teacher": (o * bce(r, g)).mean(),
        "taught_clicked": over(weights * bce(np.minimum(1, r + g), q), weights.sum()),
        "taught_unclicked": over(others * bce(g, q), others.sum()),
    }
    return {name: every[name] for name in ("ctr", *TERMS_OF[model])}


def scored(rows=slice(None), third=None, floor=FLOOR, logits=None, label=None, **settings):
    """A batch of these rows, whatever the model's third tower is called."""
    made = Hyperparameters(**settings)
    a, b, g = logits if logits is not None else (tf.constant(x[rows], tf.float32) for x in (CTR, CVR, THIRD))
    more = {name: g for name in models.MODELS[made.model].more_towers}
    truth = label or labels(CLICK[rows], CONVERSION[rows])
    size = int(a.shape[0])
    requests = requests_of_splits(tf.constant([0, size // 2, size], tf.int64))
    return terms.Scored(truth, losses.Logits(a, b, more), floor, made, requests)


def terms_of(model, normalize="none", rows=slice(None)):
    found = terms.task_losses(scored(rows, model=model, propensity_normalize=normalize))
    return {name: term.numpy() for name, term in found.items()}


# The terms of each model beside L_CTR, written out: a row of the table that loses one fails here.
TERMS_OF = {
    "esmm": ("ctcvr",),
    "naive_cvr": ("cvr",),
    "escm2_ips": ("ctcvr", "ips"),
    "escm2_dr": ("ctcvr", "dr_error", "dr_imputation"),
    "ips_v2": ("ctcvr", "ips", "balance"),
    "dr_v2": ("ctcvr", "dr_error", "dr_imputation", "balance"),
    "mrdr": ("ctcvr", "dr_error", "mrdr_imputation"),
    "stable_dr": ("ctcvr", "stable_error", "dr_imputation", "imputation_balance"),
    "dcmt": ("ctcvr", "ips", "counterfactual", "agreement"),
    "ddpo": ("ctcvr", "teacher", "taught_clicked", "taught_unclicked"),
}


def test_the_models_are_those_of_the_table():
    assert TERMS_OF.keys() == models.MODELS.keys()


@pytest.mark.parametrize("normalize", ["none", "self"])
@pytest.mark.parametrize("model", TERMS_OF)
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


@pytest.mark.parametrize("normalize", ["none", "self"])
@pytest.mark.parametrize("model", TERMS_OF)
def test_an_impression_of_weight_n_is_as_n_of_them(model, normalize):
    weights = np.array([2, 0, 1, 3, 1, 2])
    rows = np.repeat(np.arange(6), weights)
    many = terms_of(model, normalize, rows)
    for factor in (1.0, 0.25):
        weight = tf.constant(weights * factor, tf.float32)
        weighed = scored(model=model, propensity_normalize=normalize, label=labels()._replace(weight=weight))
        for name, term in terms.task_losses(weighed).items():
            np.testing.assert_allclose(term.numpy(), many[name], rtol=2e-6, err_msg=name)


def expected_gradients(model, normalize):
    """Of the whole loss by the logits of all towers, [3, 6], over all that three clicks can show: a function.

    It takes the chance of each click to show a conversion, and the share of its conversions that is known.
    """
    settings = {"model": model, "propensity_normalize": normalize, "in_request_wgt": 0.5, "balance_wgt": 0.1}
    fixed = [tf.constant(x, tf.float32) for x in (CTR, CVR, THIRD)]

    @tf.function
    def gradients(conversion, known_share):
        logits = [tf.identity(one) for one in fixed]
        label = losses.Labels(tf.constant(CLICK, tf.float32), conversion, known_share=known_share)
        batch = scored(logits=logits, label=label.expected(logits[1]), **settings)
        loss = terms.total_loss(terms.task_losses(batch), batch.settings)
        return tf.stack(tf.gradients(loss, logits, unconnected_gradients=tf.UnconnectedGradients.ZERO))

    def expected(chance, known_share):
        found = 0
        for shown in itertools.product((0.0, 1.0), repeat=3):
            probability = np.prod([p if one else 1 - p for one, p in zip(shown, chance, strict=True)])
            shares = np.append(known_share, [1.0, 1.0, 1.0])
            made = gradients(*(tf.constant(x, tf.float32) for x in ([*shown, 0, 0, 0], shares)))
            found += probability * made.numpy()
        return found

    return expected


@pytest.mark.parametrize(
    ("model", "normalize"), [*((model, "none") for model in TERMS_OF), ("escm2_ips", "self"), ("mrdr", "self")]
)
def test_open_clicks_teach_on_average_what_all_conversions_would(model, normalize):
    p, share, everything = sigmoid(CVR[:3]), np.array([0.3, 1.0, 0.001]), np.ones(3)
    expected = expected_gradients(model, normalize)
    full = expected(p, everything)
    np.testing.assert_allclose(expected(p * share, share), full, rtol=1e-4, atol=2e-6)
    as_they_are = expected(p * share, everything)
    assert np.abs(as_they_are - full).max() > 1e-2


def test_open_clicks_are_bounded_and_closed_ones_as_they_are():
    cvr = tf.constant([80.0, -80.0, 0.0, 80.0, 0.0, 0.0])
    share = tf.constant([0.0, 0.0, 0.0, 1.0, 1.0, 0.5])
    click, conversion = [1, 1, 1, 1, 1, 0], [0, 0, 1, 0, 0, 0]
    found = labels(click, conversion)._replace(known_share=share).expected(cvr)
    np.testing.assert_allclose(found.conversion, [1, 0, 1, 0, 0, 0], atol=1e-30)
    without = labels()
    assert without.expected(cvr) is without


def test_where_nothing_weighs_anything_the_loss_is_zero():
    nothing = labels()._replace(weight=tf.zeros(6))
    for model in TERMS_OF:
        for name, term in terms.task_losses(scored(model=model, label=nothing)).items():
            assert term.numpy() == 0, name


def test_naive_cvr_is_a_mean_over_clicks():
    whole, first, second = (terms_of("naive_cvr", rows=rows)["cvr"] for rows in ([0, 1, 3], [0, 3], [1]))
    np.testing.assert_allclose(whole, (first + second) / 2, rtol=2e-6)


@pytest.mark.parametrize("normalize", ["none", "self"])
@pytest.mark.parametrize("model", TERMS_OF)
def test_without_clicks_the_loss_is_finite(model, normalize):
    found = terms_of(model, normalize, rows=slice(3, 6))
    assert all(np.isfinite(value) for value in found.values())
    for name in found.keys() & {"cvr", "ips", "dr_imputation", "mrdr_imputation", "teacher", "taught_clicked"}:
        assert found[name] == 0


TOTALS = {
    "esmm": lambda t: 0.3 * t["ctr"] + 0.7 * t["ctcvr"],
    "naive_cvr": lambda t: 0.3 * t["ctr"] + 0.7 * t["cvr"],
    "escm2_ips": lambda t: 0.3 * t["ctr"] + 0.7 * (0.2 * t["ips"] + 0.9 * t["ctcvr"]),
    "escm2_dr": lambda t: 0.3 * t["ctr"] + 0.7 * (0.2 * (t["dr_error"] + t["dr_imputation"]) + 0.9 * t["ctcvr"]),
    "ips_v2": lambda t: 0.3 * t["ctr"] + 0.7 * (0.2 * t["ips"] + 0.4 * t["balance"] + 0.9 * t["ctcvr"]),
    "dr_v2": lambda t: (
        0.3 * t["ctr"] + 0.7 * (0.2 * (t["dr_error"] + t["dr_imputation"]) + 0.4 * t["balance"] + 0.9 * t["ctcvr"])
    ),
    "mrdr": lambda t: 0.3 * t["ctr"] + 0.7 * (0.2 * (t["dr_error"] + t["mrdr_imputation"]) + 0.9 * t["ctcvr"]),
    "stable_dr": lambda t: (
        0.3 * t["ctr"]
        + 0.7 * (0.2 * (t["stable_error"] + t["dr_imputation"]) + 0.4 * t["imputation_balance"] + 0.9 * t["ctcvr"])
    ),
    "dcmt": lambda t: (
        0.3 * t["ctr"] + 0.7 * (0.2 * (t["ips"] + t["counterfactual"] + t["agreement"]) + 0.9 * t["ctcvr"])
    ),
    "ddpo": lambda t: (
        0.3 * t["ctr"] + 0.7 * (0.2 * (t["teacher"] + t["taught_clicked"] + t["taught_unclicked"]) + 0.9 * t["ctcvr"])
    ),
}


@pytest.mark.parametrize("model", TERMS_OF)
def test_the_total_weighs_the_terms(model):
    settings = Hyperparameters(model=model, ctr_task_wgt=0.3, counterfactual_wgt=0.2, global_wgt=0.9, balance_wgt=0.4)
    parts = reference(model)
    total = terms.total_loss({name: tf.constant(value, tf.float32) for name, value in parts.items()}, settings)
    np.testing.assert_allclose(total.numpy(), TOTALS[model](parts), rtol=2e-6)


def test_tower_weights_scale_the_two_sides():
    parts = {"ctr": tf.constant(2.0), "ctcvr": tf.constant(5.0)}
    settings = Hyperparameters(ctr_tower_wgt=3.0, cvr_tower_wgt=4.0)
    np.testing.assert_allclose(terms.total_loss(parts, settings).numpy(), 0.5 * 3 * 2 + 0.5 * 4 * 5)


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


@pytest.mark.parametrize("model", TERMS_OF)
def test_all_losses_and_gradients_are_finite_beyond_any_logit(model):
    grid = np.array(np.meshgrid([-120, -40, 0, 40, 120], [-120, -40, 0, 40, 120], [-120, 40]), np.float32)
    a, b, g = (tf.constant(part.ravel()) for part in grid)
    click = tf.constant(np.arange(a.shape[0]) % 2, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch([a, b, g])
        batch = scored(logits=(a, b, g), label=losses.Labels(click, click), floor=0.01, model=model, in_request_wgt=0.5)
        loss = terms.total_loss(terms.task_losses(batch), batch.settings)
    assert np.isfinite(loss.numpy())
    for slope in tape.gradient(loss, [a, b, g], unconnected_gradients="zero"):
        assert np.isfinite(slope.numpy()).all()


@pytest.mark.parametrize("p", [1e-30, 1e-12, 2e-4, 0.3, 0.5, 0.9, 1 - 1e-6])
def test_log_complement_keeps_all_digits(p):
    log_p = tf.constant(np.log(p), tf.float32)
    rounded = np.float64(log_p.numpy())
    exact = np.log(-np.expm1(rounded)) if p > 0.5 else np.log1p(-np.exp(rounded))
    np.testing.assert_allclose(losses.log_complement(log_p).numpy(), exact, rtol=1e-6)


# Who gets which gradient: towers of CTR, CVR and the third (docs/models.md).
GRADIENTS = {
    "ctr": (True, False, False),
    "ctcvr": (True, True, False),
    "cvr": (False, True, False),
    "ips": (False, True, False),
    "dr_error": (False, True, False),
    "stable_error": (False, True, False),
    "dr_imputation": (False, False, True),
    "mrdr_imputation": (False, False, True),
    "balance": (True, False, False),
    "imputation_balance": (True, False, False),
    "counterfactual": (False, False, True),
    "agreement": (False, True, True),
    "teacher": (False, False, True),
    "taught_clicked": (False, True, False),
    "taught_unclicked": (False, True, False),
    "in_request_ctr": (True, False, False),
    "in_request_ctcvr": (False, True, False),
}


def gradients_of(term, model, floor=FLOOR, logits=None, label=None):
    """Gradient of a term to the logits of the three towers: [n] each, 0 where there is none."""
    logits = logits or [tf.constant(x, tf.float32) for x in (CTR, CVR, THIRD)]
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = terms.TERMS[term].of(scored(logits=logits, model=model, floor=floor, label=label))
    return [slope.numpy() for slope in tape.gradient(loss, logits, unconnected_gradients="zero")]


def model_with(term):
    return next((name for name, own in TERMS_OF.items() if term in own), "esmm")


def test_every_term_has_its_row():
    assert GRADIENTS.keys() == terms.TERMS.keys()


@pytest.mark.parametrize("term", GRADIENTS)
def test_gradients_go_where_the_table_says(term):
    slopes = gradients_of(term, model_with(term))
    least = 1e-5 if term == "agreement" else 1e-4
    assert tuple(bool(np.abs(slope).max() > least) for slope in slopes) == GRADIENTS[term]
    for slope, trained in zip(slopes, GRADIENTS[term], strict=True):
        assert trained or not slope.any()


# Terms whose gradient at saturated logits has a closed form: [n] slopes to the trained logits.
SATURATED = {
    "ips": lambda o, r, a, b, g: [None, o / np.maximum(sigmoid(a), FLOOR) * (sigmoid(b) - r), None],
    "taught_unclicked": lambda o, r, a, b, g: [
        None,
        (1 - o) / np.maximum(sigmoid(-a), FLOOR) * (sigmoid(b) - sigmoid(g)),
        None,
    ],
    "teacher": lambda o, r, a, b, g: [None, None, o * (sigmoid(g) - r)],
    "counterfactual": lambda o, r, a, b, g: [
        None,
        None,
        (1 - o) / np.maximum(sigmoid(-a), FLOOR) * (sigmoid(g) - (1 - r)),
    ],
    "dr_imputation": lambda o, r, a, b, g: [
        None,
        None,
        # d^ = softplus(b) - g b, d = softplus(b) - r b: 2 w (d^ - d) * -b * g' = 2 w b^2 (g - r) g'.
        2 * o / np.maximum(sigmoid(a), FLOOR) * (sigmoid(g) - r) * b**2 * sigmoid(g) * sigmoid(-g),
    ],
}


@pytest.mark.parametrize("term", SATURATED)
def test_gradients_are_right_at_logits_of_40(term):
    grid = np.array(np.meshgrid([-40.0, 40.0], [-40.0, 40.0], [-40.0, 0.5, 40.0], [0, 1, 2])).reshape(4, -1)
    a, b, g, label = grid
    o, r = (label > 0).astype(float), (label > 1).astype(float)
    found = gradients_of(
        term, model_with(term), logits=[tf.constant(x, tf.float32) for x in (a, b, g)], label=labels(o, r)
    )
    wanted = SATURATED[term](o, r, a, b, g)
    divisor = len(a)
    if term == "taught_unclicked":
        divisor = ((1 - o) / np.maximum(sigmoid(-a), FLOOR)).sum()
    for slope, exact in zip(found, wanted, strict=True):
        np.testing.assert_allclose(slope, 0 if exact is None else exact / divisor, rtol=1e-4, atol=1e-5)


def test_balance_moves_propensities_towards_the_clicks():
    """One group of impressions, all propensities alike: balance is 0 where they are the click rate."""
    click = np.array([1, 0, 0, 0], np.float64)
    rate = np.log(0.25 / 0.75)

    def slope(shift):
        logits = [tf.fill([4], tf.constant(rate + shift, tf.float32)), tf.zeros([4]), tf.zeros([4])]
        return gradients_of("balance", "ips_v2", logits=logits, label=labels(click, click))[0].sum()

    assert slope(0.5) > 0 > slope(-0.5)
    assert slope(0.0) == pytest.approx(0, abs=1e-6)


def test_dr_trains_the_cvr_tower_on_unclicked_impressions():
    unclicked = CLICK == 0
    assert np.abs(gradients_of("dr_error", "escm2_dr")[1][unclicked]).min() > 0
    assert not gradients_of("ips", "escm2_ips")[1][unclicked].any()


def test_known_propensities_take_the_place_of_the_towers():
    known = tf.constant(sigmoid(CTR), tf.float32)
    other = [tf.zeros([6]), *(tf.constant(x, tf.float32) for x in (CVR, THIRD))]
    for model in ("escm2_ips", "ddpo"):
        found = terms.task_losses(scored(logits=other, model=model)._replace(known_propensity=known))
        wanted = reference(model)
        for name in wanted.keys() - {"ctr", "ctcvr"}:
            np.testing.assert_allclose(found[name].numpy(), wanted[name], rtol=2e-6, err_msg=name)


def test_in_request_loss_is_a_softmax_within_each_request():
    score, label = np.array([1.0, -2.0, 0.5, 40.0, -40.0]), np.array([1, 0, 1, 1, 0], np.float64)
    requests = requests_of_splits(tf.constant([0, 3, 5], tf.int64))
    found = losses.in_request_loss(tf.constant(label, tf.float32), tf.constant(score, tf.float32), requests)
    first = np.log(np.exp(score[:3]).sum())
    np.testing.assert_allclose(found.numpy(), ((first - 1.0) + (first - 0.5) + 0.0) / 5, rtol=1e-6)


def test_in_request_losses_take_their_side_of_the_total():
    settings = Hyperparameters(ctr_task_wgt=0.3, in_request_wgt=0.5)
    assert terms.factors(settings) == pytest.approx(
        {"ctr": 0.3, "ctcvr": 0.7, "in_request_ctr": 0.15, "in_request_ctcvr": 0.35}
    )


def test_a_power_takes_the_place_of_the_floor():
    weights = losses.propensity_weights(labels(), tf.sigmoid(tf.constant(CTR, tf.float32)), 1e-6, power=0.5).numpy()
    np.testing.assert_allclose(weights, CLICK / np.sqrt(np.log2(1 + sigmoid(CTR))), rtol=1e-5)


def test_weights_stop_at_the_floor():
    weights = losses.propensity_weights(labels(), tf.sigmoid(tf.constant(CTR, tf.float32)), FLOOR).numpy()
    np.testing.assert_allclose(weights, CLICK / np.maximum(sigmoid(CTR), FLOOR), rtol=1e-6)
    assert weights.max() == pytest.approx(1 / FLOOR)


def test_l2_acts_on_rows_and_kernels_by_half_their_squares():
    settings = Hyperparameters(l2_reg=0.1, embedding_l2_reg=0.01)
    kernels = [tf.constant([[1.0, 2.0]]), tf.constant([[3.0]])]
    penalty = losses.l2_penalty(tf.constant([[2.0, 1.0], [4.0, 0.0]]), kernels, settings)
    np.testing.assert_allclose(penalty.numpy(), 0.1 * (1 + 4 + 9) / 2 + 0.01 * (4 + 1 + 16) / 2, rtol=1e-6)
    assert losses.l2_penalty(tf.ones([2, 2]), kernels, Hyperparameters()).numpy() == 0
