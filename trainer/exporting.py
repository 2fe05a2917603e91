"""--task_type=export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from features import names
from serving.export import export_saved_model
from trainer import data_dir, model_dir
from trainer.options import Options
from trainer.terminal import say


def export(options: Options, given: Mapping[str, Any]) -> str:
    """Writes the last checkpoint of model_dir as a new version of a served model.

    Args:
        options: of the run.
        given: the settings that the command names; they must be the model's.

    Returns:
        Path of the version's folder.

    Raises:
        ValueError: settings, data or checkpoint cannot be used; the message names them.
    """
    data = data_dir.load(options.data_dir)
    settings = model_dir.trained_hyperparameters(options.model_dir, given, data)
    checkpoint = tf.train.latest_checkpoint(options.model_dir)
    made = export_saved_model(options.export_dir, checkpoint, names.vocabulary_dir(data.path), settings)
    say(f"exported {made}")
    return made
