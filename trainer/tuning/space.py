"""The file of --search: which settings are chosen, and among what."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from optuna import distributions

import storage
from model_fn.hyperparameters import Hyperparameters
from trainer.options import Options

Space = dict[str, distributions.BaseDistribution]

# Of how training reads; whatever is no property of the model or its reading is no part of a search.
_READING = ("batch_size", "num_epochs", "max_steps", "max_impressions_per_context")
_RANGE_KEYS = {"low", "high", "log", "step"}


class SearchError(ValueError):
    """A file of --search that cannot be used; the message names file, setting and value."""


def read(path: str) -> Space:
    """The settings of a file, each with what may be chosen.

    A list is choices, `{low: 1, high: 4}` a range of whole or of other numbers by the setting's type, `log: true`
    spreads it by orders of magnitude, `step` gives its grid.

    Raises:
        SearchError: see there.
    """
    try:
        found = yaml.safe_load(storage.read(path))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise SearchError(f"--search={path}: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict) or not found:
        raise SearchError(f"--search={path}: settings are needed, as in learning_rate: {{low: 0.0001, high: 0.01}}")
    return {str(name): _distribution(path, str(name), value) for name, value in found.items()}


def _distribution(path: str, name: str, value: Any) -> distributions.BaseDistribution:
    default = defaults().get(name)
    if default is None:
        raise SearchError(
            f"--search={path}: {name} is no setting that can be searched; these are {', '.join(defaults())}"
        )
    if isinstance(value, list) and value:
        return distributions.CategoricalDistribution([_as_flag(one) for one in value])
    if not isinstance(value, dict) or not {"low", "high"} <= value.keys() <= _RANGE_KEYS:
        raise SearchError(
            f"--search={path}: {name}: {value!r}: a list of choices is needed, or low and high, with log or step"
        )
    if isinstance(default, bool) or not isinstance(default, int | float):
        raise SearchError(f"--search={path}: {name} is no number: give a list of choices")
    try:
        return _range(value, whole=isinstance(default, int))
    except (TypeError, ValueError) as error:
        raise SearchError(f"--search={path}: {name}: {value!r}: {error}") from error


def _range(value: Mapping[str, Any], whole: bool) -> distributions.BaseDistribution:
    kind = int if whole else float
    # YAML takes 1e-4 for a text.
    low, high = (kind(value[end]) for end in ("low", "high"))
    log, step = bool(value.get("log", False)), value.get("step")
    if not low < high or not math.isfinite(low) or not math.isfinite(high):
        raise ValueError("low must be less than high")
    if log and low <= 0:
        raise ValueError("low must be more than 0 where log is true")
    if whole:
        return distributions.IntDistribution(int(low), int(high), log, 1 if step is None else int(step))
    return distributions.FloatDistribution(low, high, log, None if step is None else float(step))


def defaults() -> dict[str, Any]:
    """Every setting that can be searched, with its default."""
    model = {field.name: field.default for field in dataclasses.fields(Hyperparameters)}
    reading = {field.name: field.default for field in dataclasses.fields(Options) if field.name in _READING}
    return model | reading


def _as_flag(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def check(space: Space, path: str, settings: Hyperparameters) -> None:
    """Refuses what no model could be trained with, before any is.

    Args:
        space: of the search.
        path: its file, for the message.
        settings: of the command, in which each setting's values are put one by one.

    Raises:
        SearchError: a value is not allowed.
    """
    fields = {field.name: field for field in dataclasses.fields(Hyperparameters)}
    for name, value in ((name, value) for name, chosen in space.items() for value in _extremes(chosen)):
        if name not in fields:
            continue
        try:
            dataclasses.replace(settings, **{name: typed(fields[name].default, value)})
        except ValueError as error:
            raise SearchError(f"--search={path}: {error}") from error


def typed(default: Any, value: Any) -> Any:
    """A chosen value in the type of the setting; one that is none stays, and is refused where it is used."""
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[str(value)]
        return type(default)(value) if isinstance(default, int | float) else value
    except (KeyError, ValueError):
        return value


def _extremes(chosen: distributions.BaseDistribution) -> Iterator[Any]:
    if isinstance(chosen, distributions.CategoricalDistribution):
        yield from chosen.choices
    elif isinstance(chosen, distributions.FloatDistribution | distributions.IntDistribution):
        yield from (chosen.low, chosen.high)
