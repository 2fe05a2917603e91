"""The page on TensorFlow Serving: its JSON bodies are answered, and its configuration files are what servers read."""

import base64
import json
import os
import re
import subprocess

import numpy as np
import pytest
import tensorflow as tf
import yaml
from google.protobuf import text_format
from local_server_examples import running_server, write_toy_model
from served_model_examples import make_trained
from tensorflow_serving.config import model_server_config_pb2

from features import names, schema_file
from features.vocabulary import Vocabulary
from serving.local_server import metrics, model_config, predict_json
from serving.local_server.examples_json import parse_examples
from serving.local_server.servable import Servable
from serving.local_server.status import Code

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
    np.testing.assert_allclose(
        servable.run_examples("classify", call.signature_name, call.examples)[1], scores, atol=1e-6
    )


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


FOLDER = os.path.join(REPOSITORY, "serving")


def read(name):
    with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
        return file.read()


def flags_of(arguments):
    return dict(argument.removeprefix("--").partition("=")[::2] for argument in arguments)


def test_configuration_files():
    (model,) = model_config.read_models(os.path.join(FOLDER, "models.config"))
    assert (model.name, model.base_path, model.policy.latest) == ("esmm", "/models/esmm", 2)
    assert not model.labels  # a server with labels and without the flag does not start
    path = model_config.read_monitoring_path(os.path.join(FOLDER, "monitoring.config"))
    assert path == "/monitoring/prometheus/metrics"
    service = yaml.safe_load(read("compose.yaml"))["services"]["serving"]
    assert service["image"] == "tensorflow/serving:2.15.1"
    mounted = {volume.split(":")[-2] for volume in service["volumes"]}
    flags = flags_of(service["command"])
    for flag in ("model_config_file", "monitoring_config_file"):
        assert flags[flag] in mounted
        assert os.path.exists(os.path.join(FOLDER, os.path.basename(flags[flag])))
    assert "AVAILABLE" in service["healthcheck"]["test"][-1]


def test_labels_name_versions_that_are_loaded_and_the_flag_that_they_need():
    (model,) = model_config.read_models(os.path.join(FOLDER, "models_with_labels.config"))
    assert set(model.labels.values()) == model.policy.specific
    assert "--allow_version_labels_for_unavailable_models" in read("models_with_labels.config")


def test_kubernetes_manifests():
    config, deployment, service = yaml.safe_load_all(read("kubernetes.yaml"))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    flags = flags_of(container["args"])
    folder = next(mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "config")
    for flag in ("model_config_file", "monitoring_config_file"):
        assert os.path.dirname(flags[flag]) == folder and os.path.basename(flags[flag]) in config["data"]
    assert "allow_version_labels_for_unavailable_models" in flags
    labels = text_format.Parse(config["data"]["models.config"], model_server_config_pb2.ModelServerConfig())
    (model,) = labels.model_config_list.config
    assert set(model.version_labels.values()) == set(model.model_version_policy.specific.versions)
    path = container["readinessProbe"]["httpGet"]["path"]
    assert path == f"/v1/models/{model.name}/labels/stable/metadata" and "stable" in model.version_labels
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} == ports


@pytest.fixture(scope="module")
def answering(tmp_path_factory):
    """A server that has a model esmm with a label and one without a version."""
    folder = tmp_path_factory.mktemp("manifests")
    write_toy_model(str(folder / "esmm" / "7"))
    (folder / "empty").mkdir()
    models = (
        f'config {{ name: "{name}" base_path: "{folder / base}" version_labels {{ key: "stable" value: 7 }} }}'
        for name, base in (("esmm", "esmm"), ("none", "empty"))
    )
    (folder / "models.config").write_text(f"model_config_list {{ {' '.join(models)} }}")
    flags = f"--monitoring_config_file={FOLDER}/monitoring.config", "--rest_api_timeout_in_ms=5000"
    with running_server(f"--model_config_file={folder / 'models.config'}", *flags) as server:
        yield server


def test_probes_mean_that_a_version_answers(answering):
    """Of Kubernetes by the status of a path, of compose by a command."""
    _, deployment, _ = yaml.safe_load_all(read("kubernetes.yaml"))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    kind, *command = yaml.safe_load(read("compose.yaml"))["services"]["serving"]["healthcheck"]["test"]
    assert kind == "CMD"
    for name, ready in (("esmm", True), ("none", False)):
        for probe in ("startupProbe", "readinessProbe"):
            path = container[probe]["httpGet"]["path"].replace("esmm", name)
            assert (answering.call("GET", path)[0] == 200) == ready
        asked = [part.replace("8501", str(answering.address.port)).replace("esmm", name) for part in command]
        assert (subprocess.run(asked, check=False).returncode == 0) == ready
    path = deployment["spec"]["template"]["metadata"]["annotations"]["prometheus.io/path"]
    assert answering.call("GET", path)[0] == 200


def test_metrics_of_dashboard_and_alerts_are_those_that_servers_have(servable):
    counted = metrics.Metrics()
    counted.count_request("esmm", "predict", Code.OK, 0.01)
    counted.count_run("esmm", "predict", 0.01)
    counted.count_load("/models/esmm/1", Code.OK, 1.0)
    there = {line.split("{")[0] for line in counted.text().splitlines() if line.startswith(":")}
    dashboard, alerts = read("grafana_dashboard.json"), read("alerts.yaml")
    rules = [rule for group in yaml.safe_load(alerts)["groups"] for rule in group["rules"]]
    expressions = [target["expr"] for panel in json.loads(dashboard)["panels"] for target in panel["targets"]]
    for expression in expressions + [rule["expr"] for rule in rules]:
        asked = re.findall(r'__name__="([^"]+)"', expression)
        assert asked and set(asked) <= there, expression
    assert all(rule["annotations"]["summary"] and rule["annotations"]["action"] for rule in rules)


def test_batching_is_never_set_to_copy_rows():
    settings = [line for line in read("batching_parameters.txt").splitlines() if not line.startswith("#")]
    assert settings[0] == "max_batch_size { value: 1024 }" and not any(
        "allowed_batch_sizes" in line for line in settings
    )
