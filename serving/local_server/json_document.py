"""Bodies of calls, read as TensorFlow Serving's parser (RapidJSON) reads them.

Beyond strict JSON that parser takes NaN and Infinity, a byte order mark and bytes that are no UTF-8, and of equal keys
it finds the first. So does the standard library's, with a little help. What is large and of numbers alone does not come
here (`number_columns`).
"""

from __future__ import annotations

import codecs
import json
import math
from typing import Any

from serving.local_server.status import ServingError, invalid_argument

# Bytes that are no UTF-8 pass through texts as lone surrogates, and come out as they were.
ENCODING = ("utf-8", "surrogateescape")

_MIN_INT64 = -(1 << 63)
_END_UINT64 = 1 << 64
# Shapes of numbers that may leave 64 bits or a double, in a body whose digits were all made 9 and whose E was made e.
_DIGITS_TO_9 = bytes.maketrans(b"012345678E", b"999999999e")
_ODD_NUMBERS = (b"9" * 20, b"-" + b"9" * 19, b"e999", b"e+999")


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object that a body is. Raises ServingError for a body that is none."""
    # RapidJSON reads a text that ends with a NUL.
    body = body.partition(b"\0")[0].removeprefix(codecs.BOM_UTF8)
    document = _parsed(body)
    if rb"\ud" in body.lower():
        _check_surrogates(document)
    if not isinstance(document, dict):
        raise format_error(document, "Is not object")
    return document


def format_error(value: Any, problem: str) -> ServingError:
    """Error that quotes a JSON value."""
    return invalid_argument(f"JSON Value: {quoted(value)} {problem}")


def quoted(value: Any, limit: int = 1000) -> str:
    """JSON text of a value for a message; a long one is cut, where TensorFlow Serving quotes megabytes."""
    text = ""
    cut = value[:limit] if isinstance(value, str) else value
    # Piece by piece: a document of 16 MB would take seconds to write.
    for piece in json.JSONEncoder(indent=4, ensure_ascii=False).iterencode(cut):
        text += piece
        if len(text) > limit:
            return text[:limit] + " ..."
    return text


def _parsed(body: bytes) -> Any:
    shape = body.translate(_DIGITS_TO_9)
    # A call for each number doubles the time, so only where it can matter.
    odd = any(number in shape for number in _ODD_NUMBERS)
    parse_int, parse_float = (_whole, _decimal) if odd else (None, None)
    text = body.decode(*ENCODING)
    try:
        return json.loads(text, object_pairs_hook=_first_of_equal_keys, parse_int=parse_int, parse_float=parse_float)
    except json.JSONDecodeError as error:
        problem = f"{error.msg} at offset: {error.pos}" if text.strip() else "The document is empty"
        raise invalid_argument(f"JSON Parse error: {problem}") from error
    except OverflowError as error:
        raise invalid_argument("JSON Parse error: Number too big to be stored in double") from error
    except RecursionError as error:
        raise invalid_argument("JSON Parse error: The document is nested too deeply") from error


def _check_surrogates(document: Any) -> None:
    """Raises for an escape of half a character: the standard library lets it pass."""
    try:
        json.dumps(document, ensure_ascii=False).encode(*ENCODING)
    except UnicodeEncodeError as error:
        raise invalid_argument("JSON Parse error: The surrogate pair in string is invalid") from error


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
