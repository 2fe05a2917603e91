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

# A parser keeps a buffer of the size of its largest body; one of more than this is given back.
_KEPT_BYTES = 1 << 20

# What is left of a body without these bytes is its frame: brackets, commas, and keys without their digits.
_NOT_FRAME = b"0123456789+-.eE \t\n\r"


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
        inputs = _object(document[inputs_key])
        name = document.get(name_key, "")
        if not isinstance(name, str):
            return None
        found = {key: _tensor(inputs[key], dtype) for key, dtype in input_types(name).items()}
        columns = _object_frame({key: _lists_frame(found[key].shape) for key in inputs})
        frames = {inputs_key: columns, name_key: f'"{name}"'.encode()}
        expected = _object_frame({key: frames[key] for key in document})
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, ServingError):
        return None
    finally:
        if len(body) > _KEPT_BYTES:
            _PARSERS.mine = simdjson.Parser()
    # A buffer does not tell where lists begin in it.
    return (name, found) if body.translate(None, _NOT_FRAME) == expected.translate(None, _NOT_FRAME) else None


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
    return flat.reshape(len(values), len(flat) // len(values))


def _lists_frame(shape: tuple[int, ...]) -> bytes:
    """What lists of numbers of a shape are without the numbers; `[]` is a list of one as well as of none."""
    inner = b"," * (shape[-1] - 1)
    return b"[" + (inner if len(shape) == 1 else b",".join([b"[" + inner + b"]"] * shape[0])) + b"]"


def _object_frame(frames: Mapping[str, bytes]) -> bytes:
    """What an object is without its numbers, given what its values are."""
    return b"{" + b",".join(f'"{key}":'.encode() + frame for key, frame in frames.items()) + b"}"
