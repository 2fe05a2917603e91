"""Warm-up requests: what a server runs on a new version before it answers with it, one for each signature.

The first call of a graph is slow (memory is taken, kernels are set up); after a reload some user would wait for it.
"""

from __future__ import annotations

import os

import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import classification_pb2, predict_pb2, prediction_log_pb2

from features import names, raw_requests
from features.raw_requests import RawRequest
from features.schema import Schema
from serving import columnar, raw_examples, saved_model_files
from serving.graph import receivers


def sample_request(vocabulary_dir: str, schema: Schema) -> RawRequest:
    """The largest of the requests that the preprocess job saved; where it saved none, one without any value."""
    path = os.path.join(vocabulary_dir, names.SAMPLE_REQUESTS_FILE)
    if not tf.io.gfile.exists(path):
        return request_without_values(schema)
    with tf.io.gfile.GFile(path, "rb") as file:
        found = raw_requests.from_json(file.read())
    return max(found, key=lambda request: len(request.sample_ids), default=request_without_values(schema))


def request_without_values(schema: Schema) -> RawRequest:
    """One impression that has nothing but missing values."""
    context, impressions = (
        [key for field in fields for key in ([field.name, field.weight_key] if field.weighted else [field.name])]
        for fields in (schema.context_fields, schema.impression_fields)
    )
    return RawRequest([0], {key: [] for key in context}, {key: [[]] for key in impressions})


def write(version_dir: str, request: RawRequest, schema: Schema) -> None:
    """Writes the file that TensorFlow Serving looks for; the folder `assets.extra` must be there."""
    path = saved_model_files.extra_file(version_dir, saved_model_files.WARM_UP_FILE)
    with tf.io.TFRecordWriter(path) as writer:
        for log in prediction_logs(request, schema):
            writer.write(log.SerializeToString())


def prediction_logs(request: RawRequest, schema: Schema) -> list[prediction_log_pb2.PredictionLog]:
    """The request as a call of each signature."""
    serialized = raw_examples.serialized_examples(request, schema)
    examples = {receivers.EXAMPLES_INPUT: tf.make_tensor_proto(serialized, tf.string, [len(serialized)])}
    return [
        _predict_log(saved_model_files.SHARED_CONTEXT, _shared_context_tensors(request, schema)),
        _predict_log(saved_model_files.EXAMPLES, examples),
        _classify_log(request, schema),
    ]


def _shared_context_tensors(request: RawRequest, schema: Schema) -> dict[str, TensorProto]:
    columns = columnar.columnar_inputs(request, schema)
    tensors: dict[str, TensorProto] = {}
    for field in schema.fields:
        for key, dtype in receivers.input_dtypes(field).items():
            tensors[key] = tf.make_tensor_proto(columns[key], dtype)
    return tensors


def _predict_log(signature: str, inputs: dict[str, TensorProto]) -> prediction_log_pb2.PredictionLog:
    request = predict_pb2.PredictRequest(inputs=inputs)
    request.model_spec.signature_name = signature
    return prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))


def _classify_log(request: RawRequest, schema: Schema) -> prediction_log_pb2.PredictionLog:
    call = classification_pb2.ClassificationRequest()
    call.model_spec.signature_name = saved_model_files.CLASSIFICATION
    given = call.input.example_list_with_context
    given.context.CopyFrom(raw_examples.context_example(request, schema))
    places = range(len(request.sample_ids))
    given.examples.extend(raw_examples.impression_example(request, place, schema) for place in places)
    return prediction_log_pb2.PredictionLog(classify_log=prediction_log_pb2.ClassifyLog(request=call))
