"""Bodies are read as RapidJSON reads them, which takes more than strict JSON."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.local_server import json_document
from serving.local_server.json_document import parse
from serving.local_server.status import Code, ServingError

LENIENT = [
    (b'{"a": NaN}', math.nan),
    (b'{"a": Infinity}', math.inf),
    (b'{"a": -Infinity}', -math.inf),
    (b'\xef\xbb\xbf{"a": 1}', 1),
    (b'{"a": 1, "a": 2}', 1),
    (b'{"a": 1, "b": ["a", "a"], "a": 2}', 1),
    (b'{"a": {"b": 1, "b": 2}}', {"b": 1}),
    (b'{"a": "\\"", "a": 2}', '"'),
    (b'{"\\u0061": 1, "a": 2}', 1),
    (b'{"a": "\xff"}', "\udcff"),
    (b'{"a": "\\ud83d\\ude00"}', "😀"),
    (b'{"a": "\\\\ud800"}', "\\ud800"),
    (b'{"a": 18446744073709551616}', float(2**64)),
    (b'{"a": 18446744073709551615}', 2**64 - 1),
    (b'{"a": -9223372036854775809}', float(-(2**63) - 1)),
    (b'{"a": 1e-400}', 0.0),
    (b' \n\t{"a": 1} \r\n', 1),
]


@pytest.mark.parametrize(("body", "value"), LENIENT)
def test_what_rapidjson_takes(body, value):
    found = parse(body)["a"]
    assert type(found) is type(value)
    assert found == value or (math.isnan(found) and math.isnan(value))


WRONG = [
    (b"", "The document is empty"),
    (b"  ", "The document is empty"),
    (b'{"a": ', "at offset: 6"),
    (b'{"a" 1}', "at offset: 5"),
    (b"{1: 2}", "at offset: 1"),
    (b'{"a": 1} x', "at offset: 9"),
    (b'{"a": "', "at offset: 6"),
    (b'{"a": "\x01"}', "control character"),
    (b'{"a": "\\q"}', "escape"),
    (b'{"a": [1,]}', "JSON Parse error"),
    (b'{"a": 01}', "JSON Parse error"),
    (b'{"a": 1e400}', "Number too big"),
    (b'{"a": ' + b"9" * 400 + b"}", "Number too big"),
    (b'{"a": "\\ud800"}', "The surrogate pair in string is invalid"),
    (b'{"a": "\\ud800x\\udc00"}', "The surrogate pair in string is invalid"),
    (b'{"a": "\\udc00"}', "The surrogate pair in string is invalid"),
    (b"[" * 100_000, "nested too deeply"),
    (b"[1]", "Is not object"),
    (b'"a"', "Is not object"),
    (b"NaN", "Is not object"),
]


@pytest.mark.parametrize(("body", "message"), WRONG, ids=lambda value: repr(value)[:40])
def test_what_rapidjson_refuses(body, message):
    with pytest.raises(ServingError) as raised:
        parse(body)
    assert message in str(raised.value)
    assert raised.value.code == Code.INVALID_ARGUMENT


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(document=st.dictionaries(st.text(max_size=3), values, max_size=4), ascii_only=st.booleans())
def test_strict_json_is_read_as_the_standard_library_reads_it(document, ascii_only):
    try:
        body = json.dumps(document, ensure_ascii=ascii_only, allow_nan=False).encode()
    except ValueError:
        return
    assert parse(body) == json.loads(body)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(pairs=st.lists(st.tuples(st.sampled_from("ab"), values), min_size=1, max_size=5))
def test_of_equal_keys_the_first_counts(pairs):
    try:
        body = "{" + ",".join(f"{json.dumps(key)}:{json.dumps(value, allow_nan=False)}" for key, value in pairs) + "}"
    except ValueError:
        return
    first = {}
    for key, value in pairs:
        first.setdefault(key, json.loads(json.dumps(value)))
    assert parse(body.encode()) == first


def test_long_values_are_cut_in_messages():
    assert len(json_document.quoted(list(range(10_000)))) < 1100
