"""The forms that a call can have, one for each signature: the body of a raw request, and the scores in the answer."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable
from typing import Any

from features import names
from features.raw_requests import RawRequest
from features.schema import Schema
from serving import columnar
from serving.answers import Scores
from serving.saved_model_files import CLASSIFICATION, EXAMPLES, SHARED_CONTEXT


@dataclasses.dataclass(frozen=True)
class Form:
    """A way to ask for scores.

    Attributes:
        method: last part of the URL.
        body: JSON object of the call.
        scores: of the JSON object of the answer; raises LookupError, TypeError or ValueError for one without scores.
    """

    method: str
    body: Callable[[RawRequest, Schema], dict[str, Any]]
    scores: Callable[[Any], Scores]


def form(signature: str) -> Form:
    """Form of a signature. Raises ValueError."""
    forms = {
        SHARED_CONTEXT: Form("predict", _columnar_body, _scores_of_columns),
        EXAMPLES: Form("predict", _examples_body, _scores_of_rows),
        CLASSIFICATION: Form("classify", _classify_body, _scores_of_classes),
    }
    if signature not in forms:
        raise ValueError(f"signature {signature!r}: allowed are {', '.join(forms)}")
    return forms[signature]


def _columnar_body(request: RawRequest, schema: Schema) -> dict[str, Any]:
    return {"inputs": columnar.columnar_inputs(request, schema)}


def _examples_body(request: RawRequest, schema: Schema) -> dict[str, Any]:
    # Imported here: only this form needs TensorFlow, which takes seconds to import.
    from serving import raw_examples

    serialized = raw_examples.serialized_examples(request, schema)
    rows = [{"b64": base64.b64encode(example).decode()} for example in serialized]
    return {"signature_name": EXAMPLES, "instances": rows}


def _classify_body(request: RawRequest, schema: Schema) -> dict[str, Any]:
    examples: list[dict[str, Any]] = [{} for _ in request.sample_ids]
    for key, rows in request.impressions.items():
        for example, values in zip(examples, rows, strict=True):
            if values:
                example[key] = values
    context = {key: values for key, values in request.context.items() if values}
    return {"signature_name": CLASSIFICATION, "context": context, "examples": examples}


def _scores_of_columns(answer: Any) -> Scores:
    return {name: answer["outputs"][name] for name in names.SCORES}


def _scores_of_rows(answer: Any) -> Scores:
    return {name: [row[name] for row in answer["predictions"]] for name in names.SCORES}


def _scores_of_classes(answer: Any) -> Scores:
    # Each row is a list of [class, score], the classes in the order of names.SCORES.
    return {name: [row[place][1] for row in answer["results"]] for place, name in enumerate(names.SCORES)}
