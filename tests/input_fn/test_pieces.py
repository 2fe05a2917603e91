import numpy as np
import pytest
import tensorflow as tf

from input_fn import pieces


def cut(sizes, max_impressions):
    found = pieces.cut(tf.constant(np.cumsum([0, *sizes]), tf.int64), max_impressions)
    return [tuple(int(x) for x in piece) for piece in zip(*(part.numpy() for part in found), strict=True)]


def test_a_request_is_cut_into_few_pieces_of_nearly_equal_size():
    assert cut([5, 1, 0, 4], 4) == [(0, 0, 2), (0, 2, 5), (1, 5, 6), (3, 6, 10)]


def test_without_a_limit_requests_stay_whole_and_empty_ones_vanish():
    assert cut([5, 0, 40], 0) == [(0, 0, 5), (2, 5, 45)]


@pytest.mark.parametrize("most", [1, 3, 16])
def test_pieces_cover_every_impression_once_and_none_is_too_long(most):
    sizes = np.random.default_rng(1).integers(0, 60, 50)
    found = cut(sizes, most)
    assert [i for _, start, limit in found for i in range(start, limit)] == list(range(sizes.sum()))
    assert max(limit - start for _, start, limit in found) <= most
    assert len(found) == sum(-(-int(size) // most) for size in sizes)


@pytest.mark.parametrize(("impressions", "expected"), [(0, 0), (1, 1), (149, 1), (150, 2), (1000, 10)])
def test_number_of_batches_comes_nearest_to_the_batch_size(impressions, expected):
    found = pieces.cut(tf.constant([0, impressions], tf.int64), 1)
    assert int(pieces.number_of_batches(found, 100)) == expected


def test_there_are_not_more_batches_than_pieces():
    found = pieces.cut(tf.constant([0, 900, 901, 901], tf.int64), 0)
    assert int(pieces.number_of_batches(found, 100)) == 2


def test_dealing_spreads_a_request_over_batches_and_mixes_its_pieces():
    sizes = np.full(60, 64)
    found = pieces.cut(tf.constant(np.cumsum([0, *sizes]), tf.int64), 16)
    order = pieces.dealing_order(found, tf.constant([3, 4], tf.int64)).numpy()
    assert sorted(order) == list(range(240))
    first_ranks = []
    for batch in range(10):
        dealt = found.take(order[batch::10])
        assert len(set(dealt.request.numpy())) == 24  # no request twice
        first_ranks.append(np.mean(dealt.start.numpy() % 64 == 0))
    assert min(first_ranks) > 0 and max(first_ranks) < 0.6  # a quarter of all pieces is a request's first


def test_dealing_follows_its_seed():
    found = pieces.cut(tf.constant([0, 500, 1000], tf.int64), 5)
    orders = [pieces.dealing_order(found, tf.constant([0, seed], tf.int64)).numpy().tolist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
