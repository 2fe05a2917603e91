"""Plain JSON examples become tf.train.Examples by TensorFlow Serving's rules; classes and values become JSON."""

import json

import numpy as np
import pytest
import tensorflow as tf

from serving.local_server.examples_json import classify_answer, parse_examples, regress_answer
from serving.local_server.status import ServingError


def parsed(**body):
    call = parse_examples(json.dumps(body).encode())
    return [tf.train.Example.FromString(serialized) for serialized in call.examples]


def features(example):
    lists = {name: feature.WhichOneof("kind") for name, feature in example.features.feature.items()}
    return {
        name: (kind, list(getattr(example.features.feature[name], kind).value) if kind else [])
        for name, kind in lists.items()
    }


def test_types_follow_the_json():
    (example,) = parsed(
        examples=[{"i": [1, -2], "f": [1.0], "s": ["é", {"b64": "/w=="}], "b": [True, False], "one": 3, "none": []}]
    )
    assert features(example) == {
        "i": ("int64_list", [1, -2]),
        "f": ("float_list", [1.0]),
        "s": ("bytes_list", ["é".encode(), b"\xff"]),
        "b": ("int64_list", [1, 0]),
        "one": ("int64_list", [3]),
        "none": (None, []),
    }


def test_context_is_in_each_example_and_an_example_overrides_it():
    first, second = parsed(context={"u": [1, 2], "x": 5}, examples=[{"x": 6}, {"y": 7}])
    assert features(first) == {"u": ("int64_list", [1, 2]), "x": ("int64_list", [6])}
    assert features(second) == {"u": ("int64_list", [1, 2]), "x": ("int64_list", [5]), "y": ("int64_list", [7])}


BAD = [
    ({"examples": [{"x": [1, "a"]}]}, "Unexpected element type in feature: x expecting type: int64_list"),
    ({"examples": [{"x": [1, 1.0]}]}, "expecting type: int64_list"),
    ({"examples": [{"x": [None]}]}, "feature|Feature: x has element with unexpected JSON type: null"),
    ({"examples": [{"x": [[1]]}]}, "unexpected JSON type: "),
    ({"examples": [{"x": {"y": 1}}]}, "unexpected JSON type: "),
    ({"examples": [{"x": 2**63}]}, "uint64 element. Only int64 is supported"),
    ({"examples": [{"\ud800": 1}]}, "surrogate pair"),
    ({"examples": [3]}, "Example must be JSON object but got 3"),
    ({"examples": []}, "'examples' value is an empty array"),
    ({"examples": {}}, "'examples' value to be an list/array"),
    ({}, "key 'examples' is expected"),
    ({"context": [], "examples": [{}]}, "Example must be JSON object but got \\[\\]"),
    ({"signature_name": 1, "examples": [{}]}, "'signature_name' key must be a string"),
]


@pytest.mark.parametrize(("body", "message"), BAD)
def test_bad_examples(body, message):
    with pytest.raises(ServingError, match=message):
        parsed(**body)


def test_name_that_is_not_utf8_is_an_error():
    with pytest.raises(ServingError, match="not UTF-8"):
        parse_examples(b'{"examples": [{"\xff": 1}]}')


def test_answers():
    classes = np.array([[b"a", b"b"]], object)
    scores = np.array([[0.5, 0.25]], np.float32)
    assert json.loads(classify_answer(classes, scores, 1)) == {"results": [[["a", 0.5], ["b", 0.25]]]}
    for outputs in (scores[0], scores.T):
        assert json.loads(regress_answer(outputs, 2)) == {"results": [0.5, 0.25]}


def test_answers_of_wrong_shape_are_errors():
    scores = np.zeros((2, 3), np.float32)
    for classes, count in ((np.zeros((2, 3), object), 3), (np.zeros((2, 2), object), 2), (np.zeros(2, object), 2)):
        with pytest.raises(ServingError):
            classify_answer(classes, scores, count)
    for outputs, count in ((scores, 2), (np.zeros(2, np.float32), 3), (np.zeros(2), 2)):
        with pytest.raises(ServingError):
            regress_answer(outputs, count)
