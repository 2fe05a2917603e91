"""The settings that a model_dir keeps: evaluation, inference and export need none and cannot contradict them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from model_fn.hyperparameters import Hyperparameters
from trainer.data_dir import DataDir, read_bytes

HYPERPARAMETERS_FILE = "hyperparameters.json"
DATA_FILE = "data.json"
CHECKPOINT_FILE = "checkpoint"


class ContradictionError(ValueError):
    """A flag or a data_dir that does not fit the model in model_dir."""


def saved_hyperparameters(model_dir: str) -> Hyperparameters | None:
    """Settings of the model in the folder, None if there is none.

    Raises:
        ValueError: the file is damaged.
    """
    path = os.path.join(model_dir, HYPERPARAMETERS_FILE)
    if not tf.io.gfile.exists(path):
        return None
    try:
        return Hyperparameters.from_json(read_bytes(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def trained_hyperparameters(model_dir: str, given: Mapping[str, Any], data: DataDir) -> Hyperparameters:
    """Settings of the model that is to be used.

    Args:
        model_dir: of a trained model.
        given: settings that the command names.
        data: what the model is to be used on.

    Raises:
        ContradictionError: `given` or `data` do not fit.
        ValueError: no trained model there.
    """
    saved = saved_hyperparameters(model_dir)
    if saved is None or tf.train.latest_checkpoint(model_dir) is None:
        raise ValueError(f"--model_dir={model_dir}: no trained model there; run --task_type=train first")
    refuse_contradiction(model_dir, saved, given)
    refuse_other_data(model_dir, data)
    return saved


def refuse_contradiction(model_dir: str, saved: Hyperparameters, given: Mapping[str, Any]) -> None:
    """Raises ContradictionError where a setting differs from the saved one."""
    for name, value in given.items():
        kept = getattr(saved, name)
        if value != kept:
            path = os.path.join(model_dir, HYPERPARAMETERS_FILE)
            raise ContradictionError(
                f"--{name}={_as_flag(value)}, but the model was made with {_as_flag(kept)} ({path}); leave the flag "
                "out, or train another model with another --model_dir or --clear_existing_model"
            )


def refuse_other_data(model_dir: str, data: DataDir) -> None:
    """Raises ContradictionError where the model was made for another schema or vocabulary."""
    path = os.path.join(model_dir, DATA_FILE)
    if not tf.io.gfile.exists(path):
        return
    saved, found = json.loads(read_bytes(path)), data.description()
    for key, value in found.items():
        if saved.get(key) != value:
            values = "" if key == "schema" else f" ({value}, there {saved.get(key)})"
            raise ContradictionError(
                f"--data_dir={data.path} has another {key}{values} than the model in {model_dir} was made for; its ids "
                "mean other things. Use the data_dir of its training, or preprocess with --vocabulary of that one"
            )


def save(model_dir: str, hyperparameters: Hyperparameters, data: DataDir) -> None:
    """Keeps the settings of a model that is about to be trained."""
    tf.io.gfile.makedirs(model_dir)
    write_whole(os.path.join(model_dir, HYPERPARAMETERS_FILE), hyperparameters.to_json())
    write_whole(os.path.join(model_dir, DATA_FILE), json.dumps(data.description(), indent=1) + "\n")


def write_whole(path: str, text: str) -> None:
    """Writes a text file under another name and renames it."""
    temporary = f"{path}.tmp-{os.getpid()}"
    with tf.io.gfile.GFile(temporary, "w") as file:
        file.write(text)
    tf.io.gfile.rename(temporary, path, overwrite=True)


def clear(model_dir: str) -> None:
    """Deletes a model.

    Raises:
        ValueError: the folder holds something else.
    """
    if not tf.io.gfile.exists(model_dir):
        return
    entries = tf.io.gfile.listdir(model_dir)
    if entries and not {HYPERPARAMETERS_FILE, CHECKPOINT_FILE} & set(entries):
        raise ValueError(
            f"--clear_existing_model: {model_dir} has files but no {HYPERPARAMETERS_FILE}, so it may be no model; "
            "delete it yourself"
        )
    tf.io.gfile.rmtree(model_dir)


def _as_flag(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
