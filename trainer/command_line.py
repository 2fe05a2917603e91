"""The flags: one for each setting of `Options` and `Hyperparameters`. Nothing else reads flags."""

from __future__ import annotations

import dataclasses
from typing import Any

from absl import flags

from model_fn.hyperparameters import Hyperparameters
from trainer.options import Options

_SETTINGS = (Options, Hyperparameters)


def define() -> None:
    """Defines the flags."""
    for settings in _SETTINGS:
        for field in dataclasses.fields(settings):
            _define(field)


def _define(field: dataclasses.Field) -> None:
    name, default, text = field.name, field.default, field.metadata["help"]
    if field.metadata["choices"]:
        flags.DEFINE_enum(name, default, field.metadata["choices"], text)
    elif isinstance(default, bool):
        flags.DEFINE_bool(name, default, text)
    elif isinstance(default, int):
        flags.DEFINE_integer(name, default, text)
    elif isinstance(default, float):
        flags.DEFINE_float(name, default, text)
    else:
        flags.DEFINE_string(name, ",".join(map(str, default)) if isinstance(default, tuple) else default, text)


def options() -> Options:
    """The flags that are no hyper-parameters."""
    return Options(**{field.name: flags.FLAGS[field.name].value for field in dataclasses.fields(Options)})


def hyperparameters() -> Hyperparameters:
    """The flags that are hyper-parameters."""
    return Hyperparameters(
        **{field.name: flags.FLAGS[field.name].value for field in dataclasses.fields(Hyperparameters)}
    )


def given_hyperparameters() -> dict[str, Any]:
    """The hyper-parameters that the command line or a flagfile names, with their values."""
    values = hyperparameters()
    names = (field.name for field in dataclasses.fields(Hyperparameters))
    return {name: getattr(values, name) for name in names if flags.FLAGS[name].present}
