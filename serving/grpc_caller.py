"""Calls by gRPC, TensorFlow Serving's other interface: no texts of numbers, and every answer tells its version."""

from __future__ import annotations

import urllib.parse

import grpc
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, model_pb2, predict_pb2, prediction_service_pb2_grpc

from features import names
from features.raw_requests import RawRequest
from features.schema import Schema
from serving import answers, raw_examples, warm_up
from serving.answers import Answer, CallError
from serving.rest_caller import without_password
from serving.saved_model_files import CLASSIFICATION, SHARED_CONTEXT, SIGNATURES

_SECURE, _PLAIN = "grpcs", "grpc"
_DEFAULT_PORT = 8500
# A call of some thousand candidates is above gRPC's usual limit of 4 MB.
_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
_RETRIED = {
    grpc.StatusCode.UNAVAILABLE: CallError.ALWAYS,
    grpc.StatusCode.DEADLINE_EXCEEDED: CallError.ALWAYS,
    grpc.StatusCode.RESOURCE_EXHAUSTED: CallError.ALWAYS,
    grpc.StatusCode.ABORTED: CallError.SOMETIMES,
    grpc.StatusCode.CANCELLED: CallError.SOMETIMES,
    grpc.StatusCode.INTERNAL: CallError.SOMETIMES,
    grpc.StatusCode.UNKNOWN: CallError.SOMETIMES,
    grpc.StatusCode.DATA_LOSS: CallError.SOMETIMES,
}


class GrpcCaller:
    """Sends raw requests to a model. Any thread may call; all share one channel."""

    def __init__(self, url: str, model_name: str, version: int | None, signature: str, schema: Schema) -> None:
        """Makes no connection yet.

        Args:
            url: such as grpc://127.0.0.1:8500, or 127.0.0.1:8500; grpcs:// for TLS.
            model_name: as the server calls it.
            version: number of a version; None: the newest.
            signature: of the model.
            schema: of the requests.

        Raises:
            ValueError: no such address, or no such signature.
        """
        if signature not in SIGNATURES:
            raise ValueError(f"signature {signature!r}: allowed are {', '.join(SIGNATURES)}")
        secure, self._target = _parsed(url)
        self._signature = signature
        self._schema = schema
        self._spec = model_pb2.ModelSpec(name=model_name, signature_name=signature)
        if version is not None:
            self._spec.version.value = version
        credentials = grpc.ssl_channel_credentials()
        self._channel = (
            grpc.secure_channel(self._target, credentials, _OPTIONS)
            if secure
            else grpc.insecure_channel(self._target, _OPTIONS)
        )
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    @property
    def address(self) -> str:
        """What is called."""
        return f"{self._target}, model {self._spec.name}"

    def call(self, request: RawRequest, seconds: float) -> Answer:
        """One attempt, which takes so many seconds at most. Raises CallError."""
        send = self._classify if self._signature == CLASSIFICATION else self._predict
        try:
            scores, spec = send(request, seconds)
        except grpc.RpcError as error:
            problem = f"gRPC status {error.code().name}: {str(error.details())[:1000]}"
            raise CallError(problem, _RETRIED.get(error.code(), CallError.NEVER)) from error
        except (ValueError, LookupError, TypeError) as error:
            raise CallError(f"the answer holds no scores: {error!r:.200}") from error
        version = spec.version.value if spec.HasField("version") else None
        return Answer(answers.checked(scores, len(request.sample_ids)), version)

    def _predict(self, request: RawRequest, seconds: float) -> tuple[answers.Scores, model_pb2.ModelSpec]:
        make = warm_up.shared_context_tensors if self._signature == SHARED_CONTEXT else warm_up.examples_tensors
        call = predict_pb2.PredictRequest(model_spec=self._spec, inputs=make(request, self._schema))
        found = self._stub.Predict(call, timeout=seconds)
        scores = {name: tf.make_ndarray(found.outputs[name]).tolist() for name in names.SCORES}
        return scores, found.model_spec

    def _classify(self, request: RawRequest, seconds: float) -> tuple[answers.Scores, model_pb2.ModelSpec]:
        call = classification_pb2.ClassificationRequest(model_spec=self._spec)
        raw_examples.fill(call.input, request, self._schema)
        found = self._stub.Classify(call, timeout=seconds)
        rows = [[one.score for one in row.classes] for row in found.result.classifications]
        return {name: [row[place] for row in rows] for place, name in enumerate(names.SCORES)}, found.model_spec


def _parsed(url: str) -> tuple[bool, str]:
    """Whether TLS is wanted, and host and port."""
    try:
        server = urllib.parse.urlsplit(url if "://" in url else f"{_PLAIN}://{url}")
        port = server.port or _DEFAULT_PORT
    except ValueError as error:
        raise ValueError(f"server {without_password(url)!r}: {error}") from error
    rest = server.path.rstrip("/") or server.query or server.fragment or server.username
    if server.scheme not in (_PLAIN, _SECURE) or not server.hostname or rest:
        raise ValueError(f"server {without_password(url)!r}: an address such as grpc://127.0.0.1:8500 is needed")
    host = f"[{server.hostname}]" if ":" in server.hostname else server.hostname
    return server.scheme == _SECURE, f"{host}:{port}"
