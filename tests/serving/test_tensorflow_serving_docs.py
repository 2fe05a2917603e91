"""The page on TensorFlow Serving: its JSON bodies are answered, and its configuration files are what servers read."""

import base64
import json
import os
import re

import numpy as np
import pytest
import tensorflow as tf
import yaml
from served_model_examples import make_trained

from features import names, schema_file
from features.vocabulary import Vocabulary
from serving.local_server import model_config, predict_json
from serving.local_server.examples_json import parse_examples
from serving.local_server.servable import Servable

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCHEMA = schema_file.load(names.ALICCP)


def bodies():
    with open(os.path.join(REPOSITORY, "docs", "tensorflow-serving.md"), encoding="utf-8") as file:
        found = re.findall(r"```json\n(.*?)```", file.read(), re.DOTALL)
    return dict(zip(("columns", "classify", "examples"), found, strict=True))


def ids_of(body):
    """All ids of the columnar body but padding."""
    inputs = json.loads(body)["inputs"]
    found = {i for key, value in inputs.items() if "/" not in key for i in np.ravel(value).astype(np.int64).tolist()}
    return np.array(sorted(found - {names.PADDING_ID}))


@pytest.fixture(scope="module")
def servable(tmp_path_factory):
    keys = ids_of(bodies()["columns"])[1:]
    vocabulary = Vocabulary(SCHEMA, keys, np.arange(len(keys), dtype=np.int32) + SCHEMA.reserved_ids)
    folder = tmp_path_factory.mktemp("docs")
    path = make_trained(str(folder / "trained"), vocabulary).export(str(folder / "export"))
    return Servable("esmm", 1, path)


def predict(servable, body):
    call = predict_json.parse_predict(body.encode(), servable.input_types)
    found = servable.predict(call.signature_name, call.tensors)
    return np.stack([found[name] for name in names.SCORES], 1)


def test_the_bodies_of_the_page_are_answered_alike(servable):
    page = bodies()
    scores = predict(servable, page["columns"])
    assert scores.shape == (2, 3)
    assert np.abs(scores[0] - scores[1]).max() > 1e-3
    np.testing.assert_allclose(predict(servable, page["examples"]), scores, atol=1e-6)
    call = parse_examples(page["classify"].encode())
    np.testing.assert_allclose(servable.classify(call.signature_name, call.examples)[1], scores, atol=1e-6)


def test_the_columns_of_the_page_are_all_inputs_of_the_signature(servable):
    inputs = json.loads(bodies()["columns"])["inputs"]
    assert inputs.keys() == servable.signatures["serving_default"].inputs.keys()


def test_the_serialized_examples_of_the_page_are_its_json(servable):
    page = bodies()
    classify = json.loads(page["classify"])
    for row, expected in zip(json.loads(page["examples"])["instances"], classify["examples"], strict=True):
        example = tf.train.Example.FromString(base64.b64decode(row["b64"]))
        found = {}
        for key, feature in example.features.feature.items():
            found[key] = list(getattr(feature, feature.WhichOneof("kind")).value)
        assert found.keys() == (classify["context"] | expected).keys()
        for key, values in (classify["context"] | expected).items():
            np.testing.assert_allclose(found[key], values, rtol=1e-6)


def test_configuration_files():
    folder = os.path.join(REPOSITORY, "serving")
    (model,) = model_config.read_models(os.path.join(folder, "models.config"))
    assert (model.name, model.base_path, model.policy.latest) == ("esmm", "/models/esmm", 2)
    path = model_config.read_monitoring_path(os.path.join(folder, "monitoring.config"))
    assert path == "/monitoring/prometheus/metrics"
    with open(os.path.join(folder, "compose.yaml"), encoding="utf-8") as file:
        service = yaml.safe_load(file)["services"]["serving"]
    assert service["image"] == "tensorflow/serving:2.15.1"
    mounted = {volume.split(":")[-2] for volume in service["volumes"]}
    for flag in ("--model_config_file", "--monitoring_config_file"):
        (value,) = [part.split("=")[1] for part in service["command"] if part.startswith(flag + "=")]
        assert value in mounted
        assert os.path.exists(os.path.join(folder, os.path.basename(value)))
