"""What a model_dir tells about its model: settings, evaluation, curves of its training."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from model_fn.hyperparameters import Hyperparameters
from storage import contents
from trainer import (
    calibration_file,
    checkpoints,
    evaluation_report,
    event_files,
    importance_file,
    model_dir,
    progressive,
)
from trainer.calibration_file import Kept
from trainer.evaluation_report import Evaluated
from trainer.event_files import Events
from trainer.importance_file import Importance

_EVALUATIONS = "eval*"


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A model and what is known of it.

    Attributes:
        label: short name, unlike those of the other models.
        folder: its model_dir.
        step: global step of its latest checkpoint.
        settings: of the model.
        data: description of the data that it was made for, as `DataDir.description` gives it.
        evaluated: its latest evaluation.
        training: what its training wrote for TensorBoard.
        evaluations: the same of evaluations, by the name of their folder: eval is of the test split.
        days: progressive validation of its predecessors and itself, first to last.
        calibrated: maps behind its logits, and what they are worth; None: none.
        importance: of its fields; None: not measured.
    """

    label: str
    folder: str
    step: int
    settings: Hyperparameters
    data: dict[str, Any]
    evaluated: Evaluated
    training: Events
    evaluations: dict[str, Events]
    days: list[dict[str, Any]]
    calibrated: Kept | None
    importance: Importance | None


def load_all(folders: Sequence[str], split: str) -> list[TrainedModel]:
    """The models of some folders.

    Args:
        folders: one model_dir or several.
        split: whose evaluation to take.

    Raises:
        ValueError: a folder is named twice, holds no trained model, or its model was not evaluated.
    """
    plain = [folder.rstrip("/") for folder in folders]
    for folder in plain:
        if plain.count(folder) > 1:
            raise ValueError(f"--model_dir names {folder} twice")
    return [_load(folder, label, split) for folder, label in zip(plain, labels(plain), strict=True)]


def labels(folders: Sequence[str]) -> list[str]:
    """Short names of different folders: as many of their last parts as it takes to tell them apart."""
    parts = [folder.split("/") for folder in folders]
    for count in range(1, max(map(len, parts)) + 1):
        found = ["/".join(part[-count:]) for part in parts]
        if len(set(found)) == len(found):
            break
    return found


def _load(folder: str, label: str, split: str) -> TrainedModel:
    settings = model_dir.saved_hyperparameters(folder)
    checkpoint = checkpoints.latest(folder)
    if settings is None or checkpoint is None:
        there = "has no checkpoint" if tf.io.gfile.exists(folder) else "does not exist"
        raise ValueError(f"--model_dir={folder} {there}: train a model there first, by --task_type=train")
    return TrainedModel(
        label=label,
        folder=folder,
        step=int(tf.train.load_variable(checkpoint, tf.compat.v1.GraphKeys.GLOBAL_STEP)),
        settings=settings,
        data=_data(folder),
        evaluated=evaluation_report.read(folder, split),
        training=event_files.read(folder),
        days=progressive.read(folder),
        calibrated=calibration_file.read(folder),
        importance=importance_file.read(folder),
        evaluations=_evaluations(folder),
    )


def _data(folder: str) -> dict[str, Any]:
    path = os.path.join(folder, model_dir.DATA_FILE)
    return contents.object_of(path, "delete it, and the report is made without")


def _evaluations(folder: str) -> dict[str, Events]:
    folders = (path.rstrip("/") for path in sorted(tf.io.gfile.glob(os.path.join(folder, _EVALUATIONS))))
    found = {os.path.basename(path): event_files.read(path) for path in folders if tf.io.gfile.isdir(path)}
    return {name: events for name, events in found.items() if events.curves}
