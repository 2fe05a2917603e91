import math

import numpy as np
import pytest

from features import names
from simulate.exposure import World
from simulate.interest import Interest
from simulate.options import Options
from simulate.summary import Summary

REQUESTS = 3_000


def observe(**parameters):
    """Truth and report of some requests with short histories."""
    world = World(Options(**{"requests": REQUESTS, "test_requests": 0, "seed": 4, "history_scale": 0.05, **parameters}))
    interest = Interest(world)
    requests = world.draw(names.TRAIN, 0, REQUESTS)
    truth = interest.truth(requests)
    summary = Summary()
    summary.add(REQUESTS, truth)
    return requests, truth, summary.report()


@pytest.fixture(scope="module")
def usual():
    return observe()


def test_rates_are_those_asked_for(usual):
    _, truth, report = usual
    for rate, wanted, count in (
        (report["click_rate"], 0.0389, report["impressions"]),
        (report["conversion_rate"], 0.054, report["clicks"]),
    ):
        assert abs(rate - wanted) < 4 * math.sqrt(wanted * (1 - wanted) / count)
    assert report["mean_p_click"] == pytest.approx(0.0389, rel=1e-4)
    p_click, p_conversion = truth.p_click * 1e-9, truth.p_conversion * 1e-9
    assert (p_click * p_conversion).sum() / p_click.sum() == pytest.approx(0.054, rel=1e-4)


def test_other_rates():
    _, _, report = observe(click_rate=0.2, conversion_rate=0.3, rho=-0.5)
    assert report["click_rate"] == pytest.approx(0.2, rel=0.03)
    assert report["conversion_rate"] == pytest.approx(0.3, rel=0.03)
    assert report["bias_ratio"] < 0.95


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.6, 0.9])
def test_bias_of_clicked_impressions_follows_the_closed_form(rho):
    _, _, report = observe(rho=rho)
    assert report["bias_ratio"] == pytest.approx(math.exp(rho * 0.5 * 0.9), rel=0.10)


def test_clicks_tell_nothing_where_interests_are_apart():
    """In expectation over clicks and conversions, so that no luck of the draw is in it."""
    _, truth, report = observe(rho=0)
    of_clicks = np.average(truth.p_conversion, weights=truth.p_click)
    assert of_clicks / truth.p_conversion.mean() == pytest.approx(1, abs=0.015)
    assert report["bias_ratio"] == pytest.approx(1, abs=0.04)


def test_hidden_cause_makes_bias_without_interest():
    _, _, report = observe(rho=0, gamma=0.5)
    assert report["bias_ratio"] == pytest.approx(math.exp(0.25), rel=0.10)
    assert report["click_rate"] == pytest.approx(0.0389, rel=0.05)


def test_a_hidden_interaction_is_a_bias_that_no_field_shows():
    requests, truth, report = observe(rho=0, click_strength=0, conversion_strength=0, hidden_interaction=0.5)
    assert report["bias_ratio"] == pytest.approx(math.exp(0.25), rel=0.10)
    # All that is left in the rates is the pair: equal pairs, equal rates.
    pair = requests.profile["121"][requests.rows] * 10**6 + requests.items.category
    _, place = np.unique(pair, return_inverse=True)
    for rates in (truth.p_click, truth.p_conversion):
        lowest = np.full(place.max() + 1, np.iinfo(np.int64).max)
        np.minimum.at(lowest, place, rates)
        assert (rates == lowest[place]).all()
    assert len(np.unique(truth.p_click)) > 1000


def test_conversions_are_not_monotone_in_click_interest():
    """Many where clicks are rare, few at the bend, many again above it; clicks show the upper side."""
    _, truth, _ = observe(rho=0, conversion_strength=0, non_monotone=1.3, click_strength=1.5)
    a = np.log(truth.p_click / (1e9 - truth.p_click))
    a = (a - a.mean()) / a.std()
    logit = np.log(truth.p_conversion / (1e9 - truth.p_conversion))
    np.testing.assert_allclose(logit - logit.min(), 1.3 * np.abs(a - 0.5), atol=0.02)


def test_clicks_of_place_alone_make_no_bias():
    requests, truth, report = observe(kappa=1)
    assert report["bias_ratio"] == pytest.approx(1, abs=0.03)
    for place in range(3):
        assert np.ptp(truth.p_click[requests.places == place]) == 0
    means = [truth.p_click[requests.places == place].mean() for place in range(3)]
    assert means[0] < means[1] < means[2]


