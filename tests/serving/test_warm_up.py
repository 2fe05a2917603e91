import os

import numpy as np
import pytest
import tensorflow as tf
from served_model_examples import (
    Reference,
    Served,
    make_trained,
    make_vocabulary,
    mixed_schema,
    random_raw_requests,
)
from tensorflow_serving.apis import prediction_log_pb2

from features import names, raw_requests
from serving import export_options, saved_model_files

SCHEMA = mixed_schema()


def logs_of(version_dir):
    path = saved_model_files.extra_file(version_dir, saved_model_files.WARM_UP_FILE)
    records = tf.data.TFRecordDataset(path).as_numpy_iterator()
    return [prediction_log_pb2.PredictionLog.FromString(record) for record in records]


def save_requests(trained, requests):
    with open(f"{trained.vocabulary_dir}/{names.SAMPLE_REQUESTS_FILE}", "w", encoding="utf-8") as file:
        file.write(raw_requests.to_json(requests))


@pytest.fixture(scope="module")
def warmed(tmp_path_factory):
    """A version whose warm-up is made of sample requests: those requests, their scores, the version, its path."""
    folder = tmp_path_factory.mktemp("warm_up")
    trained = make_trained(str(folder / "trained"), make_vocabulary(SCHEMA))
    requests = random_raw_requests(SCHEMA, 4)
    save_requests(trained, requests)
    path = trained.export(str(folder / "export"), sample_request="log")
    largest = max(requests, key=lambda request: len(request.sample_ids))
    return Reference(trained).scores([largest]), Served(path, SCHEMA), path


def test_one_request_for_each_signature(warmed):
    logs = logs_of(warmed[2])
    assert [log.WhichOneof("log_type") for log in logs] == ["predict_log", "predict_log", "classify_log"]
    signatures = [getattr(log, log.WhichOneof("log_type")).request.model_spec.signature_name for log in logs]
    assert tuple(signatures) == saved_model_files.SIGNATURES


def test_the_model_answers_its_warm_up(warmed):
    """As TensorFlow Serving runs them: the tensors of predict, and context and examples merged for classify."""
    expected, served, path = warmed
    shared, examples, classify = logs_of(path)
    tensors = {key: tf.constant(tf.make_ndarray(p)) for key, p in shared.predict_log.request.inputs.items()}
    found = served.signatures[saved_model_files.SHARED_CONTEXT](**tensors)
    for name in names.SCORES:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)
    serialized = tf.make_ndarray(examples.predict_log.request.inputs["examples"])
    given = classify.classify_log.request.input.example_list_with_context
    context = given.context.SerializeToString()
    merged = [context + example.SerializeToString() for example in given.examples]
    for scores in (served.examples(list(serialized)), served.classification(merged)):
        for name in names.SCORES:
            np.testing.assert_allclose(scores[name], expected[name], atol=1e-6)


def first_dimensions(log):
    """Of the inputs of a predict record; of a classify record, whose examples are one input, just one."""
    if log.WhichOneof("log_type") == "classify_log":
        return {len(log.classify_log.request.input.example_list_with_context.examples)}
    return {tuple(tf.make_ndarray(proto).shape)[:1] for proto in log.predict_log.request.inputs.values()}


def test_a_file_for_batching_servers_has_records_of_equal_first_dimensions_alone(tmp_path):
    """A batching session refuses a record of unequal ones, and with it the version."""
    trained = make_trained(str(tmp_path / "trained"), make_vocabulary(SCHEMA))
    save_requests(trained, random_raw_requests(SCHEMA, 4))
    dimensions = {}
    for kind in export_options.WARM_UPS:
        path = trained.export(str(tmp_path / kind), warm_up=kind)
        there = os.path.exists(saved_model_files.extra_file(path, saved_model_files.WARM_UP_FILE))
        dimensions[kind] = [len(first_dimensions(log)) for log in logs_of(path)] if there else None
    assert dimensions["all"][0] > 1 and dimensions["all"][1:] == [1, 1]
    assert dimensions["examples"] == [1, 1]
    assert dimensions["none"] is None
