"""Tensors of JSON values and JSON texts of tensors, by TensorFlow Serving's rules.

Types are strict (no text becomes a number, no 3.0 an id). The shape comes from the value: the first element of each
level says how long its brothers must be.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import orjson

from serving.local_server.json_document import ENCODING, format_error, quoted
from serving.local_server.status import Code, ServingError, invalid_argument

BASE64 = "b64"

_INT32_RANGE = (-(1 << 31), (1 << 31) - 1)
# What JSON may hold for a type. Values of the types below 32 bits wrap around.
_WHOLE_RANGES = {
    "int8": _INT32_RANGE,
    "uint8": _INT32_RANGE,
    "int16": _INT32_RANGE,
    "int32": _INT32_RANGE,
    "int64": (-(1 << 63), (1 << 63) - 1),
    "uint32": (0, (1 << 32) - 1),
    "uint64": (0, (1 << 64) - 1),
}
_NUMPY_DTYPES = {"float": np.float32, "double": np.float64}


def tensor(value: Any, dtype: str) -> np.ndarray:
    """Array of a JSON value: a scalar, or lists nested to any depth whose brothers have equal lengths.

    Args:
        value: of JSON.
        dtype: `int64`, `float`, `string` and so on.

    Raises:
        ServingError: ragged lists, lists beside values, values of another type or out of range.
    """
    # Level by level, not element by element: all work in the loop is done by C code.
    leaves: list[Any] = [value]
    shape: list[int] = []
    while leaves and isinstance(leaves[0], list):
        if set(map(type, leaves)) != {list}:
            odd = next(leaf for leaf in leaves if not isinstance(leaf, list))
            raise format_error(odd, f"found at incorrect level: {len(shape) + 1} in the JSON DOM, beside lists")
        size = len(leaves[0])
        if len(sizes := set(map(len, leaves))) > 1:
            odd_size = next(other for other in sizes if other != size)
            raise invalid_argument(
                f"Encountered list at unexpected size: {odd_size} at level: {len(shape)} expected size: {size}"
            )
        shape.append(size)
        leaves = list(itertools.chain.from_iterable(leaves))
    return _flat_array(leaves, dtype, len(shape)).reshape(shape)


def is_base64(value: Any) -> bool:
    """Whether a JSON value is an object that stands for bytes."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(BASE64), str)


def decoded_base64(value: dict[str, Any]) -> bytes:
    """Bytes of `{"b64": "..."}`. Raises ServingError."""
    if not is_base64(value):
        raise format_error(value, "not formatted correctly for base64 data")
    text = "".join(value[BASE64].split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_argument("Unable to base64 decode") from error


def _flat_array(leaves: list[Any], dtype: str, rank: int) -> np.ndarray:
    kinds = set(map(type, leaves))
    if list in kinds:
        raise invalid_argument(f"Encountered list at unexpected level: {rank} expected < {rank}")
    if dtype == "string":
        return _strings(leaves, kinds)
    if dtype in ("float", "double"):
        _check_types(leaves, kinds, {int, float}, dtype)
        with np.errstate(over="ignore"):
            return np.array(leaves, _NUMPY_DTYPES[dtype])
    if dtype == "bool":
        _check_types(leaves, kinds, {bool}, dtype)
        return np.array(leaves, np.bool_)
    if dtype in _WHOLE_RANGES:
        _check_types(leaves, kinds, {int}, dtype)
        return _whole_numbers(leaves, dtype)
    raise ServingError(Code.UNIMPLEMENTED, f"Conversion of JSON Value: {quoted(leaves[:1])} to type: {dtype}")


def _check_types(leaves: list[Any], kinds: set[type], allowed: set[type], dtype: str) -> None:
    if not kinds <= allowed:
        raise _type_error(next(leaf for leaf in leaves if type(leaf) not in allowed), dtype)


def _type_error(value: Any, dtype: str) -> ServingError:
    return format_error(value, f"is not of expected type: {dtype}")


def _whole_numbers(leaves: list[int], dtype: str) -> np.ndarray:
    low, high = _WHOLE_RANGES[dtype]
    if leaves and not (low <= min(leaves) and max(leaves) <= high):
        raise _type_error(next(leaf for leaf in leaves if not low <= leaf <= high), dtype)
    return np.array(leaves, np.uint64 if dtype == "uint64" else np.int64).astype(dtype, copy=False)


def _strings(leaves: list[Any], kinds: set[type]) -> np.ndarray:
    _check_types(leaves, kinds, {str, dict}, "string")
    array = np.empty(len(leaves), object)
    array[:] = [leaf.encode(*ENCODING) if isinstance(leaf, str) else decoded_base64(leaf) for leaf in leaves]
    return array


def nested_text(texts: Sequence[str], shape: Sequence[int]) -> str:
    """JSON text of lists of a shape, given the texts of their leaves in row-major order."""
    if not shape:
        return texts[0]
    if len(shape) == 1:
        return listed_text(texts)
    size = int(np.prod(shape[1:]))
    return listed_text(nested_text(texts[i * size : (i + 1) * size], shape[1:]) for i in range(shape[0]))


def listed_text(texts: Iterable[str]) -> str:
    """JSON text of a list, given the texts of its elements."""
    return "[" + ", ".join(texts) + "]"


def string_text(value: str | bytes) -> str:
    """JSON text of a string; bytes that are no UTF-8 pass through."""
    return json.dumps(value if isinstance(value, str) else value.decode(*ENCODING), ensure_ascii=False)


def leaf_texts(array: np.ndarray, as_bytes: bool = False) -> list[str]:
    """JSON texts of an array's elements in row-major order; strings in base64 if `as_bytes`.

    Raises:
        ServingError: a type that TensorFlow Serving has no JSON for (half, complex ...).
    """
    flat = array.ravel()
    if array.dtype in (np.float32, np.float64):
        return _decimal_texts(flat)
    if array.dtype == np.bool_:
        return ["true" if value else "false" for value in flat.tolist()]
    if array.dtype.name in _WHOLE_RANGES:
        return [str(value) for value in flat.tolist()]
    if array.dtype.kind not in "OSU":
        raise invalid_argument(f"Failed to write JSON value for tensor type: {array.dtype}")
    if as_bytes:
        return [f'{{"{BASE64}": "{base64.b64encode(value).decode()}"}}' for value in flat.tolist()]
    return [string_text(value) for value in flat.tolist()]


def _decimal_texts(values: np.ndarray) -> list[str]:
    """Texts of floats [n], with the digits that tell each from its neighbours."""
    if np.isfinite(values).all() and len(values):
        return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].decode().split(",")
    # NaN and Infinity as bare words, which the standard library writes.
    return [json.dumps(float(str(value))) for value in values]
