"""How soon conversions come, estimated from logs that were cut: against distributions that are known."""

import numpy as np
import pytest

from preprocess.read import delays
from preprocess.read.inputs import InputError

DAY = 86400
WINDOW = 7 * DAY


def exponential(age, mean, window=WINDOW):
    """Share of the conversions within the window that come within an age."""
    return np.expm1(-age / mean) / np.expm1(-window / mean)


def seen(rng, clicks, mean, oldest, window=WINDOW):
    """Delays and ages of the conversions that a log shows; clicks are of all ages up to the oldest."""
    age = rng.uniform(0, oldest, clicks)
    delay = rng.exponential(mean, clicks)
    known = (delay <= window) & (delay < age)
    return delay[known], np.where(age > window, np.inf, age)[known]


@pytest.mark.parametrize("mean", [DAY / 24, 2 * DAY, 20 * DAY])
def test_shares_are_those_of_the_world(mean):
    delay, age = seen(np.random.default_rng(0), 200_000, mean, 9 * DAY)
    found = delays.estimate(delays.count(delay, age, WINDOW), WINDOW)
    ages = np.linspace(600, WINDOW, 50)
    wanted = exponential(ages, mean)
    np.testing.assert_allclose(found.of(ages), wanted, atol=0.02)
    if mean > DAY:  # what the log shows as it is comes too fast
        plain = np.searchsorted(np.sort(delay), ages) / len(delay)
        assert np.abs(plain - wanted).max() > 0.05
    assert found.age(0.5) == pytest.approx(ages[np.searchsorted(wanted, 0.5)], rel=0.05, abs=DAY / 6)


def test_a_product_worked_by_hand():
    hour = 3600.0
    delay = np.array([1, 47, 30, 40, 1]) * hour
    age = np.array([np.inf, np.inf, np.inf, 48 * hour, 24 * hour])
    found = delays.estimate(delays.count(delay, age, 48 * 3600), 48 * 3600)
    # Down from the end: 1 of 4 came at 47 hours, 1 of 3 at 40, 1 of 2 at 30, and all others at 1.
    ages = np.array([0.5, 2, 24, 35, 45, 47.5, np.inf]) * hour
    np.testing.assert_allclose(found.of(ages), [0, 1 / 4, 1 / 4, 1 / 2, 3 / 4, 1, 1], atol=1e-6)
    assert found.closed == 3


def test_without_open_windows_it_is_the_share_of_the_conversions():
    delay = np.random.default_rng(1).uniform(0, WINDOW, 1000)
    found = delays.estimate(delays.count(delay, np.full(1000, np.inf), WINDOW), WINDOW)
    edges = delays.edges(WINDOW)[::100]
    np.testing.assert_allclose(found.of(edges), np.searchsorted(np.sort(delay), edges) / 1000, atol=1e-6)


def test_counts_of_parts_add_up():
    delay, age = seen(np.random.default_rng(2), 5000, DAY, 9 * DAY)
    parts = [delays.count(delay[part], age[part], WINDOW) for part in (slice(0, 100), slice(100, None))]
    np.testing.assert_array_equal(sum(parts, delays.nothing()), delays.count(delay, age, WINDOW))


def test_a_log_shorter_than_its_window_cannot_tell():
    delay, age = seen(np.random.default_rng(3), 500, DAY, 5 * DAY)
    with pytest.raises(InputError, match=r"--weigh_open_clicks: .* give --input_dir more days before --log_cut"):
        delays.estimate(delays.count(delay, age, WINDOW), WINDOW)
