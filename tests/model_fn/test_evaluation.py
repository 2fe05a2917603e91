"""Every metric of docs/metrics.md, against the impressions themselves."""

import math

import numpy as np
import pytest

from model_fn.evaluation import Evaluation, ctcvr_logits, is_weighted, known, present, weighted


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def log(size=3_000, seed=1, click_rate=0.3, conversion_rate=0.2):
    rng = np.random.default_rng(seed)
    ctr, cvr = (rng.normal(size=size).astype(np.float32) for _ in range(2))
    click = (rng.random(size) < click_rate).astype(np.float32)
    conversion = click * (rng.random(size) < conversion_rate).astype(np.float32)
    return ctr, cvr, click, conversion, rng.integers(0, 60, size)


def evaluated(columns, floor=0.2, parts=5, weights=None):
    evaluation = Evaluation(with_users=True, with_weights=weights is not None)
    for part in np.array_split(np.arange(len(columns[0])), parts):
        ctr, cvr, click, conversion, users = (values[part] for values in columns)
        evaluation.update(ctr, cvr, click, conversion, floor, users, None if weights is None else weights[part])
    return evaluation


def pair_auc(scores, labels):
    above = scores[labels == 1][:, None] - scores[labels == 0][None, :]
    return np.mean((above > 0) + 0.5 * (above == 0))


def bce(p, label):
    return -np.mean(label * np.log(p) + (1 - label) * np.log1p(-p))


def test_each_metric_is_over_its_own_space():
    ctr, cvr, click, conversion, users = log()
    found = evaluated((ctr, cvr, click, conversion, users)).metrics()
    o = click == 1
    p, q = sigmoid(ctr.astype(np.float64)), sigmoid(cvr.astype(np.float64))
    spaces = {"ctr": (p, click), "cvr": (q[o], conversion[o]), "ctcvr": (p * q, conversion)}
    for task, (score, label) in spaces.items():
        rate = label.mean()
        assert found[f"{task}_auc"] == pytest.approx(pair_auc(score, label), abs=5e-4)
        assert found[f"{task}_logloss"] == pytest.approx(bce(score, label), rel=1e-6)
        assert found[f"{task}_normalized_entropy"] == pytest.approx(bce(score, label) / bce(rate, label), rel=1e-6)
        assert found[f"{task}_calibration"] == pytest.approx(score.sum() / label.sum(), rel=1e-6)
    assert found["cvr_auc_all"] == pytest.approx(pair_auc(q, conversion), abs=5e-4)
    assert abs(found["cvr_auc_all"] - found["cvr_auc"]) > 1e-3
    assert found["cvr_mean_all"] == pytest.approx(q.mean())
    assert found["cvr_mean_clicked"] == pytest.approx(q[o].mean())
    assert found["cvr_mean_unclicked"] == pytest.approx(q[~o].mean())
    assert found["conversions_per_click"] == pytest.approx(conversion.sum() / click.sum())


def test_within_users_each_space_has_its_own_mean_and_impressions_of_nobody_known_are_left_out():
    columns = log()
    found = evaluated(columns).metrics()
    known = columns[-1] != 0
    assert found["gauc_user_share"] == 1 and not known.all()
    ctr, cvr, click, conversion, users = (column[known] for column in columns)
    o = click == 1
    product = sigmoid(ctr.astype(np.float64)) * sigmoid(cvr.astype(np.float64))
    spaces = {
        "ctr": (users, ctr, click),
        "cvr": (users[o], cvr[o], conversion[o]),
        "ctcvr": (users, product, conversion),
    }
    for task, (user, score, label) in spaces.items():
        both = [u for u in np.unique(user) if 0 < label[user == u].mean() < 1]
        aucs = [pair_auc(score[user == u], label[user == u]) for u in both]
        weights = [(user == u).sum() for u in both]
        assert found[f"{task}_gauc"] == pytest.approx(np.average(aucs, weights=weights), abs=1e-6)
        assert found[f"{task}_gauc_left_out"] == pytest.approx(1 - len(both) / len(np.unique(user)))


def test_propensity_metrics_are_over_the_clicks():
    columns = log()
    found = evaluated(columns, floor=0.3).metrics()
    p = sigmoid(columns[0][columns[2] == 1].astype(np.float64))
    weights = 1 / np.maximum(p, 0.3)
    assert found["propensity_clipped_share"] == pytest.approx((p < 0.3).mean())
    assert found["propensity_max_weight"] == pytest.approx(weights.max())
    assert found["propensity_ess"] == pytest.approx(weights.sum() ** 2 / (weights**2).sum())


def test_batches_do_not_matter():
    columns = log()
    one, many = evaluated(columns, parts=1), evaluated(columns, parts=37)
    for name, value in one.metrics().items():
        assert many.metrics()[name] == pytest.approx(value, rel=1e-9, nan_ok=True), name
    for task, table in one.calibration_tables().items():
        np.testing.assert_allclose(many.calibration_tables()[task], table, rtol=1e-9)


