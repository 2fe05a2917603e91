"""Body and answer of a `:predict` call: inputs by columns or by rows, outputs likewise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from serving.local_server import json_document, number_columns
from serving.local_server.json_document import ENCODING, format_error, quoted
from serving.local_server.status import ServingError, invalid_argument
from serving.local_server.tensor_json import is_base64, leaf_texts, listed_text, nested_text, string_text, tensor
from serving.saved_model_files import SHARED_CONTEXT

SIGNATURE_NAME = "signature_name"
INPUTS = "inputs"
OUTPUTS = "outputs"
INSTANCES = "instances"
PREDICTIONS = "predictions"
# Strings of outputs whose name ends so are bytes.
BYTES_SUFFIX = "_bytes"

# Of a signature the dtype of each input (`int64`, `float`, `string` ...).
InputTypes = Callable[[str], Mapping[str, str]]


@dataclasses.dataclass(frozen=True)
class PredictCall:
    """A parsed body.

    Attributes:
        signature_name: which signature to run.
        tensors: value of each of its inputs.
        by_row: whether inputs came, and outputs go, one row at a time.
    """

    signature_name: str
    tensors: dict[str, np.ndarray]
    by_row: bool


def parse_predict(body: bytes, input_types: InputTypes) -> PredictCall:
    """Reads a body. `input_types` raises ServingError for a signature that is not there, and so does this."""
    if numbers := number_columns.parse(body, SIGNATURE_NAME, INPUTS, lambda name: input_types(name or SHARED_CONTEXT)):
        name, tensors = numbers
        return PredictCall(name or SHARED_CONTEXT, tensors, by_row=False)
    return _parse_any(body, input_types)


def _parse_any(body: bytes, input_types: InputTypes) -> PredictCall:
    document = json_document.parse(body)
    name = signature_name(document)
    types = input_types(name)
    if INSTANCES in document and INPUTS in document:
        problem = f"Not formatted correctly expecting only one of '{INPUTS}' or '{INSTANCES}' keys to exist"
        raise format_error(document, problem)
    if INPUTS in document:
        return PredictCall(name, _tensors_of_columns(document[INPUTS], types), by_row=False)
    if INSTANCES not in document:
        raise invalid_argument(f"Missing '{INPUTS}' or '{INSTANCES}' key")
    rows = document[INSTANCES]
    if not isinstance(rows, list):
        raise format_error(document, f"Expecting '{INSTANCES}' to be an list/array")
    if not rows:
        raise format_error(document, f"No values in '{INSTANCES}' array")
    return PredictCall(name, _tensors_of_rows(rows, types), by_row=True)


def signature_name(document: Mapping[str, Any]) -> str:
    """Name of the signature that a body asks for; absent and empty mean the default one."""
    name = document.get(SIGNATURE_NAME, "")
    if not isinstance(name, str):
        raise format_error(document, f"not formatted correctly. '{SIGNATURE_NAME}' key must be a string value.")
    return name or SHARED_CONTEXT


def predict_answer(outputs: Mapping[str, np.ndarray], by_row: bool) -> bytes:
    """Body of the answer. A single output stands without its name."""
    if by_row:
        return document_text(PREDICTIONS, listed_text(_row_texts(outputs)))
    columns = {
        name: nested_text(leaf_texts(array, name.endswith(BYTES_SUFFIX)), array.shape)
        for name, array in outputs.items()
    }
    return document_text(OUTPUTS, _named_text(columns) if len(columns) > 1 else next(iter(columns.values())))


def document_text(key: str, value: str) -> bytes:
    """JSON object of one key, given the text of its value."""
    return f'{{\n    "{key}": {value}\n}}'.encode(*ENCODING)


def _tensors_of_columns(inputs: Any, types: Mapping[str, str]) -> dict[str, np.ndarray]:
    if not _is_named(inputs):
        _check_single(INPUTS, "value/list, but expecting an object", types)
        return {name: tensor(inputs, dtype) for name, dtype in types.items()}
    for name in types:
        if name not in inputs:
            raise invalid_argument(f"Missing named input: {name} in '{INPUTS}' object.")
    return {name: tensor(inputs[name], dtype) for name, dtype in types.items()}


def _tensors_of_rows(rows: list[Any], types: Mapping[str, str]) -> dict[str, np.ndarray]:
    if not isinstance(rows[0], dict):
        _check_single(INSTANCES, "list, but expecting list of objects", types)
    named = _is_named(rows[0])
    for place, row in enumerate(rows):
        if named != _is_named(row):
            wanted, got = ("object", "list") if named else ("value/list", "object")
            raise invalid_argument(f"Expecting {wanted} but got {got} at item {place} of input list")
        if named and row.keys() != types.keys():
            keys = ",".join(sorted(types))
            problem = f"JSON object: {quoted(row)} keys must be equal to: {keys}"
            raise invalid_argument(f"Failed to process element: {place} of '{INSTANCES}' list. {problem}")
    if named:
        return {name: _stacked([row[name] for row in rows], dtype, f" key: {name}") for name, dtype in types.items()}
    return {name: _stacked(rows, dtype, "") for name, dtype in types.items()}


def _check_single(key: str, problem: str, types: Mapping[str, str]) -> None:
    if len(types) > 1:
        raise invalid_argument(f"{key} is a plain {problem} as multiple input tensors required as per tensorinfo_map")


def _stacked(elements: list[Any], dtype: str, key: str) -> np.ndarray:
    try:
        return tensor(elements, dtype)
    except ServingError as error:
        problem = f"Failed to process '{INSTANCES}' list{key}. Error: {error.code.name}: {error}"
        raise ServingError(error.code, problem) from error


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def _row_texts(outputs: Mapping[str, np.ndarray]) -> list[str]:
    count = _row_count(outputs)
    columns = [_texts_by_row(array, count, name.endswith(BYTES_SUFFIX)) for name, array in outputs.items()]
    if len(columns) == 1:
        return columns[0]
    return [_named_text(dict(zip(outputs, row, strict=True))) for row in zip(*columns, strict=True)]


def _texts_by_row(array: np.ndarray, count: int, as_bytes: bool) -> list[str]:
    texts = leaf_texts(array, as_bytes)
    if array.ndim == 1:
        return texts
    size = len(texts) // max(1, count)
    return [nested_text(texts[i * size : (i + 1) * size], array.shape[1:]) for i in range(count)]


def _row_count(outputs: Mapping[str, np.ndarray]) -> int:
    count = -1
    for name, array in outputs.items():
        if not array.ndim:
            raise invalid_argument(f"Tensor name: {name} has no shape information")
        if count not in (-1, len(array)):
            raise invalid_argument(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {count}")
        count = len(array)
    return count


def _named_text(members: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{string_text(name)}: {value}" for name, value in members.items()) + "}"
