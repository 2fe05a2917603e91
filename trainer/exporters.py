"""Exports during training: the best model so far, and the last one."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from model_fn import estimator as tf_estimator
from model_fn.hyperparameters import Hyperparameters
from serving.export import export_saved_model
from serving.export_options import DEFAULTS, ExportOptions
from serving.saved_model_files import CheckError
from trainer.data_dir import read_bytes
from trainer.model_dir import write_whole
from trainer.options import BEST, FINAL, comparable_metrics
from trainer.terminal import say

_BEST_FILE = "best.json"


class _SavedModelExporter(tf_estimator.Exporter):
    """Writes versions of the served model to MODEL_DIR/export/NAME."""

    def __init__(
        self, vocabulary_dir: str, hyperparameters: Hyperparameters, options: ExportOptions = DEFAULTS
    ) -> None:
        self._vocabulary_dir = vocabulary_dir
        self._hyperparameters = hyperparameters
        self._options = options

    def _export(self, export_path: str, checkpoint_path: str) -> str:
        made = export_saved_model(
            export_path, checkpoint_path, self._vocabulary_dir, self._hyperparameters, self._options
        )
        say(f"exported {made}")
        return made


class FinalExporter(_SavedModelExporter):
    """Exports the model at the end of training."""

    @property
    def name(self) -> str:
        """Name of the folder below MODEL_DIR/export."""
        return FINAL

    def export(
        self,
        estimator: tf_estimator.Estimator,
        export_path: str,
        checkpoint_path: str,
        eval_result: Mapping[str, Any],
        is_the_final_export: bool,
    ) -> str | None:
        """Exports if it is the end."""
        return self._export(export_path, checkpoint_path) if is_the_final_export else None


class BestExporter(_SavedModelExporter):
    """Exports each model that is better than all before, also those before a resume, and deletes the one before it."""

    def __init__(
        self,
        vocabulary_dir: str,
        hyperparameters: Hyperparameters,
        metric: str,
        options: ExportOptions = DEFAULTS,
    ) -> None:
        super().__init__(vocabulary_dir, hyperparameters, options)
        self._metric = metric

    @property
    def name(self) -> str:
        """Name of the folder below MODEL_DIR/export."""
        return BEST

    def export(
        self,
        estimator: tf_estimator.Estimator,
        export_path: str,
        checkpoint_path: str,
        eval_result: Mapping[str, Any],
        is_the_final_export: bool,
    ) -> str | None:
        """Exports if the metric is better."""
        value, best_file = float(eval_result[self._metric]), os.path.join(export_path, _BEST_FILE)
        best = json.loads(read_bytes(best_file)) if tf.io.gfile.exists(best_file) else {}
        if not is_better(self._metric, value, best.get(self._metric, math.nan)):
            return None
        try:
            made = self._export(export_path, checkpoint_path)
        except CheckError as error:
            # Training is worth more than one of its exports; the last one ends the run where it fails.
            say(f"not exported: {error}")
            return None
        step = int(eval_result["global_step"])
        write_whole(best_file, json.dumps({self._metric: value, "global_step": step, "version": made}) + "\n")
        if best.get("version") and tf.io.gfile.exists(best["version"]):
            tf.io.gfile.rmtree(best["version"])
        return made


def is_better(metric: str, value: float, best: float) -> bool:
    """Whether a value is better than the best one before, NaN being "absent"; any value is better than none."""
    if math.isnan(value) or math.isnan(best):
        return not math.isnan(value)
    return value > best if comparable_metrics()[metric] else value < best