def test_metrics_without_positives_or_clicks_are_absent_not_half():
    ctr, cvr, click, _, users = log()
    none = np.zeros_like(click)
    no_conversions = present(evaluated((ctr, cvr, click, none, users)).metrics())
    assert not [name for name in no_conversions if name.startswith(("ctcvr_auc", "cvr_auc", "cvr_logloss", "cvr_ece"))]
    assert no_conversions["conversions_per_click"] == 0
    assert "ctr_auc" in no_conversions
    assert "cvr_gauc" not in no_conversions
    no_clicks = present(evaluated((ctr, cvr, none, none, users)).metrics())
    assert set(no_clicks) == {
        "cvr_mean_all",
        "cvr_mean_unclicked",
        "gauc_user_share",
        "ctr_gauc_left_out",
        "ctcvr_gauc_left_out",
    }
    assert present({"a": 1.0, "b": math.nan}) == {"a": 1.0}


def test_names_do_not_depend_on_the_data():
    assert list(Evaluation(with_users=True).metrics()) == list(evaluated(log()).metrics())
    assert not [name for name in Evaluation(with_users=False).metrics() if "gauc" in name]


def test_by_weight_an_impression_is_as_so_many_and_beside_it_stands_the_plain_metric():
    columns = log(800)
    weights = np.random.default_rng(2).integers(0, 4, 800)
    found = evaluated(columns, weights=weights).metrics()
    plain = evaluated(columns).metrics()
    repeated = evaluated([np.repeat(column, weights) for column in columns]).metrics()
    by_weight = {name for name in plain if not name.startswith(("propensity", "gauc"))}
    by_weight -= {name for name in plain if "left_out" in name or "ndcg" in name}
    assert found.keys() == plain.keys() | {weighted(name) for name in by_weight}
    for name, value in plain.items():
        assert found[name] == pytest.approx(value, rel=1e-9, nan_ok=True), name
    for name in by_weight:
        # Deciles are cut between impressions of other places, where an impression is several.
        tolerance = 0.05 if name.endswith("ece") else 1e-9
        assert found[weighted(name)] == pytest.approx(repeated[name], rel=tolerance, nan_ok=True), name
        assert found[weighted(name)] != found[name] or name.endswith("_share"), name


def test_weights_of_nothing_make_metrics_absent():
    columns = log(50)
    found = evaluated(columns, weights=np.zeros(50)).metrics()
    assert not [name for name in present(found) if is_weighted(name)]
    assert present(found).keys() == present(evaluated(columns).metrics()).keys()
    only_clicks = evaluated(columns, weights=np.where(columns[2] > 0, 0.1, 0.0)).metrics()
    assert math.isnan(only_clicks["cvr_mean_unclicked_weighted"])
    assert only_clicks["cvr_mean_all_weighted"] == pytest.approx(found["cvr_mean_clicked"])


def test_users_and_weights_are_given_always_or_never():
    ctr, cvr, click, conversion, users = log(10)
    with pytest.raises(ValueError, match="users"):
        Evaluation(with_users=True).update(ctr, cvr, click, conversion)
    with pytest.raises(ValueError, match="users"):
        Evaluation(with_users=False).update(ctr, cvr, click, conversion, 0.1, users)
    with pytest.raises(ValueError, match="weights"):
        Evaluation(with_users=False).update(ctr, cvr, click, conversion, 0.1, weights=np.ones(10))


def test_the_logit_of_a_product_is_exact_at_both_ends():
    a, b = np.array([-40.0, -40, 40, 0, 40]), np.array([-40.0, 40, 40, 0, -3])
    wanted = [-80, -40, 40 - math.log(2), math.log(0.25 / 0.75), -3]
    np.testing.assert_allclose(ctcvr_logits(a, b), wanted, rtol=1e-6)


def test_where_conversions_are_known_without_a_click_cvr_is_over_all_impressions_too():
    ctr, cvr, click, _, users = log()
    known_ones = (np.random.default_rng(3).random(len(cvr)) < 0.3 * sigmoid(cvr)).astype(np.float32)
    found = evaluated((ctr, cvr, click, known_ones, users)).metrics()
    without = evaluated((ctr, cvr, click, known_ones * click, users)).metrics()
    q = sigmoid(cvr.astype(np.float64))
    assert found[known("cvr_auc")] == pytest.approx(pair_auc(cvr, known_ones), abs=5e-4)
    assert found[known("cvr_logloss")] == pytest.approx(bce(q, known_ones), rel=1e-6)
    assert found[known("cvr_calibration")] == pytest.approx(q.sum() / known_ones.sum(), rel=1e-6)
    within = [
        pair_auc(cvr[users == u], known_ones[users == u]) for u in range(60) if 0 < known_ones[users == u].mean() < 1
    ]
    assert found[known("cvr_gauc")] == pytest.approx(np.mean(within), abs=0.02)
    others = found.keys() - {name for name in found if name.endswith("_known")}
    assert {name: found[name] for name in others} == pytest.approx(
        {name: without[name] for name in others}, nan_ok=True
    )
    assert not [name for name in present(without) if name.endswith("_known")]
