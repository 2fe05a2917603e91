"""A raw request as the inputs of `serving_default`: context fields 1-D, candidate fields 2-D and padded.

Every input of the signature must be in a call, so every field is here, also where the log has nothing of it.
"""

from __future__ import annotations

from features import names
from features.raw_requests import RawRequest
from features.raw_values import Value
from features.schema import ID, NUMBER, STRING, VECTOR, Schema

PADDING: dict[str, Value] = {
    ID: names.PADDING_ID,
    STRING: names.PADDING_STRING,
    NUMBER: names.PADDING_NUMBER,
    VECTOR: names.PADDING_NUMBER,
}
# Input whose value is always []. A server with --enable_batching merges calls whose inputs have equal first dimensions,
# also those of different users: two values for a context field of kind one are refused, but of lists alone nobody could
# tell. This input makes the first dimensions differ, so that no such call is ever merged.
UNMERGEABLE = "context/unmergeable"
# A padded place has no id, so its weight is never looked at.
WEIGHT_PADDING = 0.0

Column = list[Value] | list[list[Value]]


def needs_unmergeable(schema: Schema) -> bool:
    """Whether nothing else in a call says that it has one context: its context is of lists alone."""
    return bool(schema.context_fields) and all(field.is_many for field in schema.context_fields)


def columnar_inputs(request: RawRequest, schema: Schema) -> dict[str, Column]:
    """Value of each input: lists `[k]` for context, `[n, k]` for candidates, k the longest of the n, at least 1."""
    inputs: dict[str, Column] = {UNMERGEABLE: []} if needs_unmergeable(schema) else {}
    for field in schema.context_fields:
        inputs[field.name] = request.context[field.name]
        if field.weighted:
            inputs[field.weight_key] = request.context[field.weight_key]
    for field in schema.impression_fields:
        inputs[field.name] = _padded(request.impressions[field.name], PADDING[field.type], field.width)
        if field.weighted:
            inputs[field.weight_key] = _padded(request.impressions[field.weight_key], WEIGHT_PADDING)
    return inputs


def _padded(rows: list[list[Value]], padding: Value, least: int = 1) -> list[list[Value]]:
    width = max(least, max(map(len, rows)))
    return [row + [padding] * (width - len(row)) for row in rows]
