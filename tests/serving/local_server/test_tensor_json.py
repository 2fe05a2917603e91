"""JSON values to tensors and back: TensorFlow Serving's rules, worked by hand and against plain loops."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.local_server import predict_json
from serving.local_server.predict_json import parse_predict, predict_answer
from serving.local_server.status import Code, ServingError
from serving.local_server.tensor_json import leaf_texts, nested_text, tensor

GOOD = [
    (3, "int64", np.array(3, np.int64)),
    ([], "int64", np.zeros(0, np.int64)),
    ([[], []], "float", np.zeros((2, 0), np.float32)),
    ([[1, 2], [3, 4]], "int64", np.array([[1, 2], [3, 4]], np.int64)),
    ([1, 2.5], "float", np.array([1, 2.5], np.float32)),
    ([1e39], "float", np.array([np.inf], np.float32)),
    ([float("nan")], "double", np.array([np.nan])),
    ([256, -1], "uint8", np.array([0, 255], np.uint8)),
    ([2**64 - 1], "uint64", np.array([2**64 - 1], np.uint64)),
    ([-(2**63)], "int64", np.array([-(2**63)], np.int64)),
    ([True, False], "bool", np.array([True, False])),
]


@pytest.mark.parametrize(("value", "dtype", "expected"), GOOD)
def test_tensor_of_value(value, dtype, expected):
    found = tensor(value, dtype)
    assert found.dtype == expected.dtype and found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


def test_strings_are_bytes_of_any_content():
    found = tensor(["é", "a\x00", "", "\udcff", {"b64": "/w=="}, {"b64": "YQ"}], "string")
    assert found.tolist() == ["é".encode(), b"a\x00", b"", b"\xff", b"\xff", b"a"]


BAD = [
    ([3.0], "int64", "3.0 is not of expected type: int64"),
    ([2**63], "int64", "9223372036854775808 is not"),
    ([1, 2**31], "int32", "2147483648 is not of expected type: int32"),
    ([-1], "uint32", "-1 is not"),
    ([-1], "uint64", "-1 is not"),
    ([True], "int64", "true is not"),
    ([1], "bool", "1 is not of expected type: bool"),
    ([None], "float", "null is not"),
    (["1"], "float", '"1" is not'),
    ([1], "string", "1 is not of expected type: string"),
    ([{"a": 1}], "int64", "is not of expected type: int64"),
    ([{"a": 1}], "string", "not formatted correctly for base64 data"),
    ([{"b64": "@"}], "string", "Unable to base64 decode"),
    ([[1, 2], [3]], "int64", "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
    ([1, [2]], "int64", "Encountered list at unexpected level: 1 expected < 1"),
    ([[1], 2], "int64", "found at incorrect level: 2"),
]


@pytest.mark.parametrize(("value", "dtype", "message"), BAD)
def test_value_that_is_no_tensor(value, dtype, message):
    with pytest.raises(ServingError) as raised:
        tensor(value, dtype)
    assert message in str(raised.value)


def test_type_without_json_is_unimplemented():
    with pytest.raises(ServingError) as raised:
        tensor([1.0], "half")
    assert raised.value.code == Code.UNIMPLEMENTED


@settings(max_examples=500, deadline=None, derandomize=True)
@given(
    values=st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False)
        | st.integers(-(10**9), 10**9).map(lambda n: float(np.float32(n)))
        | st.integers(0, 10**6).map(lambda n: float(np.float32(n / 1e5)))
    )
)
def test_floats_have_the_digits_that_they_need(values):
    array = np.array(values, np.float32)
    texts = leaf_texts(array)
    np.testing.assert_array_equal([np.float32(text) for text in texts], array)
    assert all("." in text or "e" in text for text in texts)  # a reader must not take it for a whole number


@pytest.mark.parametrize("value", [10.0**n for n in range(-11, 8)])
def test_powers_of_ten_are_written_as_such(value):
    assert [float(text) for text in leaf_texts(np.array([value, -value], np.float32))] == [value, -value]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_doubles_read_back_as_they_were(values):
    assert [float(text) for text in leaf_texts(np.array(values, np.float64))] == values


def test_texts_of_other_types():
    assert leaf_texts(np.array([np.nan, np.inf, -np.inf, -0.0], np.float32)) == ["NaN", "Infinity", "-Infinity", "-0.0"]
    assert leaf_texts(np.array([True, False])) == ["true", "false"]
    assert leaf_texts(np.array([255], np.uint8)) == ["255"]
    assert leaf_texts(np.array(["é".encode(), b'"'], object)) == ['"é"', '"\\""']
    assert leaf_texts(np.array([b"\xff"], object), as_bytes=True) == ['{"b64": "/w=="}']
    with pytest.raises(ServingError, match="Failed to write JSON value"):
        leaf_texts(np.array([1], np.float16))


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0), (0, 2), (2, 1, 3)])
def test_nested_lists_have_the_shape(shape):
    array = np.arange(int(np.prod(shape))).reshape(shape)
    assert json.loads(nested_text(leaf_texts(array), shape)) == array.tolist()


TYPES = {"one": {"x": "int64"}, "two": {"x": "int64", "y": "float"}}


def parsed(**body):
    return parse_predict(json.dumps(body).encode(), lambda name: TYPES[name])


def test_rows_are_stacked():
    call = parsed(signature_name="two", instances=[{"x": [1, 2], "y": 1}, {"y": 2.5, "x": [3, 4]}])
    assert call.by_row and call.signature_name == "two"
    assert call.tensors["x"].tolist() == [[1, 2], [3, 4]] and call.tensors["y"].tolist() == [1.0, 2.5]
    assert parsed(signature_name="one", instances=[1, 2]).tensors["x"].tolist() == [1, 2]


BAD_ROWS = [
    ("two", [1], "plain list, but expecting list of objects"),
    ("two", [{"x": 1, "y": 1}, [1]], "Expecting object but got list at item 1"),
    ("one", [1, {"x": 1}], "Expecting value/list but got object at item 1"),
    ("two", [{"x": 1, "y": 1}, {"x": 1}], "process element: 1 of .* keys must be equal to: x,y"),
    (
        "two",
        [{"x": 1, "y": 1}, {"x": 1, "y": "a"}],
        'list key: y. Error: INVALID_ARGUMENT: JSON Value: "a"',
    ),
    ("one", [[1], [2, 3]], "unexpected size: 2 at level: 1 expected size: 1"),
    ("one", [], "No values in 'instances' array"),
    ("one", {"x": 1}, "to be an list/array"),
]


@pytest.mark.parametrize(("signature", "rows", "message"), BAD_ROWS)
def test_rows_that_do_not_fit(signature, rows, message):
    with pytest.raises(ServingError, match=f"(?s){message}"):
        parsed(signature_name=signature, instances=rows)


def test_answers_by_row_and_by_column():
    outputs = {"p": np.array([0.5, 1.0], np.float32), "v_bytes": np.array([[b"a"], [b"b"]], object)}
    rows = json.loads(predict_answer(outputs, by_row=True))
    assert rows == {"predictions": [{"p": 0.5, "v_bytes": [{"b64": "YQ=="}]}, {"p": 1.0, "v_bytes": [{"b64": "Yg=="}]}]}
    columns = json.loads(predict_answer(outputs, by_row=False))
    assert columns == {"outputs": {"p": [0.5, 1.0], "v_bytes": [[{"b64": "YQ=="}], [{"b64": "Yg=="}]]}}
    single = {"p": outputs["p"]}
    assert json.loads(predict_answer(single, by_row=True)) == {"predictions": [0.5, 1.0]}
    assert json.loads(predict_answer(single, by_row=False)) == {"outputs": [0.5, 1.0]}


def test_outputs_without_common_rows_cannot_be_answered_by_row():
    with pytest.raises(ServingError, match="no shape information"):
        predict_answer({"p": np.array(1.0, np.float32)}, by_row=True)
    with pytest.raises(ServingError, match="inconsistent batch size"):
        predict_answer({"p": np.zeros(2, np.float32), "q": np.zeros(3, np.float32)}, by_row=True)


def test_default_signature():
    assert predict_json.signature_name({}) == predict_json.signature_name({"signature_name": ""}) == "serving_default"
