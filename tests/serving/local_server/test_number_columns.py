"""Bodies of numbers read straight into arrays: what is taken equals the general way, and nothing else is taken."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.local_server import number_columns, predict_json
from serving.local_server.predict_json import parse_predict
from serving.local_server.status import ServingError, invalid_argument

TYPES = {"user": "int64", "user/weight": "float", "item": "int64", "price": "double"}


def input_types(name):
    if name not in ("serving_default", "other"):
        raise invalid_argument(f"no {name}")
    return TYPES


def body(user="[1, 2]", weight="[0.5, 3]", item="[[1], [-1]]", price="[1]", more=""):
    inputs = f'{{"user": {user}, "user/weight": {weight}, "item": {item}, "price": {price}}}'
    return f'{{"inputs": {inputs}{more}}}'.encode()


def read(text):
    return number_columns.parse(text, "signature_name", "inputs", lambda name: input_types(name or "serving_default"))


def same(left, right):
    assert left.keys() == right.keys()
    for key, array in left.items():
        assert array.dtype == right[key].dtype and array.shape == right[key].shape
        np.testing.assert_array_equal(array, right[key])


def test_numbers_become_arrays_of_the_types():
    name, found = read(body(more=', "signature_name": "other"'))
    assert name == "other"
    same(
        found,
        {
            "user": np.array([1, 2], np.int64),
            "user/weight": np.array([0.5, 3], np.float32),
            "item": np.array([[1], [-1]], np.int64),
            "price": np.array([1.0]),
        },
    )


TAKEN = [
    {"user": "[]"},
    {"item": "[[], []]"},
    {"weight": "[1e39, -0.0, 16777217]"},
    {"user": "[-9223372036854775808, 9223372036854775807]"},
    {"price": "[18446744073709551615]"},
]
LEFT = [
    {"user": "[1.0]"},
    {"user": "[9223372036854775808]"},
    {"user": "[99999999999999999999]"},
    {"user": "[true]"},
    {"user": "[null]"},
    {"user": '["1"]'},
    {"user": "[1, [2]]"},
    {"user": "5"},
    {"user": '{"b64": "YQ=="}'},
    {"item": "[[1, 2], [3]]"},
    {"item": "[[1], 2]"},
    {"item": "[[[1]]]"},
    {"item": "[[1, 2], [[3], [4]]]"},
    {"price": "[NaN]"},
    {"user": "[1, [2]]", "item": "[[1], 2]"},
    {"user": '[1], "user": [[2]]'},
    {"user": '[1], "unknown": [2]'},
    {"more": ', "instances": 1'},
    {"more": ', "signature_name": 7'},
    {"more": ', "signature_name": 0'},
    {"more": ', "signature_name": null'},
    {"more": ', "signature_name": "absent"'},
]


@pytest.mark.parametrize("change", TAKEN)
def test_taken_as_by_the_general_way(change):
    name, found = read(body(**change))
    assert name == ""
    same(found, predict_json._parse_any(body(**change), input_types).tensors)


@pytest.mark.parametrize("text", [body(**change) for change in LEFT] + [b"", b"[1]", b"{", b'{"inputs": [1]}', b"\xff"])
def test_anything_else_is_left(text):
    assert read(text) is None
    # And no document of it keeps the parser from the next body.
    assert read(body()) is not None


JSON = st.recursive(
    st.integers(-(2**65), 2**65) | st.floats(allow_nan=False) | st.booleans() | st.none() | st.just("1"),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)
NUMBERS = st.lists(st.integers(-5, 5), max_size=3) | st.lists(st.lists(st.integers(0, 9), max_size=2), max_size=3)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.fixed_dictionaries({key: NUMBERS | JSON for key in TYPES}), st.sampled_from(["", "other", "absent"]))
def test_both_ways_agree(inputs, name):
    text = json.dumps({"inputs": inputs, "signature_name": name}).encode()
    found = read(text)
    try:
        expected = predict_json._parse_any(text, input_types)
    except ServingError:
        assert found is None
        with pytest.raises(ServingError):
            parse_predict(text, input_types)
    else:
        call = parse_predict(text, input_types)
        assert call.signature_name == expected.signature_name
        same(call.tensors, expected.tensors)
        if found is not None:
            same(found[1], expected.tensors)
