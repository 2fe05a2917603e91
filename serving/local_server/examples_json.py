"""Body and answer of `:classify` and `:regress`: examples in plain JSON, with a context that they share."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from serving.local_server import json_document
from serving.local_server.json_document import ENCODING, format_error, quoted
from serving.local_server.predict_json import document_text, signature_name
from serving.local_server.status import invalid_argument
from serving.local_server.tensor_json import decoded_base64, is_base64, leaf_texts, listed_text, nested_text

CONTEXT = "context"
EXAMPLES = "examples"
RESULTS = "results"

_KINDS = {int: "int64_list", bool: "int64_list", float: "float_list", str: "bytes_list", dict: "bytes_list"}
_MAX_INT64 = (1 << 63) - 1


@dataclasses.dataclass(frozen=True)
class ExamplesCall:
    """A parsed body.

    Attributes:
        signature_name: which signature to run.
        examples: serialized `tf.train.Example`s, each with the context in it; object [n].
    """

    signature_name: str
    examples: np.ndarray


def parse_examples(body: bytes) -> ExamplesCall:
    """Reads a body. Raises ServingError."""
    document = json_document.parse(body)
    name = signature_name(document)
    context = _serialized(document[CONTEXT]) if CONTEXT in document else b""
    if EXAMPLES not in document:
        raise format_error(document, f"When method is classify, key '{EXAMPLES}' is expected and was not found")
    examples = document[EXAMPLES]
    if not isinstance(examples, list):
        raise format_error(document, f"Expecting '{EXAMPLES}' value to be an list/array")
    if not examples:
        raise format_error(document, f"'{EXAMPLES}' value is an empty array")
    # Protocol buffers written one after the other are their merger, of a map the last entry of a key: the example's.
    return ExamplesCall(name, np.array([context + _serialized(example) for example in examples], object))


def classify_answer(classes: np.ndarray, scores: np.ndarray, examples: int) -> bytes:
    """Body of the answer, of string and float tensors `[examples, classes]`. Raises ServingError for other shapes."""
    if classes.shape != scores.shape or classes.ndim != 2 or len(classes) != examples:
        found = f"{list(classes.shape)} and {list(scores.shape)}"
        raise invalid_argument(f"Expected classes and scores Tensors of shape [{examples}, num_classes]. Got: {found}")
    pairs = zip(leaf_texts(classes), leaf_texts(scores), strict=True)
    return document_text(RESULTS, nested_text([listed_text(pair) for pair in pairs], classes.shape))


def regress_answer(outputs: np.ndarray, examples: int) -> bytes:
    """Body of the answer, of a float tensor `[examples]` or `[examples, 1]`. Raises ServingError for other shapes."""
    if outputs.dtype != np.float32 or outputs.shape not in ((examples,), (examples, 1)):
        wanted = f"[{examples}] or [{examples}, 1]"
        raise invalid_argument(f"Expected float output Tensor of shape {wanted}. Got: {list(outputs.shape)}")
    return document_text(RESULTS, listed_text(leaf_texts(outputs)))


def _serialized(example: Any) -> bytes:
    if not isinstance(example, dict):
        raise invalid_argument(f"Example must be JSON object but got {quoted(example)}")
    proto = tf.train.Example()
    for name, values in example.items():
        try:
            feature = proto.features.feature[name]
        except UnicodeEncodeError as error:
            raise invalid_argument("Name of a feature is not UTF-8") from error
        _fill(feature, name, values if isinstance(values, list) else [values])
    return proto.SerializeToString()


def _fill(feature: tf.train.Feature, name: str, values: list[Any]) -> None:
    if not values:
        return
    kinds = set(map(_kind, values))
    if None in kinds:
        odd = next(value for value in values if _kind(value) is None)
        raise invalid_argument(f"Feature: {name} has element with unexpected JSON type: {quoted(odd)}")
    if len(kinds) > 1:
        raise invalid_argument(f"Unexpected element type in feature: {name} expecting type: {_kind(values[0])}")
    kind = kinds.pop()
    if kind == "bytes_list":
        values = [value.encode(*ENCODING) if isinstance(value, str) else decoded_base64(value) for value in values]
    elif kind == "int64_list" and max(values) > _MAX_INT64:
        raise invalid_argument(f"Feature: {name} has uint64 element. Only int64 is supported.")
    getattr(feature, str(kind)).value.extend(values)


def _kind(value: Any) -> str | None:
    return None if isinstance(value, dict) and not is_base64(value) else _KINDS.get(type(value))
