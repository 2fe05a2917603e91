"""The folder of a model: its settings, its history, and which of its files a training made."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Mapping
from typing import Any

import storage
from model_fn.hyperparameters import Hyperparameters
from storage import contents, ownership, process
from trainer import checkpoints, evaluations
from trainer.data_dir import DataDir
from trainer.terminal import say

COMMAND = "python -m trainer"
HYPERPARAMETERS_FILE = "hyperparameters.json"
DATA_FILE = "data.json"
HISTORY_FILE = "history.jsonl"
BEST = "best"

# Settings of which no variable of the model depends: they may change where training goes on.
_MAY_CHANGE = frozenset(
    {
        *("ctr_task_wgt", "ctr_tower_wgt", "cvr_tower_wgt", "counterfactual_wgt", "global_wgt", "propensity_power"),
        *(
            "propensity_normalize",
            "balance_wgt",
            "in_request_wgt",
            "dropout",
            "batch_norm_decay",
            "learning_rate",
            "embedding_learning_rate",
        ),
        *("warmup_steps", "decay", "decay_steps", "decay_rate", "momentum", "adam_beta1", "adam_beta2", "adam_epsilon"),
        *("ftrl_l1", "clip_norm", "l2_reg", "embedding_l2_reg", "precision", "embedding_device"),
    }
)
# What a training leaves in its folder, below which nothing else is removed.
_MADE_HERE = re.compile(
    r"checkpoint|model\.ckpt-\d+\.(index|meta|data-\d+-of-\d+)|graph\.pbtxt|events\.out\.tfevents\.[^/]*"
    r"|eval[^/]*/events\.out\.tfevents\.[^/]*|eval(_[^/]*)?\.json|calibration_[^/]*\.svg|evaluations\.jsonl"
    r"|hyperparameters\.json|data\.json|history\.jsonl|cluster\.json|model_report\.html"
    r"|(best|kept)/model\.ckpt-\d+\.(index|meta|data-\d+-of-\d+)|export/(best|final)/(\d+/.*|(best|final)\.json)"
    r"|progressive\.json|(calibration|importance)\.json|vocabulary/.*|plugins/profile/.*"
)

# What TensorFlow leaves of a checkpoint that it was writing.
_UNFINISHED = re.compile(
    r"model\.ckpt-\d+(\.data-\d+-of-\d+|\.index)\.tempstate\d+|model\.ckpt-\d+_temp|checkpoint\.tmp[0-9a-f]{32}"
)


class ContradictionError(ValueError):
    """A flag or a data_dir that does not fit the model in model_dir."""


def saved_hyperparameters(model_dir: str) -> Hyperparameters | None:
    """Settings of the model in the folder, None if there is none.

    Raises:
        ValueError: the file is damaged.
    """
    path = storage.join(model_dir, HYPERPARAMETERS_FILE)
    if not storage.exists(path):
        return None
    with contents.taken_apart(path, "put back its file, or train another model"):
        return Hyperparameters.from_json(storage.read(path))


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
    if saved is None or checkpoints.latest(model_dir) is None:
        raise ValueError(f"--model_dir={model_dir}: no trained model there; run --task_type=train first")
    _refuse_contradiction(model_dir, saved, given)
    refuse_other_data(model_dir, data)
    return saved


def checkpoint(model_dir: str, wanted: str) -> str:
    """The checkpoint to use: the latest, the best, that of a step, or a path.

    Args:
        model_dir: of a trained model.
        wanted: --checkpoint: empty, "best", a global step, or the path of a checkpoint without its endings.

    Raises:
        ValueError: there is none such, or it is another model's.
    """
    latest = checkpoints.latest(model_dir) if not wanted.isdigit() else None
    named = {"": latest, BEST: evaluations.best(model_dir)}
    path = named.get(wanted) if wanted in named else wanted
    if wanted.isdigit():
        path = storage.join(model_dir, evaluations.checkpoint_name(int(wanted)))
    if path and storage.exists(f"{path}.index"):
        if latest and path == wanted:
            checkpoints.refuse_another_models(path, latest)
        return path
    has_best = evaluations.best(model_dir) is not None
    there = ", ".join([*map(str, checkpoints.steps(model_dir)), *[BEST] * has_best])
    raise ValueError(f"--checkpoint={wanted}: {model_dir} has {there or 'none'}; give one of these, or a path")


def _refuse_contradiction(model_dir: str, saved: Hyperparameters, given: Mapping[str, Any]) -> None:
    """Raises ContradictionError where a setting differs from the saved one."""
    for name, value in given.items():
        kept = getattr(saved, name)
        if value != kept:
            path = storage.join(model_dir, HYPERPARAMETERS_FILE)
            raise ContradictionError(
                f"--{name}={_as_flag(value)}, but the model was made with {_as_flag(kept)} ({path}); leave the flag "
                "out, or train another model with another --model_dir or --clear_existing_model"
            )


def going_on(model_dir: str, saved: Hyperparameters, given: Mapping[str, Any]) -> Hyperparameters:
    """Settings to go on training with: the saved ones, changed where the command names others and they may.

    Raises:
        ContradictionError: a setting differs that variables of the model depend on.
    """
    free = {name: value for name, value in given.items() if name in _MAY_CHANGE}
    _refuse_contradiction(model_dir, saved, {name: value for name, value in given.items() if name not in free})
    changed = {name: value for name, value in free.items() if value != getattr(saved, name)}
    for name, value in changed.items():
        say(f"from here on: --{name}={_as_flag(value)}, before {_as_flag(getattr(saved, name))}")
    return dataclasses.replace(saved, **changed)


def refuse_other_data(model_dir: str, data: DataDir) -> None:
    """Raises ContradictionError where the model was made for another schema or vocabulary."""
    path = storage.join(model_dir, DATA_FILE)
    if not storage.exists(path):
        return
    saved, found = contents.object_of(path, "delete it if the model is of this data"), data.description()
    for key, value in found.items():
        if saved.get(key) != value:
            values = "" if key == "schema" else f" ({value}, there {saved.get(key)})"
            raise ContradictionError(
                f"--data_dir={data.path} has another {key}{values} than the model in {model_dir} was made for; its ids "
                "mean other things. Use the data_dir of its training, or preprocess with --vocabulary of that one"
            )


def save(model_dir: str, hyperparameters: Hyperparameters, data: DataDir) -> None:
    """Keeps the settings of a model that is about to be trained."""
    write_whole(storage.join(model_dir, HYPERPARAMETERS_FILE), hyperparameters.to_json())
    write_whole(storage.join(model_dir, DATA_FILE), json.dumps(data.description(), indent=1) + "\n")


def note_run(model_dir: str, step: int, settings: Mapping[str, Any]) -> None:
    """Adds a line to the history: when a run began, from which step, and with which settings."""
    path = storage.join(model_dir, HISTORY_FILE)
    before = storage.read(path).decode("utf-8") if storage.exists(path) else ""
    entry = {"began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "from_step": step, **settings}
    write_whole(path, before + json.dumps(entry) + "\n")


def write_whole(path: str, text: str) -> None:
    """Writes a text file, whole or not at all."""
    storage.write(path, [text.encode("utf-8")])


def clear(model_dir: str) -> None:
    """Removes what trainings made in the folder; says what is left.

    Raises:
        storage.ownership.OwnershipError: the folder bears no mark of this command.
    """
    ownership.refuse_foreign(model_dir, COMMAND, "model_dir")
    base = len(model_dir.rstrip("/")) + 1
    left = []
    for path, _ in storage.walk(model_dir):
        if _MADE_HERE.fullmatch(path[base:]):
            storage.remove(path)
        elif not path[base:].startswith("_"):
            left.append(path[base:])
    if left:
        say(
            f"--clear_existing_model: left alone what no training made: {', '.join(left[:5])}"
            + " ..." * (len(left) > 5)
        )


def claim(model_dir: str) -> None:
    """Takes the folder for trainings; one that holds nothing but what they make is as good as one with the mark.

    Raises:
        storage.ownership.OwnershipError: it holds other files.
    """
    base = len(model_dir.rstrip("/")) + 1
    found = [path[base:] for path, _ in storage.walk(model_dir)]
    all_made_here = all(_MADE_HERE.fullmatch(path) for path in found if not path.startswith("_"))
    if HYPERPARAMETERS_FILE in found and all_made_here and ownership.maker(model_dir) is None:
        ownership.mark(model_dir, process.this(COMMAND))
    ownership.claim(model_dir, COMMAND, "model_dir")


def remove_unfinished(model_dir: str) -> None:
    """Removes what killed trainings have left half written; call it under the folder's lock."""
    for name in storage.names_in(model_dir):
        written = storage.unfinished_of(name)
        if _UNFINISHED.fullmatch(name) or written == ownership.MARK_FILE or _MADE_HERE.fullmatch(written):
            storage.remove(storage.join(model_dir, name))


def _as_flag(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
