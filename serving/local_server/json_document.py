"""Bodies of calls, read as TensorFlow Serving's parser (RapidJSON) reads them.

Beyond strict JSON that parser takes NaN and Infinity, a byte order mark and bytes that are no UTF-8, and of equal keys
it finds the first. orjson knows none of that, but is three to five times as fast as the standard library: it reads
what is strict JSON without doubt, and the standard library the rest.
"""

from __future__ import annotations

import codecs
import itertools
import json
import math
import re
from collections.abc import Iterable
from typing import Any

import orjson

from serving.local_server.status import ServingError, invalid_argument

# Bytes that are no UTF-8 pass through texts as lone surrogates, and come out as they were.
ENCODING = ("utf-8", "surrogateescape")

_MIN_INT64 = -(1 << 63)
_END_UINT64 = 1 << 64
_NUMBERS = {int, float}
# Shapes of numbers that may leave 64 bits or a double, in a body whose digits were all made 9 and whose E was made e.
_DIGITS_TO_9 = bytes.maketrans(b"012345678E", b"999999999e")
_ODD_NUMBERS = (b"9" * 20, b"-" + b"9" * 19, b"e999", b"e+999")
_ESCAPE = re.compile(rb"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)

# What the standard library's parser says, and RapidJSON says for the same fault.
_MESSAGES = {
    "Extra data": "The document root must not be followed by other values.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Expecting ',' delimiter": "Missing a comma or closing bracket after an element.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid control character at": "Invalid encoding in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
}


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object that a body is. Raises ServingError for a body that is none."""
    # RapidJSON reads a text that ends with a NUL.
    body = body.partition(b"\0")[0]
    document = _parse_strict(body)
    if document is None:
        document = _parse_lenient(body)
    if not isinstance(document, dict):
        raise format_error(document, "Is not object")
    return document


def format_error(value: Any, problem: str) -> ServingError:
    """Error that quotes a JSON value."""
    return invalid_argument(f"JSON Value: {quoted(value)} {problem}")


def quoted(value: Any, limit: int = 1000) -> str:
    """JSON text of a value for a message; a long one is cut, where TensorFlow Serving quotes megabytes."""
    text = ""
    # Piece by piece: a document of 16 MB would take seconds to write.
    for piece in json.JSONEncoder(indent=4, ensure_ascii=False).iterencode(_cut(value, limit)):
        text += piece
        if len(text) > limit:
            return text[:limit] + " ..."
    return text


def _cut(value: Any, limit: int) -> Any:
    return value[:limit] if isinstance(value, str) else value


def type_name(value: Any) -> str:
    """RapidJSON's word for the type of a value."""
    if isinstance(value, bool):
        return str(value)
    names = {type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    return names[type(value)]


def _parse_strict(body: bytes) -> Any:
    """Value of strict JSON without equal keys, else None."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    # orjson keeps the last of equal keys, so a text would be missing in the result. Each text has two quotation marks
    # in the body, and others can only come with a backslash that does not begin \u.
    if body.count(b"\\") != body.count(b"\\u"):
        return None
    texts = body.count(b'"') // 2
    if _quick_count(document) == texts or _count_texts([document]) == texts:
        return document
    return None


def _quick_count(document: Any) -> int:
    """Number of texts in the usual body of numbers: keys and words of the two upper levels."""
    if not isinstance(document, dict):
        return -1
    levels = [document, *(value for value in document.values() if isinstance(value, dict))]
    return sum(len(level) + sum(isinstance(value, str) for value in level.values()) for level in levels)


def _count_texts(values: Iterable[Any]) -> int:
    """Number of texts in the values, keys included. Goes by levels: a call for each list is slower than parsing."""
    count = 0
    while values:
        below: list[Iterable[Any]] = []
        by_type: dict[type, list[Any]] = {}
        for kind in (kinds := set(map(type, values))) - _NUMBERS:
            by_type[kind] = list(values) if len(kinds) == 1 else [value for value in values if type(value) is kind]
        count += len(by_type.get(str, ()))
        below.extend(by_type.get(list, ()))
        for members in by_type.get(dict, ()):
            count += len(members)
            below.append(members.values())
        values = list(itertools.chain.from_iterable(below))
    return count


def _parse_lenient(body: bytes) -> Any:
    if not body.strip():
        raise _parse_error("The document is empty.", 0)
    _check_surrogates(body)
    text = body.removeprefix(codecs.BOM_UTF8).decode(*ENCODING)
    shape = body.translate(_DIGITS_TO_9)
    # A call for each number doubles the time, so only where it can matter.
    odd = any(number in shape for number in _ODD_NUMBERS)
    parse_int, parse_float = (_whole, _decimal) if odd else (None, None)
    try:
        return json.loads(text, object_pairs_hook=_first_of_equal_keys, parse_int=parse_int, parse_float=parse_float)
    except json.JSONDecodeError as error:
        offset = len(text[: error.pos].encode(*ENCODING))
        raise _parse_error(_MESSAGES.get(error.msg, "Invalid value."), offset) from error
    except OverflowError as error:
        raise _parse_error("Number too big to be stored in double.", 0) from error
    except RecursionError as error:
        raise _parse_error("The document is nested too deeply.", 0) from error


def _check_surrogates(body: bytes) -> None:
    """Raises for an escape of half a character (a lone surrogate): the standard library lets it pass."""
    if rb"\ud" not in body.lower():
        return
    high = -1
    for escape in itertools.chain(_ESCAPE.finditer(body), [None]):
        unit = int(escape[1][1:], 16) if escape and len(escape[1]) == 5 else 0
        is_low = 0xDC00 <= unit <= 0xDFFF
        follows = escape is not None and escape.start() == high
        if (high >= 0) != (is_low and follows) or (is_low and high < 0):
            raise _parse_error("The surrogate pair in string is invalid.", escape.start() if escape else high)
        high = escape.end() if escape and 0xD800 <= unit <= 0xDBFF else -1


def _first_of_equal_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs)) if len({key for key, _ in pairs}) < len(pairs) else dict(pairs)


def _whole(digits: str) -> int | float:
    # Beyond 64 bits RapidJSON makes a double of it.
    number = int(digits) if len(digits) <= 20 else _decimal(digits)
    return number if _MIN_INT64 <= number < _END_UINT64 else float(number)


def _decimal(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise OverflowError(digits)
    return number


def _parse_error(problem: str, offset: int) -> ServingError:
    return invalid_argument(f"JSON Parse error: {problem} at offset: {offset}")
