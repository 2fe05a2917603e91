"""Boundaries of equally full buckets, whatever the grouping of the values."""

import numpy as np

from features import keys
from preprocess.read import quantiles


def test_buckets_are_equally_full():
    values = np.random.default_rng(1).normal(0, 100, 100_000).astype(np.float32)
    edges = quantiles.boundaries(quantiles.histogram(values), 8)
    sizes = np.bincount(keys.buckets_of_numbers(np.array(edges), values), minlength=8)
    assert len(edges) == 7 and abs(sizes / len(values) - 1 / 8).max() < 0.005


def test_grouping_does_not_matter():
    values = np.random.default_rng(2).exponential(5, 10_000).astype(np.float32)
    whole = quantiles.boundaries(quantiles.histogram(values), 10)
    parts = [quantiles.histogram(part) for part in np.split(np.random.default_rng(3).permutation(values), [10, 5000])]
    assert quantiles.boundaries(quantiles.merge(parts), 10) == whole


def test_whole_numbers_are_boundaries_themselves():
    values = np.array([-3, -3, 0, 0, 5, 5, 9, 9], np.float32)
    assert quantiles.boundaries(quantiles.histogram(values), 4) == (0.0, 5.0, 9.0)


def test_a_value_that_fills_several_buckets_gives_fewer():
    values = np.array([1] * 90 + [2] * 10, np.float32)
    assert quantiles.boundaries(quantiles.histogram(values), 5) == (2.0,)


def test_nothing_and_nan_give_no_boundaries():
    assert quantiles.boundaries(quantiles.histogram(np.array([np.nan], np.float32)), 5) == ()


def test_both_zeros_fall_together():
    found = quantiles.histogram(np.array([0.0, -0.0, 1.0], np.float32))
    assert found.counts.tolist() == [2, 1]
