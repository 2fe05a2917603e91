"""Which models to serve, and which of their versions: TensorFlow Serving's own config files, as dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format  # type: ignore[import-untyped]
from tensorflow_serving.config import model_server_config_pb2

# TensorFlow Serving's, used where its config says no other.
DEFAULT_MONITORING_PATH = "/monitoring/prometheus/metrics"
_PLATFORMS = ("", "tensorflow")


class ConfigError(ValueError):
    """A config file that cannot be used: which, where in it, and why."""


@dataclasses.dataclass(frozen=True)
class VersionPolicy:
    """Which versions to serve: the `latest` so many, those in `specific`, or (latest 0, specific empty) all."""

    latest: int = 1
    specific: frozenset[int] = frozenset()

    def chosen(self, versions: Iterable[int]) -> list[int]:
        """The versions to serve of those that there are, the newest first."""
        newest_first = sorted(versions, reverse=True)
        if self.specific:
            return [version for version in newest_first if version in self.specific]
        return newest_first[: self.latest] if self.latest else newest_first


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A model to serve.

    Attributes:
        name: in URLs.
        base_path: folder of numbered version folders.
        policy: which of these to serve.
        labels: names of versions, for URLs.
    """

    name: str
    base_path: str
    policy: VersionPolicy = VersionPolicy()
    labels: dict[str, int] = dataclasses.field(default_factory=dict)


def read_models(path: str) -> list[ModelConfig]:
    """Models of a `--model_config_file` (ModelServerConfig in text format). Raises ConfigError, OSError."""
    proto = _parse(path, model_server_config_pb2.ModelServerConfig())
    if not proto.model_config_list.config:
        raise ConfigError(f"{path}: no model in it; it needs model_config_list {{ config {{ name base_path }} }}")
    models = [_model(path, config) for config in proto.model_config_list.config]
    names = [model.name for model in models]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{path}: model {', '.join(twice)} occurs twice")
    return models


def read_monitoring_path(path: str) -> str:
    """Path of the metrics in a `--monitoring_config_file`; empty where it does not enable them."""
    prometheus = _parse(path, _monitoring_config()).prometheus_config
    if not prometheus.enable:
        return ""
    if prometheus.path and not prometheus.path.startswith("/"):
        raise ConfigError(f"{path}: path {prometheus.path!r}: it must begin with /")
    return str(prometheus.path) or DEFAULT_MONITORING_PATH


def _monitoring_config() -> Any:
    """An empty MonitoringConfig: the Python package of TensorFlow Serving's API leaves this message out."""
    package = "tensorflow.serving"
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="monitoring_config.proto", package=package, syntax="proto3")
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, type=kinds.TYPE_BOOL, label=kinds.LABEL_OPTIONAL)
    prometheus.field.add(name="path", number=2, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    monitoring = file.message_type.add(name="MonitoringConfig")
    type_name = f".{package}.PrometheusConfig"
    monitoring.field.add(
        name="prometheus_config", number=1, type=kinds.TYPE_MESSAGE, label=kinds.LABEL_OPTIONAL, type_name=type_name
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.MonitoringConfig"))()


def _parse(path: str, proto: Any) -> Any:
    try:
        with open(path, encoding="utf-8") as file:
            return text_format.Parse(file.read(), proto)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: no text in UTF-8: {error}") from error
    except text_format.ParseError as error:
        kind = proto.DESCRIPTOR.name
        raise ConfigError(f"{path}, line {error.GetLine()}: no {kind} in text format: {error}") from error


def _model(path: str, config: Any) -> ModelConfig:
    if not config.name or not config.base_path:
        raise ConfigError(f"{path}: a model needs name and base_path; found {text_format.MessageToString(config)!r}")
    if config.model_platform not in _PLATFORMS:
        problem = f"model_platform {config.model_platform!r}: only tensorflow is served"
        raise ConfigError(f"{path}: model {config.name}: {problem}")
    labels = dict(config.version_labels)
    return ModelConfig(config.name, config.base_path, _policy(config.model_version_policy), labels)


def _policy(policy: Any) -> VersionPolicy:
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return VersionPolicy(latest=0)
    if choice == "specific":
        return VersionPolicy(specific=frozenset(policy.specific.versions))
    return VersionPolicy(latest=policy.latest.num_versions or 1)
