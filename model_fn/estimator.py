"""Estimator, whatever TensorFlow is installed: the one place that knows where it comes from.

TensorFlow 2.15 has `tf.estimator`, which is the package tensorflow-estimator. From 2.16 on it is gone from the API, but
the package's pure-Python core still works, since all that it stands on (sessions, hooks, Saver, distribution
strategies, the SavedModel builder) is in every TensorFlow. Missing are two internals that it imports:
`tensorflow.python.distribute.estimator_training` and the API names of `tensorflow.python.util.tf_export`. They are put
in place here before the package's modules are imported; its own `__init__` is passed over, because it imports the
canned estimators, which need Keras 2.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from typing import Any

import tensorflow as tf

_PACKAGE = "tensorflow_estimator"
_BASE = f"{_PACKAGE}.python.estimator"


class _KeptAsItIs:
    """Stands in for the decorator `estimator_export`, which would put a symbol into TensorFlow's API."""

    def __init__(self, *names: str, v1: Any = None) -> None:
        del names, v1

    def __call__(self, symbol: Any) -> Any:
        return symbol

    def export_constant(self, module: str, name: str) -> None:
        """Leaves the constant where it is."""


def _init_run_config(config: Any, tf_config: dict[str, Any]) -> None:
    """What 2.15's `estimator_training.init_run_config` does where no distribute coordinator takes part."""
    if config._train_distribute and tf_config.get("cluster") and "master" not in tf_config["cluster"]:
        raise ValueError(
            "a distribution strategy together with a cluster in TF_CONFIG needs Estimator's distribute coordinator, "
            f"which TensorFlow {tf.__version__} does not have"
        )
    config._distribute_coordinator_mode = None
    config._init_distributed_setting_from_environment_var(tf_config)
    config._maybe_overwrite_session_config_for_distributed_training()


def _put_module(name: str, **members: Any) -> types.ModuleType:
    """A module of these members, found by every import of this name from now on."""
    made = types.ModuleType(name)
    made.__dict__.update(members)
    sys.modules[name] = made
    parent, _, child = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], child, made)
    return made


def _make_importable() -> None:
    """Puts in place what the package's core imports and this TensorFlow no longer has."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ImportError(
            f"TensorFlow {tf.__version__} has no Estimator of its own, and the package that holds it is not installed: "
            "pip install 'tensorflow-estimator>=2.15,<2.16'"
        )
    folder = os.path.dirname(spec.origin)
    for name in (_PACKAGE, f"{_PACKAGE}.python", _BASE):
        _put_module(name).__path__ = [os.path.join(folder, *name.split(".")[1:])]
    _put_module(
        "tensorflow.python.distribute.estimator_training",
        init_run_config=_init_run_config,
        should_run_distribute_coordinator=lambda config: False,
    )
    _put_module(f"{_BASE}.estimator_export", estimator_export=_KeptAsItIs)


if not hasattr(tf, "estimator"):
    _make_importable()

from tensorflow_estimator.python.estimator.estimator import EstimatorV2 as _Estimator  # noqa: E402
from tensorflow_estimator.python.estimator.estimator import VocabInfo, WarmStartSettings  # noqa: E402
from tensorflow_estimator.python.estimator.exporter import Exporter  # noqa: E402
from tensorflow_estimator.python.estimator.hooks.session_run_hook import (  # noqa: E402
    SessionRunArgs,
    SessionRunContext,
    SessionRunHook,
    SessionRunValues,
)
from tensorflow_estimator.python.estimator.mode_keys import ModeKeys  # noqa: E402
from tensorflow_estimator.python.estimator.model_fn import EstimatorSpec  # noqa: E402
from tensorflow_estimator.python.estimator.run_config import RunConfig  # noqa: E402
from tensorflow_estimator.python.estimator.training import EvalSpec, TrainSpec, train_and_evaluate  # noqa: E402

# A metric of a model_fn by this name is what evaluations report as the loss.
WHOLE_LOSS = "whole_loss"
_LOSS = "loss"


class Estimator(_Estimator):
    """Estimator whose evaluations report a loss that the model_fn makes itself, where it makes one.

    The package's own is the mean of the batches' losses, and it allows no other metric of that name.
    """

    def _assert_members_are_not_overridden(self) -> None:
        """Nothing: the package asks who overrides its members to override this check as well."""

    def _call_model_fn_eval(self, input_fn: Any, config: RunConfig) -> tuple[Any, ...]:
        *found, values = super()._call_model_fn_eval(input_fn, config)
        if WHOLE_LOSS in values:
            values[_LOSS] = values.pop(WHOLE_LOSS)
        return (*found, values)


__all__ = [
    "WHOLE_LOSS",
    "Estimator",
    "EstimatorSpec",
    "EvalSpec",
    "Exporter",
    "ModeKeys",
    "RunConfig",
    "SessionRunArgs",
    "SessionRunContext",
    "SessionRunHook",
    "SessionRunValues",
    "TrainSpec",
    "VocabInfo",
    "WarmStartSettings",
    "train_and_evaluate",
]
