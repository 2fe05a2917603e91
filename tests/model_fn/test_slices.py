"""Metrics by the value of a field."""

import numpy as np
import pytest

from model_fn import slices
from model_fn.evaluation import Evaluation
from model_fn.slices import Slices


def log(size=2_000, seed=3):
    rng = np.random.default_rng(seed)
    ctr, cvr = (rng.normal(size=size).astype(np.float32) for _ in range(2))
    click = (rng.random(size) < 0.4).astype(np.float32)
    conversion = click * (rng.random(size) < 0.3).astype(np.float32)
    return ctr, cvr, click, conversion, rng.integers(5, 15, size)


def table(columns, batch, most=4):
    found = Slices(most=most)
    for start in range(0, len(columns[0]), batch):
        *scores, ids = (column[start : start + batch] for column in columns)
        found.update(ids, *scores, floor=0.1)
    return found.table()


def test_a_slice_has_the_metrics_of_its_impressions_alone_and_the_rest_is_one():
    *scores, ids = log()
    found = table((*scores, ids), batch=2_000)
    assert found[:, 0].tolist() == [5, 6, 7, 8, slices.OTHERS]
    for row in found:
        own = ids >= 9 if row[0] == slices.OTHERS else ids == row[0]
        alone = Evaluation(with_users=False)
        alone.update(*(column[own] for column in scores), floor=0.1)
        assert tuple(row[1:4]) == alone.counts() == tuple(c[own].sum() for c in (np.ones_like(ids), *scores[2:]))
        np.testing.assert_allclose(row[4:], list(alone.metrics().values()), rtol=1e-12)


@pytest.mark.parametrize("order", [1, -1])
def test_neither_batches_nor_their_order_matter(order):
    columns = tuple(column[::order] for column in log())
    np.testing.assert_allclose(table(columns, 7), table(log(), 2_000), rtol=1e-9)


def test_few_values_leave_nothing_over():
    *scores, ids = log(100)
    assert table((*scores, np.full_like(ids, 3)), 30)[:, 0].tolist() == [3]
    assert Slices().table().shape == (0, len(slices.columns()))
