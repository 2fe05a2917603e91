"""The encoder's bytes against the protobuf library."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_files import decode

from preprocess.write import example_encoder

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
# The widest varint of a list decides how all are built: each width of word has to be met.
UP_TO = st.sampled_from([7, 14, 28, 35, 56]).map(lambda bits: st.integers(0, (1 << bits) - 1))


def lists_of(values):
    return st.lists(st.lists(values, max_size=5), min_size=1, max_size=6)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.one_of(lists_of(INT64), UP_TO.flatmap(lists_of)), st.text(min_size=1, max_size=200))
def test_int64_lists(lists, key):
    flat = np.array([value for values in lists for value in values], np.int64)
    entries = example_encoder.int64_entries(key, flat, np.array([len(values) for values in lists]))
    decoded = [decode(message.as_py()) for message in example_encoder.examples([entries])]
    assert decoded == [{key: values} for values in lists]


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(lists_of(st.floats(width=32, allow_nan=False)))
def test_float_lists_beside_others(lists):
    lengths = np.array([len(values) for values in lists])
    flat = np.array([value for values in lists for value in values], np.float32)
    floats = example_encoder.float_entries("w", flat, lengths)
    ints = example_encoder.int64_entries("i", np.arange(len(lists)), np.ones(len(lists), np.int64))
    decoded = [decode(message.as_py()) for message in example_encoder.examples([floats, ints])]
    assert decoded == [{"w": values, "i": [number]} for number, values in enumerate(lists)]


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16383, 16384, 3_000_000])
def test_lengths_that_need_more_bytes(size):
    entries = example_encoder.int64_entries("k", np.ones(size, np.int64), np.array([size]))
    assert decode(example_encoder.examples([entries])[0].as_py()) == {"k": [1] * size}


@pytest.mark.parametrize("value", [0, 127, 128, (1 << 14) - 1, 1 << 14, (1 << 35) - 1, 1 << 62, (1 << 64) - 1])
def test_sizes_of_varints(value):
    assert example_encoder.varint_sizes(np.array([value], np.uint64))[0] == max(1, -(-value.bit_length() // 7))
