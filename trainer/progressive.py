"""--validate_first: yesterday's model on today's rows, before it learns from them; a line a day in progressive.json.

It is what production sees: the rows are new to the model, and ids that it does not have are unknown to it. So no row is
held back for it (progressive validation: Blum, Kalai and Langford 1999).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

import storage
from features import names
from input_fn import dataset, errors, files
from model_fn import estimator as tf_estimator
from model_fn import evaluation
from storage import contents
from trainer import checkpoints, evaluation_report, run_config, training_graph
from trainer.continuation import Predecessor
from trainer.data_dir import DataDir
from trainer.model_dir import write_whole
from trainer.options import Options
from trainer.terminal import say
from trainer.translation import Translator

PROGRESSIVE_FILE = "progressive.json"
_EVENTS = "progressive"


def validate(options: Options, data: DataDir, before: Predecessor) -> None:
    """Scores the train split by the model before and writes MODEL_DIR/progressive.json, unless it is there.

    Args:
        options: of the run; its model_dir gets the file.
        data: of the day.
        before: model of the day before, whose own file goes before the new line.
    """
    path = os.path.join(options.model_dir, PROGRESSIVE_FILE)
    if tf.io.gfile.exists(path):
        return
    result = evaluate(options, data, before, names.TRAIN, options.model_dir)
    days = [*read(before.model_dir), {"data": _label(data.path), **result}]
    tf.io.gfile.makedirs(options.model_dir)
    write_whole(path, json.dumps(days, indent=1) + "\n")
    say(f"before training on it: {_summary(result)}")


def read(folder: str) -> list[dict[str, Any]]:
    """A model's days, first to last: data, model, impressions and metrics of each; empty without the file."""
    path = os.path.join(folder, PROGRESSIVE_FILE)
    if not storage.exists(path):
        return []
    with contents.taken_apart(path, "delete it, and the record of days begins anew"):
        return [dict(day) for day in json.loads(storage.read(path))]


def evaluate(options: Options, data: DataDir, model: Predecessor, split: str, folder: str) -> dict[str, Any]:
    """Metrics of a model on a split of data that may have another vocabulary.

    Args:
        options: how to read.
        data: to score.
        model: to score with.
        split: of the data.
        folder: gets TensorBoard events.

    Returns:
        model, impressions, and each metric that the rows determine.

    Raises:
        ValueError: settings, data or records cannot be used; the message names them.
    """
    params: training_graph.Params = {
        "schema": model.vocabulary.schema,
        "vocabulary_size": model.vocabulary.size,
        "hyperparameters": model.settings,
    }
    config = run_config.make(options).replace(model_dir=folder)
    estimator = tf_estimator.Estimator(training_graph.model_fn, config=config, params=params)
    paths = files.find(data.records(split))
    translate = Translator(data.vocabulary, model.vocabulary)
    read = options.scoring_input(ordered=True)
    with errors.naming_files(paths), checkpoints.naming(model.model_dir, model.checkpoint):
        result = estimator.evaluate(
            lambda: dataset.make_dataset(paths, data.schema, data.vocabulary.size, read, translate.features),
            checkpoint_path=model.checkpoint,
            name=_EVENTS,
        )
    return {"model": _label(model.model_dir), **_metrics(result)}


def _label(folder: str) -> str:
    """Last two parts of a path: in a daily run the first of them is the date."""
    return "/".join(folder.rstrip("/").split("/")[-2:])


def _metrics(result: Mapping[str, Any]) -> dict[str, Any]:
    scalars = {name: float(value) for name, value in result.items() if np.ndim(value) == 0 and name != "global_step"}
    table = evaluation_report.impressions(result)
    return {"impressions": table, **dict(sorted(evaluation.present(scalars).items()))}


def _summary(result: Mapping[str, Any]) -> str:
    shown = ("ctr_auc", "cvr_auc", "ctcvr_auc", "ctr_calibration", "ctcvr_calibration")
    return "  ".join(f"{name} {result[name]:.4f}" for name in shown if name in result)


def curve(days: Sequence[Mapping[str, Any]], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """A metric over days: number of the day and value where it is known, int64 [n] and float64 [n]."""
    values = np.array([day.get(metric, math.nan) for day in days], np.float64)
    known = np.isfinite(values)
    return np.flatnonzero(known) + 1, values[known]
