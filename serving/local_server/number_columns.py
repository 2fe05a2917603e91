"""The usual body of a `:predict` call, lists of numbers by columns, read straight into arrays.

simdjson writes the numbers of a list, however nested, into one buffer: of twenty thousand numbers, making a Python
object of each is two thirds of the time. It is as strict as TensorFlow Serving's parser about types, and of equal keys
it too finds the first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import simdjson

from serving.local_server.status import ServingError

# How simdjson calls the type of a buffer, the type in it, and the type that the input has.
_BUFFERS: dict[str, tuple[str, type, type]] = {
    "int64": ("i", np.int64, np.int64),
    "float": ("d", np.float64, np.float32),
    "double": ("d", np.float64, np.float64),
}


class _Parsers(threading.local):
    """A parser for each thread, which uses its memory again: so no document may be left of the call before."""

    def __init__(self) -> None:
        self.mine = simdjson.Parser()


_PARSERS = _Parsers()


def parse(
    body: bytes, name_key: str, inputs_key: str, input_types: Callable[[str], Mapping[str, str]]
) -> tuple[str, dict[str, np.ndarray]] | None:
    """Text of `name_key`, empty where it is absent, and an array of one or two dimensions for each input.

    None of any other body, also of a wrong one: `json_document` and `tensor_json` read it and say what is wrong.

    Args:
        body: of a call.
        name_key: key of the name of a signature.
        inputs_key: key of the object of columns.
        input_types: of a name the dtype of each input; may raise ServingError.
    """
    # All references to the document end here, and with them exceptions that would keep them. A RuntimeError is what
    # simdjson raises for whole numbers beyond 64 bits.
    try:
        document = _object(_PARSERS.mine.parse(body))
        name = document.get(name_key, "")
        inputs = _object(document[inputs_key])
        if not isinstance(name, str):
            return None
        types = input_types(name)
        found = {key: _tensor(inputs[key], dtype) for key, dtype in types.items()}
        named = set(document.keys()) <= {name_key, inputs_key}
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, ServingError):
        return None
    # A buffer does not tell where lists begin in it. Any list beyond those of the shapes stands where none belongs.
    lists = sum(1 + (len(array) if array.ndim == 2 else 0) for array in found.values())
    return (name, found) if named and lists == body.count(b"[") else None


def _object(value: Any) -> simdjson.Object:
    if not isinstance(value, simdjson.Object):
        raise TypeError(type(value))
    return value


def _tensor(values: Any, dtype: str) -> np.ndarray:
    kind, buffered, wanted = _BUFFERS[dtype]
    flat: np.ndarray = np.frombuffer(values.as_buffer(of_type=kind), buffered)
    with np.errstate(over="ignore"):
        flat = flat.astype(wanted, copy=False)
    if not len(values) or not isinstance(values[0], simdjson.Array):
        return flat
    (columns,) = set(map(len, values))
    return flat.reshape(len(values), columns)
