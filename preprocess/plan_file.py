"""Files of what one step tells the next: JSON and plain arrays, so that whoever can write there can run no code.

A file is the length of a JSON text (8 bytes), the text, and the bytes of the arrays that it refers to.
"""

from __future__ import annotations

import base64
import collections
import dataclasses
import importlib
import json
from typing import Any

import numpy as np

import storage

_LENGTH = 8
# Only dataclasses of these packages are made on loading.
_PACKAGES = ("preprocess.", "features.")


class PlanFileError(ValueError):
    """A file that `save` did not write."""


def save(path: str, value: object) -> None:
    """Writes numbers, texts, bytes, arrays, and lists, tuples, dictionaries and dataclasses of them."""
    encoder = _Encoder()
    text = json.dumps(encoder.encode(value)).encode()
    storage.write(path, [len(text).to_bytes(_LENGTH, "little"), text, *encoder.buffers])


def load(path: str) -> Any:
    """What `save` wrote.

    Raises:
        PlanFileError: it is no such file.
    """
    data = storage.read(path)
    end = _LENGTH + int.from_bytes(data[:_LENGTH], "little")
    try:
        return _decode(json.loads(data[_LENGTH:end]), data[end:])
    except (ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        raise PlanFileError(f"{path}: damaged ({error}); run the job again") from error


class _Encoder:
    """Turns values into what JSON has, and keeps the bytes of arrays."""

    def __init__(self) -> None:
        self.buffers: list[bytes] = []
        self._size = 0

    def encode(self, value: Any) -> Any:
        """A value that JSON has; all others are an object with one key, their kind."""
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, list):
            return [self.encode(part) for part in value]
        return self._object(value)

    def _object(self, value: Any) -> dict[str, Any]:
        if isinstance(value, np.ndarray):
            return {"array": self._array(value)}
        if isinstance(value, bytes):
            return {"bytes": base64.b64encode(value).decode()}
        if isinstance(value, tuple):
            return {"tuple": [self.encode(part) for part in value]}
        if isinstance(value, dict):
            kind = "counter" if isinstance(value, collections.Counter) else "dict"
            return {kind: [[self.encode(key), self.encode(part)] for key, part in value.items()]}
        if dataclasses.is_dataclass(value):
            made = {field.name: self.encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
            return {"class": [type(value).__module__, type(value).__qualname__, made]}
        raise TypeError(f"{type(value).__name__} cannot be kept in a plan file")

    def _array(self, value: np.ndarray) -> list[Any]:
        if value.dtype.hasobject:
            raise TypeError("arrays of objects cannot be kept in a plan file")
        self.buffers.append(value.tobytes())
        begin, self._size = self._size, self._size + value.nbytes
        return [value.dtype.str, list(value.shape), begin, self._size]


def _decode(node: Any, arrays: bytes) -> Any:
    if isinstance(node, list):
        return [_decode(part, arrays) for part in node]
    if not isinstance(node, dict):
        return node
    (kind, found), *_ = node.items()
    if kind == "array":
        dtype, shape, begin, end = found
        return np.frombuffer(arrays[begin:end], np.dtype(dtype)).reshape(shape)
    if kind == "bytes":
        return base64.b64decode(found)
    if kind == "tuple":
        return tuple(_decode(part, arrays) for part in found)
    if kind == "class":
        module, name, fields = found
        return _make(module, name, {key: _decode(part, arrays) for key, part in fields.items()})
    pairs = {_decode(key, arrays): _decode(part, arrays) for key, part in found}
    return collections.Counter(pairs) if kind == "counter" else pairs


def _make(module: str, name: str, fields: dict[str, Any]) -> Any:
    if not module.startswith(_PACKAGES):
        raise PlanFileError(f"{module}.{name}: not of this project")
    made = getattr(importlib.import_module(module), name)
    if not (isinstance(made, type) and dataclasses.is_dataclass(made)):
        raise PlanFileError(f"{module}.{name}: no dataclass")
    return made(**fields)