def test_oracle_aucs_at_the_defaults(usual):
    """In expectation, so that no luck of the draw is in it; and as observed, within what few conversions allow."""
    _, truth, report = usual
    p_click, p_conversion = truth.p_click * 1e-9, truth.p_conversion * 1e-9
    both = p_click * p_conversion
    for name, score, positive, negative, wanted, spread in (
        ("ctr", p_click, p_click, 1 - p_click, 0.637, 0.01),
        ("cvr", p_conversion, both, p_click - both, 0.732, 0.04),
        ("ctcvr", both, both, 1 - both, 0.797, 0.04),
    ):
        expected = _expected_auc(score, positive, negative)
        assert expected == pytest.approx(wanted, abs=0.015), name
        assert report["oracle_auc"][name] == pytest.approx(expected, abs=spread), name


def test_aucs_are_those_of_ranks(usual):
    _, truth, report = usual
    ranks = np.empty(len(truth.click))
    ranks[np.argsort(truth.p_click, kind="stable")] = np.arange(1, len(ranks) + 1)
    positives = truth.click.sum()
    exact = (ranks[truth.click].sum() - positives * (positives + 1) / 2) / positives / (len(ranks) - positives)
    assert report["oracle_auc"]["ctr"] == pytest.approx(exact, abs=2e-5)


def test_outcomes_are_drawn_from_the_truth(usual):
    """Every decile of the true rates has the clicks and conversions that it should."""
    _, truth, _ = usual
    for rate, outcome in ((truth.p_click, truth.click), (truth.p_conversion, truth.conversion_if_clicked)):
        for decile in np.array_split(np.argsort(rate), 10):
            expected = rate[decile].sum() * 1e-9
            assert abs(outcome[decile].sum() - expected) < 4.5 * math.sqrt(expected)


def test_interests_are_standardized(usual):
    """Logits have the asked-for deviations and correlate by rho, but for what keeps rho = 0 free of bias."""
    _, truth, _ = usual
    clicks, conversions = (np.log(p / (1e9 - p)) for p in (truth.p_click, truth.p_conversion))
    assert clicks.std() == pytest.approx(0.5, rel=0.01)
    assert conversions.std() == pytest.approx(0.9, rel=0.06)
    assert np.corrcoef(clicks, conversions)[0, 1] == pytest.approx(0.6, abs=0.06)


def test_features_carry_the_interest():
    """A linear fit on what a few fields are worth in one split tells much of the interest in the other."""
    world = World(Options(requests=REQUESTS, test_requests=1_000, seed=4, history_scale=0.05))
    interest = Interest(world)
    values, logits = [], []
    for split, count in ((names.TRAIN, REQUESTS), (names.TEST, 1_000)):
        requests = world.draw(split, 0, count)
        truth = interest.truth(requests)
        logits.append(np.log(truth.p_click / (1e9 - truth.p_click)))
        profile = [each[requests.rows] + 1 for each in requests.profile.values()]
        match = np.minimum(requests.matches["508"], 20)
        values.append([*profile, requests.items.category, requests.items.brand + 1, requests.items.shop, match])
    scores = _additive_fit(values, logits[0])
    assert np.corrcoef(scores, logits[1])[0, 1] > 0.8


def _expected_auc(scores, positive, negative):
    """AUC where each impression is positive and negative with these weights."""
    order = np.argsort(scores)
    below = np.cumsum(negative[order]) - negative[order] / 2
    return (positive[order] * below).sum() / positive.sum() / negative.sum()


def _additive_fit(values, logits, rounds=6):
    """Backfitting of one effect per value: cyclic means of what the other fields leave."""
    train, test = values
    rest = logits - logits.mean()
    effects = [np.zeros(max(a.max(), b.max()) + 1) for a, b in zip(train, test, strict=True)]
    for _ in range(rounds):
        for effect, column in zip(effects, train, strict=True):
            counts = np.bincount(column, minlength=len(effect))
            update = np.bincount(column, rest, len(effect)) / (counts + 5)
            effect += update
            rest -= update[column]
    return sum(effect[column] for effect, column in zip(effects, test, strict=True))
