"""What the URLs of TensorFlow Serving's REST API answer, without HTTP: method, path and body in, JSON out."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import unquote

from google.protobuf import json_format  # type: ignore[import-untyped]
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from serving.local_server.examples_json import classify_answer, parse_examples, regress_answer
from serving.local_server.metrics import Metrics
from serving.local_server.models import Models
from serving.local_server.predict_json import parse_predict, predict_answer
from serving.local_server.status import invalid_argument

API_PATH = re.compile(r"/v1/.*", re.IGNORECASE)
_VERSION = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_CALL_PATH = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){_VERSION}:(?P<method>(?-i:classify|regress|predict))", re.IGNORECASE
)
_LOOK_PATH = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_VERSION}(?:/(?P<metadata>metadata))?", re.IGNORECASE)
_MAX_VERSION = (1 << 63) - 1
# protobuf 5 gave the argument that writes out defaults another name.
_WITH_DEFAULTS = {
    name: True
    for name in ("including_default_value_fields", "always_print_fields_with_no_presence")
    if name in inspect.signature(json_format.MessageToJson).parameters
}

_Outputs = TypeVar("_Outputs")


@dataclasses.dataclass(frozen=True)
class Address:
    """What a path names.

    Attributes:
        name: of the model.
        version: its number, if the path has one.
        label: name of a version, if the path has one.
        method: classify, regress, predict, status or metadata.
    """

    name: str
    version: int | None
    label: str | None
    method: str


def parse_address(http_method: str, path: str) -> Address:
    """What a path (with its query, which no path may have) names. Raises ServingError for one that names nothing."""
    pattern = {"POST": _CALL_PATH, "GET": _LOOK_PATH}.get(http_method)
    found = pattern.fullmatch(path) if pattern else None
    if found is None:
        raise invalid_argument(f"Malformed request: {http_method} {path}")
    parts = found.groupdict()
    version = int(parts["version"]) if parts["version"] else None
    if version is not None and version > _MAX_VERSION:
        raise invalid_argument("")  # TensorFlow Serving answers this without a body
    if not parts["name"]:
        raise invalid_argument("Missing model name in request.")
    method = parts.get("method") or ("metadata" if parts.get("metadata") else "status")
    label = unquote(parts["label"]) if parts["label"] else None
    return Address(unquote(parts["name"]), version, label, method)


class RestApi:
    """Answers calls. Any thread may ask; each call takes as long as the graph does."""

    def __init__(self, models: Models, metrics: Metrics) -> None:
        self._models = models
        self._metrics = metrics

    def counted_name(self, address: Address) -> str:
        """Name of the model in metrics: empty for one that is not here, or any caller could add metrics for ever."""
        return address.name if address.name in self._models.names else ""

    def call(self, address: Address, body: bytes) -> bytes:
        """Answer of a predict, classify or regress call. Raises ServingError."""
        return self._predict(address, body) if address.method == "predict" else self._run_examples(address, body)

    def status(self, address: Address) -> bytes:
        """State of a model's versions. Like TensorFlow Serving it does not look at a label. Raises ServingError."""
        response = get_model_status_pb2.GetModelStatusResponse()
        for version, state in self._models.statuses(address.name, address.version).items():
            entry = response.model_version_status.add(version=version, state=state.state)
            entry.status.error_code = int(state.code)
            entry.status.error_message = state.message
        return _json_text(response).encode()

    def metadata(self, address: Address) -> bytes:
        """Signatures of a version. Raises ServingError."""
        with self._models.use(address.name, address.version, address.label) as servable:
            definitions = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signature_defs)
            spec = {"name": address.name, "signature_name": "", "version": str(servable.version)}
        signatures = json.loads(_json_text(definitions))
        return json.dumps({"model_spec": spec, "metadata": {"signature_def": signatures}}, indent=1).encode()

    def _predict(self, address: Address, body: bytes) -> bytes:
        with self._models.use(address.name, address.version, address.label) as servable:
            call = parse_predict(body, servable.input_types)
            outputs = self._timed(address, lambda: servable.predict(call.signature_name, call.tensors))
        return predict_answer(outputs, call.by_row)

    def _run_examples(self, address: Address, body: bytes) -> bytes:
        method, call = address.method, parse_examples(body)
        with self._models.use(address.name, address.version, address.label) as servable:
            outputs = self._timed(address, lambda: servable.run_examples(method, call.signature_name, call.examples))
        if method == "classify":
            return classify_answer(outputs[0], outputs[1], len(call.examples))
        return regress_answer(outputs[0], len(call.examples))

    def _timed(self, address: Address, run: Callable[[], _Outputs]) -> _Outputs:
        start = time.monotonic()
        outputs = run()
        self._metrics.count_run(address.name, address.method.capitalize(), time.monotonic() - start)
        return outputs


def _json_text(message: Any) -> str:
    # Snake case where the message says so itself; defaults written out, as TensorFlow Serving does.
    return str(json_format.MessageToJson(message, preserving_proto_field_name=True, indent=1, **_WITH_DEFAULTS))
