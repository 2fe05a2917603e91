"""--task_type=eval and --task_type=infer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from features import names
from input_fn import dataset, errors, files
from model_fn import estimator as tf_estimator
from trainer import data_dir, evaluation_report, model_dir, run_config, training
from trainer.options import Options
from trainer.terminal import say

_HEADER = ",".join((names.SAMPLE_ID, *names.SCORES)) + "\n"
# Nine digits are enough to read the same float32 back.
_ROW = "%d,%.9g,%.9g,%.9g\n"


def evaluate(options: Options, given: Mapping[str, Any]) -> str:
    """Evaluates the model of model_dir on all impressions of a split.

    Args:
        options: of the run.
        given: the settings that the command names; they must be the model's.

    Returns:
        Path of the JSON file with the metrics.

    Raises:
        ValueError: settings, data or records cannot be used; the message names them.
    """
    estimator, paths, make_dataset = _model_and_input(options, given, ordered=True)
    with errors.naming_files(paths):
        result = estimator.evaluate(make_dataset, name=None if options.split == names.TEST else options.split)
    path = evaluation_report.write(options.model_dir, options.split, result)
    say(evaluation_report.summary(result))
    say(f"wrote {path}")
    return path


def infer(options: Options, given: Mapping[str, Any]) -> int:
    """Writes the scores of every impression of a split as CSV: whole or not at all.

    Args:
        options: of the run.
        given: the settings that the command names; they must be the model's.

    Returns:
        Number of impressions.

    Raises:
        ValueError: settings, data or records cannot be used; the message names them.
    """
    estimator, paths, make_dataset = _model_and_input(options, given, options.ordered)
    with errors.naming_files(paths):
        count = write_predictions(options.predictions, estimator.predict(make_dataset, yield_single_examples=False))
    say(f"wrote {count:,} predictions to {options.predictions}")
    return count


def _model_and_input(
    options: Options, given: Mapping[str, Any], ordered: bool
) -> tuple[tf_estimator.Estimator, list[str], Any]:
    data = data_dir.load(options.data_dir)
    settings = model_dir.trained_hyperparameters(options.model_dir, given, data)
    paths = files.find(data.records(options.split))
    estimator = training.make_estimator(options, settings, data, run_config.make(options, clustered=False))
    read = options.scoring_input(ordered)
    return estimator, paths, lambda: dataset.make_dataset(paths, data.schema, data.vocabulary.size, read)


def write_predictions(path: str, batches: Iterable[Mapping[str, np.ndarray]]) -> int:
    """Writes the CSV file under another name, renames it and gives its number of rows.

    Args:
        path: of the file; local or remote.
        batches: sample_id int64 [n] and the scores float32 [n].
    """
    temporary = f"{path}.tmp-{os.getpid()}"
    tf.io.gfile.makedirs(os.path.dirname(os.path.abspath(path)) if "://" not in path else os.path.dirname(path))
    count = 0
    try:
        with tf.io.gfile.GFile(temporary, "w") as file:
            file.write(_HEADER)
            for batch in batches:
                file.write("".join(_rows(batch)))
                count += len(batch[names.SAMPLE_ID])
        tf.io.gfile.rename(temporary, path, overwrite=True)
    finally:
        if tf.io.gfile.exists(temporary):
            tf.io.gfile.remove(temporary)
    return count


def _rows(batch: Mapping[str, np.ndarray]) -> Iterator[str]:
    columns = (batch[name].tolist() for name in (names.SAMPLE_ID, *names.SCORES))
    return (_ROW % row for row in zip(*columns, strict=True))
