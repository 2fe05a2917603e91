"""The flags: one for each setting of `Options` and `Hyperparameters`. Nothing else reads flags.

A flag's bounds, choices and group stand in its field's metadata (`model_fn.settings`). To absl a group is the module
that defines the flag, which is how its help comes in groups.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from absl import flags

from model_fn import settings
from model_fn.hyperparameters import Hyperparameters
from trainer.options import Options

_SETTINGS = (Options, Hyperparameters)
# What a search is, and what its trials must not be told.
_OF_SEARCH = ("task_type", "model_dir", "search", "trials", "tune_processes", "report")


@functools.cache
def define() -> None:
    """Defines the flags, once in a process."""
    for kind in _SETTINGS:
        for field in dataclasses.fields(kind):
            _define(field)


def _define(field: dataclasses.Field) -> None:
    name, default, text = field.name, field.default, field.metadata["help"]
    group = {"module_name": field.metadata["group"]}
    if field.metadata["choices"]:
        flags.DEFINE_enum(name, default, field.metadata["choices"], text, **group)
    elif isinstance(default, bool):
        flags.DEFINE_bool(name, default, text, **group)
    elif isinstance(default, int):
        flags.DEFINE_integer(name, default, text, **group)
    elif isinstance(default, float):
        flags.DEFINE_float(name, default, text, **group)
    else:
        words = ",".join(map(str, default)) if isinstance(default, tuple) else default
        flags.DEFINE_string(name, words, text, **group)


def help_text() -> str:
    """Every flag with its default, in groups."""
    every = "\n".join(flags.FLAGS.module_help(group) for group in settings.groups(*_SETTINGS))
    return f"{every}\n--flagfile=FILE reads flags from a file; --helpfull also lists those of all absl commands.\n"


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
    return {name: getattr(values, name) for name in _given(Hyperparameters)}


def given_flags() -> list[str]:
    """The flags that the command line or a flagfile gives, as a command takes them, but for those of the search."""
    names = [name for kind in _SETTINGS for name in _given(kind) if name not in _OF_SEARCH]
    return [f"--{name}={_as_text(flags.FLAGS[name].value)}" for name in names]


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def without_effect() -> list[str]:
    """A line for each flag that is given and that the task, or other flags, leave unread."""
    return settings.without_effect(options(), _given(Options))


def _given(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if flags.FLAGS[field.name].present]
