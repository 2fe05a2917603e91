"""The client by gRPC, against a small server of TensorFlow Serving's own proto that runs an exported model."""

import concurrent.futures

import grpc
import numpy as np
import pytest
import tensorflow as tf
from served_model_examples import Reference, Served, make_trained, make_vocabulary, mixed_schema, random_raw_requests
from tensorflow_serving.apis import classification_pb2, predict_pb2, prediction_service_pb2_grpc

from features import names
from serving import saved_model_files
from serving.client import GRPC, ClientOptions, ScoringClient, ScoringError
from serving.patience import Patience

pytestmark = pytest.mark.commands

SCHEMA = mixed_schema()
REQUESTS = random_raw_requests(SCHEMA, 6)


class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Fails as often as it is told, then answers."""

    def __init__(self, served):
        self.served = served
        self.failures, self.calls = [], 0
        self.spoilt = None

    def _begin(self, request, context):
        self.calls += 1
        if self.failures:
            context.abort(*self.failures.pop(0))
        if request.model_spec.name != "mixed":
            context.abort(
                grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({request.model_spec.name})"
            )

    def Predict(self, request, context):
        self._begin(request, context)
        signature = request.model_spec.signature_name
        tensors = {key: tf.constant(tf.make_ndarray(proto)) for key, proto in request.inputs.items()}
        answer = predict_pb2.PredictResponse()
        answer.model_spec.version.value = request.model_spec.version.value or 7
        for name, scores in self.served.signatures[signature](**tensors).items():
            values = scores.numpy() if self.spoilt is None else np.full(scores.shape, self.spoilt, np.float32)
            answer.outputs[name].CopyFrom(tf.make_tensor_proto(values))
        return answer

    def Classify(self, request, context):
        self._begin(request, context)
        given = request.input.example_list_with_context
        found = self.served.classification(
            [given.context.SerializeToString() + example.SerializeToString() for example in given.examples]
        )
        answer = classification_pb2.ClassificationResponse()
        answer.model_spec.version.value = 7
        for row in zip(*(found[name] for name in names.SCORES), strict=True):
            classes = answer.result.classifications.add()
            for score in row:
                classes.classes.add(score=score)
        return answer


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grpc")
    trained = make_trained(str(folder / "trained"), make_vocabulary(SCHEMA))
    service = Service(Served(trained.export(str(folder / "export")), SCHEMA))
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield service, f"grpc://127.0.0.1:{port}", Reference(trained)
    server.stop(None)


@pytest.fixture(autouse=True)
def fresh(running):
    running[0].failures, running[0].calls, running[0].spoilt = [], 0, None


def client(url, model="mixed", **options):
    patience = Patience(backoff_seconds=0.001, attempts=3, outage_seconds=options.pop("outage_seconds", 20.0))
    return ScoringClient(url, model, SCHEMA, ClientOptions(protocol=GRPC, patience=patience, **options))


@pytest.mark.parametrize("signature", saved_model_files.SIGNATURES)
def test_scores_are_those_of_training(running, signature):
    _, url, reference = running
    expected = reference.scores(REQUESTS)
    scored = list(client(url, signature=signature).score_all(REQUESTS))
    assert [one.request for one in scored] == REQUESTS and {one.version for one in scored} == {7}
    for name in names.SCORES:
        found = np.concatenate([one.scores[name] for one in scored])
        np.testing.assert_allclose(found, expected[name], atol=1e-6)


def test_a_version_that_is_asked_for_is_named_in_the_call(running):
    (scored,) = client(running[1].removeprefix("grpc://"), version=3).score_all(REQUESTS[:1])
    assert scored.version == 3


@pytest.mark.parametrize("status", ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"])
def test_a_server_that_is_away_or_busy_is_tried_again(running, status):
    running[0].failures = [(grpc.StatusCode[status], "busy")] * 5
    assert client(running[1]).score(REQUESTS[0])
    assert running[0].calls == 6


@pytest.mark.parametrize("status", ["INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "UNIMPLEMENTED"])
def test_a_refused_call_is_not(running, status):
    running[0].failures = [(grpc.StatusCode[status], "so it is")] * 5
    with pytest.raises(ScoringError, match=f"sample_id 0.*gRPC status {status}: so it is"):
        client(running[1]).score(REQUESTS[0])
    assert running[0].calls == 1


def test_a_model_that_is_not_there_is_named(running):
    with pytest.raises(ScoringError, match=r"model other: gRPC status NOT_FOUND: .*Latest\(other\)"):
        client(running[1], "other").score(REQUESTS[0])


@pytest.mark.parametrize("odd", [np.nan, 1.5, -0.5])
def test_an_answer_that_is_no_scores_is_an_error_of_its_request(running, odd):
    running[0].spoilt = odd
    with pytest.raises(ScoringError, match=r"sample_id 0.*not a finite number from 0 to 1"):
        client(running[1]).score(REQUESTS[0])


def test_a_server_that_never_answers_is_named(running):
    with pytest.raises(ScoringError, match="UNAVAILABLE"):
        client("grpc://127.0.0.1:1", outage_seconds=0.0, timeout_seconds=2.0).score(REQUESTS[0])
