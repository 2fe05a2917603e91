import numpy as np
import pytest
import tensorflow as tf

from features import graph_keys, keys, schema_file
from features.schema import Columns, Field, Schema

WORD = Field("word", "g", "impression", "one", "string")
NUMBER = Field("number", "g", "impression", "one", "id")
OWN = Schema("own", (WORD, NUMBER), Columns(click="click", conversion="conversion"))
COUNT = 1_000_000


def integers():
    values = np.random.default_rng(1).integers(-(2**63), 2**63 - 1, COUNT, np.int64, endpoint=True)
    values[:6] = [0, -1, 1, 2**63 - 1, -(2**63), 46]
    return values


def words():
    rng = np.random.default_rng(2)
    alphabet = np.array(list("abc XYZ019_=\x00\x01éß中文🙂"))
    lengths = np.minimum(rng.geometric(0.08, COUNT // 4), 300)
    lengths[:3] = [0, 64, 65]
    letters = "".join(rng.choice(alphabet, int(lengths.sum())))
    ends = np.cumsum(lengths)
    return [letters[end - length : end].encode() for end, length in zip(ends, lengths, strict=True)]


def test_ids_have_the_same_keys_in_numpy_and_in_the_graph():
    values = integers()
    in_graph = tf.function(lambda v: graph_keys.keys_of_ids(OWN, NUMBER, v))(tf.constant(values)).numpy()
    in_numpy = keys.keys_of_ids(OWN, NUMBER, values)
    np.testing.assert_array_equal(in_numpy, in_graph)
    assert len(np.unique(in_numpy)) == len(np.unique(values))
    np.testing.assert_array_equal(keys.ids_of_keys(OWN, NUMBER, in_numpy), values)


def test_words_have_the_same_keys_in_numpy_and_in_the_graph():
    values = words()
    in_graph = tf.function(lambda v: graph_keys.keys_of_strings(WORD, v))(tf.constant(values)).numpy()
    in_numpy = keys.keys_of_strings(WORD, values)
    np.testing.assert_array_equal(in_numpy, in_graph)
    assert len(np.unique(in_numpy)) == len(set(values))


def test_words_may_be_text_or_bytes():
    assert (
        keys.keys_of_strings(WORD, ["中文", ""]).tolist() == keys.keys_of_strings(WORD, ["中文".encode(), b""]).tolist()
    )


def test_fingerprint_is_farmhash():
    assert keys.fingerprint64("abc") == 0x24A5B3A074E7F369


def test_the_same_value_has_another_key_in_another_field():
    other = Field("other", "g", "impression", "one", "string")
    assert keys.keys_of_strings(WORD, ["a"]) != keys.keys_of_strings(other, ["a"])
    values = np.arange(1000)
    twin = Field("twin", "g", "impression", "one", "id")
    assert not np.intersect1d(keys.keys_of_ids(OWN, NUMBER, values), keys.keys_of_ids(OWN, twin, values)).size


def test_a_unique_id_is_its_own_key():
    aliccp = schema_file.load("aliccp")
    values = np.array([0, 7, 2**62])
    np.testing.assert_array_equal(keys.keys_of_ids(aliccp, aliccp.fields[0], values), values)
    np.testing.assert_array_equal(graph_keys.keys_of_ids(aliccp, aliccp.fields[0], tf.constant(values)), values)


def test_numbers_fall_into_the_same_bucket_in_numpy_and_in_the_graph():
    boundaries = (-1.5, 0.0, 0.1, 1e10)
    values = np.random.default_rng(3).normal(0, 2, COUNT).astype(np.float32)
    values[:8] = [-1.5, 0.0, 0.1, 1e10, -np.inf, np.inf, np.nextafter(np.float32(0.1), np.float32(0)), 1e-45]
    in_numpy = keys.buckets_of_numbers(np.array(boundaries), values)
    np.testing.assert_array_equal(in_numpy, graph_keys.buckets_of_numbers(boundaries, tf.constant(values)))
    assert in_numpy[:8].tolist() == [1, 2, 3, 4, 0, 4, 2, 2]


def test_a_number_read_as_double_falls_into_the_bucket_of_its_float():
    assert keys.buckets_of_numbers(np.array([0.1]), np.array([0.1], np.float64)) == [1]


def test_only_strings_have_string_keys():
    with pytest.raises(ValueError, match="number"):
        keys.keys_of_strings(NUMBER, ["a"])
