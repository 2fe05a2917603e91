"""Warm-up requests: what a server runs on a new version before it answers with it.

The first call of a graph is slow (memory is taken, kernels are set up); after a reload some user would wait for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import classification_pb2, input_pb2, predict_pb2, prediction_log_pb2

from features.raw_requests import RawRequest
from features.schema import Schema
from serving import columnar, raw_examples, saved_model_files
from serving.export_options import WARM_UP_ALL, WARM_UP_NONE
from serving.graph import receivers


def write(version_dir: str, request: RawRequest, schema: Schema, warm_up: str = WARM_UP_ALL) -> None:
    """Writes the file that TensorFlow Serving looks for; the folder `assets.extra` must be there.

    Args:
        version_dir: of the version.
        request: to make the calls of.
        schema: of the request.
        warm_up: one of `export_options.WARM_UPS`. A server with --enable_batching runs warm-up as it runs calls: it
            wants first dimensions to be equal in a record, and those of the columnar signature are not.
    """
    if warm_up == WARM_UP_NONE:
        return
    calls = prediction_logs(request, schema)
    wanted = saved_model_files.SIGNATURES if warm_up == WARM_UP_ALL else saved_model_files.MERGEABLE_SIGNATURES
    path = saved_model_files.extra_file(version_dir, saved_model_files.WARM_UP_FILE)
    with tf.io.TFRecordWriter(path) as writer:
        for signature in wanted:
            writer.write(calls[signature].SerializeToString())


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of a warm-up file.

    Attributes:
        method: predict, classify or regress.
        signature: its name; empty for the default one.
        inputs: value of each input; of classify and regress the serialized Examples, the context in each.
    """

    method: str
    signature: str
    inputs: dict[str, np.ndarray]


def calls(version_dir: str) -> Iterator[Call]:
    """The calls of a version's warm-up file; none where there is none. Raises ValueError for a broken file."""
    path = saved_model_files.extra_file(version_dir, saved_model_files.WARM_UP_FILE)
    return calls_of_file(path) if tf.io.gfile.exists(path) else iter(())


def calls_of_file(path: str) -> Iterator[Call]:
    """The calls of a file of PredictionLog records. Raises ValueError for a broken one."""
    try:
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            yield _call(prediction_log_pb2.PredictionLog.FromString(record))
    except (tf.errors.OpError, DecodeError) as error:
        raise ValueError(f"{path}: no file of PredictionLog records: {error}") from error


def is_columnar(call: Call) -> bool:
    """Whether it is a call of `serving_default`."""
    return call.method == "predict" and call.signature in ("", saved_model_files.SHARED_CONTEXT)


def _call(log: prediction_log_pb2.PredictionLog) -> Call:
    kind = log.WhichOneof("log_type") or "log of no kind"
    if kind == "predict_log":
        request = log.predict_log.request
        inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
    elif kind in ("classify_log", "regress_log"):
        request = getattr(log, kind).request
        inputs = {tf.saved_model.CLASSIFY_INPUTS: _serialized_examples(request.input)}
    else:
        raise ValueError(f"a {kind} cannot be replayed")
    return Call(kind.removesuffix("_log"), request.model_spec.signature_name, inputs)


def _serialized_examples(given: input_pb2.Input) -> np.ndarray:
    """Examples with the context in each: messages one behind the other are read as one."""
    if given.WhichOneof("kind") == "example_list_with_context":
        examples = given.example_list_with_context.examples
        context = given.example_list_with_context.context.SerializeToString()
    else:
        examples, context = given.example_list.examples, b""
    if not examples:
        raise ValueError("Input is empty.")
    return np.array([context + example.SerializeToString() for example in examples], object)


def prediction_logs(request: RawRequest, schema: Schema) -> dict[str, prediction_log_pb2.PredictionLog]:
    """The request as a call of each signature."""
    return {
        saved_model_files.SHARED_CONTEXT: _predict_log(
            saved_model_files.SHARED_CONTEXT, shared_context_tensors(request, schema)
        ),
        saved_model_files.EXAMPLES: _predict_log(saved_model_files.EXAMPLES, examples_tensors(request, schema)),
        saved_model_files.CLASSIFICATION: _classify_log(request, schema),
    }


def examples_tensors(request: RawRequest, schema: Schema) -> dict[str, TensorProto]:
    """The request as the input of `examples`."""
    serialized = raw_examples.serialized_examples(request, schema)
    return {receivers.EXAMPLES_INPUT: tf.make_tensor_proto(serialized, tf.string, [len(serialized)])}


def shared_context_tensors(request: RawRequest, schema: Schema) -> dict[str, TensorProto]:
    """The request as the inputs of `serving_default`."""
    columns = columnar.columnar_inputs(request, schema)
    dtypes = receivers.shared_context_dtypes(schema)
    return {key: tf.make_tensor_proto(columns[key], dtype) for key, dtype in dtypes.items()}


def _predict_log(signature: str, inputs: dict[str, TensorProto]) -> prediction_log_pb2.PredictionLog:
    request = predict_pb2.PredictRequest(inputs=inputs)
    request.model_spec.signature_name = signature
    return prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))


def _classify_log(request: RawRequest, schema: Schema) -> prediction_log_pb2.PredictionLog:
    call = classification_pb2.ClassificationRequest()
    call.model_spec.signature_name = saved_model_files.CLASSIFICATION
    raw_examples.fill(call.input, request, schema)
    return prediction_log_pb2.PredictionLog(classify_log=prediction_log_pb2.ClassifyLog(request=call))
