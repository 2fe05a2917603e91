"""TensorFlow Serving's config files: what they say, and what is said of wrong ones."""

import pytest

from serving.local_server.model_config import ConfigError, ModelConfig, VersionPolicy, read_models, read_monitoring_path

MODELS = """
model_config_list {
  config { name: "a" base_path: "/models/a" model_platform: "tensorflow" }
  config { name: "b" base_path: "/models/b" model_version_policy { latest { num_versions: 2 } } }
  config {
    name: "c" base_path: "/models/c"
    model_version_policy { specific { versions: 3 versions: 7 } }
    version_labels { key: "stable" value: 3 }
  }
  config { name: "d" base_path: "/models/d" model_version_policy { all {} } }
}
"""


def written(tmp_path, text):
    path = tmp_path / "file.config"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_models_policies_and_labels(tmp_path):
    assert read_models(written(tmp_path, MODELS)) == [
        ModelConfig("a", "/models/a"),
        ModelConfig("b", "/models/b", VersionPolicy(2)),
        ModelConfig("c", "/models/c", VersionPolicy(specific=frozenset({3, 7})), {"stable": 3}),
        ModelConfig("d", "/models/d", VersionPolicy(0)),
    ]


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        (VersionPolicy(), [9]),
        (VersionPolicy(2), [9, 5]),
        (VersionPolicy(0), [9, 5, 1]),
        (VersionPolicy(specific=frozenset({1, 2})), [1]),
    ],
)
def test_policies_choose_newest_first(policy, chosen):
    assert policy.chosen([1, 9, 5]) == chosen


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no model in it"),
        (b"\xff", "no text in UTF-8"),
        ("model_config_list {\n  config { nome: 'a' }\n}", "line 2: no ModelServerConfig in text format"),
        ('model_config_list { config { name: "a" } }', "needs name and base_path"),
        ('model_config_list { config { name: "a" base_path: "/a" model_platform: "torch" } }', "'torch'"),
        (
            'model_config_list { config { name: "a" base_path: "/a" } config { name: "a" base_path: "/b" } }',
            "a occurs twice",
        ),
    ],
)
def test_wrong_model_configs_are_named(tmp_path, text, message):
    with pytest.raises(ConfigError) as raised:
        read_models(written(tmp_path, text))
    assert message in str(raised.value) and "file.config" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('prometheus_config { enable: true path: "/metrics" }', "/metrics"),
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ('prometheus_config { path: "/metrics" }', ""),
        ("", ""),
    ],
)
def test_path_of_the_metrics(tmp_path, text, path):
    assert read_monitoring_path(written(tmp_path, text)) == path


def test_wrong_monitoring_configs_are_named(tmp_path):
    with pytest.raises(ConfigError, match="must begin with /"):
        read_monitoring_path(written(tmp_path, 'prometheus_config { enable: true path: "metrics" }'))
    with pytest.raises(ConfigError, match="line 1: no MonitoringConfig"):
        read_monitoring_path(written(tmp_path, "prometheus { }"))
