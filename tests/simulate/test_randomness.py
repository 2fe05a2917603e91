import math
import random

import numpy as np
import pytest

from simulate import randomness

STREAM = ["0xc46790458cf985e2", "0x8e711e9a25551b65", "0xe6663ff0033f68a2"]
SIGMOIDS = "d5b5565586b4213eb01b5a35b859c73f000000000000e03f3d0ef3d737ceee3f"


def test_same_numbers_on_every_machine():
    state = randomness.stream(1, "a name")
    found = randomness.bits(state, np.arange(3))
    assert [hex(value) for value in found.tolist()] == STREAM
    assert randomness.sigmoid(np.array([-20.0, -1.5, 0.0, 3.25])).tobytes().hex() == SIGMOIDS


def test_numbers_do_not_depend_on_what_is_drawn_with_them():
    state = randomness.stream(1, "a name")
    together = randomness.bits(state, np.arange(100))
    assert np.array_equal(together[40:60], randomness.bits(state, np.arange(40, 60)))
    assert len(np.unique(together)) == 100
    assert not np.intersect1d(together, randomness.bits(randomness.stream(2, "a name"), np.arange(100))).size


def test_uniform_and_normal_numbers():
    drawn = randomness.bits(randomness.stream(3, "moments"), np.arange(400_000))
    for units in (randomness.unit(drawn), *randomness.half_units(drawn)):
        assert units.min() >= 0 and units.max() < 1
        assert units.mean() == pytest.approx(0.5, abs=0.002)
        assert np.histogram(units, 20, (0, 1))[0] == pytest.approx(20_000, rel=0.04)
    normals = [randomness.normals(drawn, lane) for lane in range(4)]
    assert np.mean(normals, axis=1) == pytest.approx(0, abs=0.01)
    assert np.cov(normals) == pytest.approx(np.eye(4), abs=0.01)
    assert np.mean(normals[0] ** 4) == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize("sigma", [0.6, 1.0])
def test_lognormal_factors_have_mean_one(sigma):
    table = randomness.lognormal_table(sigma)
    assert table.mean() == pytest.approx(1, rel=0.005)
    assert np.log(table).std() == pytest.approx(sigma, rel=0.01)


def test_sigmoid_is_exact():
    logits = [random.Random(1).uniform(-25, 25) for _ in range(2000)]
    exact = [1 / (1 + math.exp(-x)) for x in logits]
    assert randomness.sigmoid(np.array(logits)) == pytest.approx(exact, rel=1e-14)


@pytest.mark.parametrize("size,head,roots", [(1, 2.0, 2), (2, 0.5, 3), (50, 2.0, 2), (3000, 8.0, 3)])
def test_zipf_ranks_follow_their_shares(size, head, roots):
    units = randomness.unit(randomness.bits(randomness.stream(4, "zipf"), np.arange(300_000)))
    found = np.bincount(randomness.zipf_ranks(units, size, head, roots), minlength=size) / 300_000
    shares = randomness.zipf_shares(size, head, roots)
    assert len(found) == size
    assert shares.sum() == pytest.approx(1)
    assert found == pytest.approx(shares, abs=5 * math.sqrt(shares[0] / 300_000))


@pytest.mark.parametrize("roots,exponent", [(2, -0.75), (3, -0.875)])
def test_zipf_shares_fall_by_a_power(roots, exponent):
    shares = randomness.zipf_shares(10_000, 2.0, roots)
    slope = np.polyfit(np.log(np.arange(1000, 9000) + 2.5), np.log(shares[1000:9000]), 1)[0]
    assert slope == pytest.approx(exponent, abs=0.01)
