"""--task_type=report: one HTML page about one model or several side by side."""

from __future__ import annotations

import math
import os

from storage import ownership
from trainer.model_dir import write_whole
from trainer.model_report import html, page, trained_model
from trainer.model_report.pictures import COLORS
from trainer.model_report.trained_model import TrainedModel
from trainer.options import Options, comparable_metrics
from trainer.terminal import say

REPORT_FILE = "model_report.html"
# More would make tables that nobody reads.
MOST_MODELS = 50


def make(options: Options) -> str:
    """Writes the page about the models of --model_dir.

    Args:
        options: of the run.

    Returns:
        Path of the page.

    Raises:
        ValueError: a model_dir holds no trained and evaluated model, or there are too many.
        storage.ownership.OwnershipError: another file is in the page's place.
    """
    folders = options.model_dirs
    if not 1 <= len(folders) <= MOST_MODELS:
        raise ValueError(
            f"--model_dir names {len(folders)} folders: allowed are 1 to {MOST_MODELS}, with commas between"
        )
    path = options.report or os.path.join(folders[0], REPORT_FILE)
    ownership.refuse_foreign_file(path, html.beginning(page.TITLE).encode(), "report")
    models = trained_model.load_all(folders, options.split)
    if len(models) > len(COLORS):
        models.sort(key=lambda model: _rank(model, options.metric))
        say(f"the {len(COLORS)} best by {options.metric} have colours of their own")
    made = page.page(models)
    write_whole(path, made)
    say(f"wrote {path}")
    return path


def _rank(model: TrainedModel, metric: str) -> float:
    """Ascending from the best model; those without the metric last."""
    value = model.evaluated.metrics.get(metric, math.nan)
    return math.inf if math.isnan(value) else -value if comparable_metrics()[metric] else value
