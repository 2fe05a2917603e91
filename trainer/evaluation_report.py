"""What an evaluation leaves: eval.json, a calibration picture of each task, a line on the terminal."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from features import names
from model_fn import evaluation, score_histogram
from model_fn.metric_ops import calibration_table_name
from storage import contents
from trainer.model_dir import write_whole

_TABLE_COLUMNS = ("impressions", "mean_prediction", "mean_label")
_SHOWN = ("ctr_auc", "cvr_auc", evaluation.known("cvr_auc"), "ctcvr_auc", "ctr_calibration", "ctcvr_calibration")
# In their place where impressions have weights; eval.json has both.
_SHOWN_WEIGHTED = tuple(map(evaluation.weighted, _SHOWN))


# By field, its slices: each has `slicing.VALUE`, counts and metrics by name.
Slices = Mapping[str, Sequence[Mapping[str, Any]]]


def write(model_dir: str, split: str, result: Mapping[str, Any], slices: Slices) -> str:
    """Writes eval.json and the pictures of an evaluation into model_dir; another split than test has its name in them.

    Args:
        model_dir: gets the files.
        split: that was evaluated.
        result: what `Estimator.evaluate` gave.
        slices: of the evaluation.

    Returns:
        Path of the JSON file. Metrics that the data do not determine are left out of it.
    """
    tables = {task: np.asarray(result[calibration_table_name(task)]) for task in evaluation.TASKS}
    suffix = _suffix(split)
    path = path_of(model_dir, split)
    write_whole(path, json.dumps(_description(split, result, tables, slices), indent=1) + "\n")
    for task, table in tables.items():
        write_whole(os.path.join(model_dir, f"calibration_{task}{suffix}.svg"), calibration_picture(task, table))
    return path


def path_of(model_dir: str, split: str) -> str:
    """The JSON file of a split's evaluation."""
    return os.path.join(model_dir, f"eval{_suffix(split)}.json")


def _suffix(split: str) -> str:
    return "" if split == names.TEST else f"_{split}"


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What an evaluation found.

    Attributes:
        split: that was evaluated.
        global_step: of the model.
        impressions: evaluated.
        metrics: by name, those that the data determine.
        calibration: for each task its table by decile, float64 [up to 10, 3], columns as named in `score_histogram`.
        slices: by field, its values with their counts and metrics.
    """

    split: str
    global_step: int
    impressions: int
    metrics: dict[str, float]
    calibration: dict[str, np.ndarray]
    slices: dict[str, list[dict[str, Any]]]


def read(model_dir: str, split: str) -> Evaluated:
    """The latest evaluation that `write` left.

    Raises:
        ValueError: there is none, or its file is damaged.
    """
    path = path_of(model_dir, split)
    if not tf.io.gfile.exists(path):
        raise ValueError(f"{path}: no such file; run --task_type=eval --model_dir={model_dir} --split={split} first")
    with contents.taken_apart(path, "run --task_type=eval again"):
        found = contents.read_object(path)
        tables = {task: _table(rows) for task, rows in found.pop("calibration").items()}
        split, step, impressions = (found.pop(name) for name in ("split", "global_step", "impressions"))
        # An evaluation of before there were slices has none.
        slices = found.pop("slices", {})
        return Evaluated(split, step, impressions, found, tables, slices)


def _table(rows: list[dict[str, float]]) -> np.ndarray:
    return np.array([[row[column] for column in _TABLE_COLUMNS] for row in rows], np.float64).reshape(
        -1, len(_TABLE_COLUMNS)
    )


def summary(result: Mapping[str, Any]) -> str:
    """The metrics that matter most, in a line."""
    scalars = evaluation.present(_scalars(result))
    wanted = _SHOWN_WEIGHTED if evaluation.weighted(evaluation.OBSERVED_RATE) in result else _SHOWN
    shown = "  ".join(f"{name} {scalars[name]:.4f}" for name in wanted if name in scalars)
    return f"evaluated at step {int(result['global_step']):,}  {shown}"


def impressions(result: Mapping[str, Any]) -> int:
    """Impressions that an evaluation looked at."""
    return int(np.asarray(result[calibration_table_name(evaluation.CTR)])[:, score_histogram.IMPRESSIONS].sum())


def _scalars(result: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in result.items() if np.ndim(value) == 0 and name != "global_step"}


def _description(
    split: str, result: Mapping[str, Any], tables: Mapping[str, np.ndarray], slices: Slices
) -> dict[str, Any]:
    found: dict[str, Any] = {"split": split, "global_step": int(result["global_step"])}
    found["impressions"] = impressions(result)
    found |= dict(sorted(evaluation.present(_scalars(result)).items()))
    found |= {"calibration": {task: _rows(table) for task, table in tables.items()}}
    return found | ({"slices": slices} if slices else {})


def _rows(table: np.ndarray) -> list[dict[str, float]]:
    """Deciles that have impressions, lowest scores first."""
    rows = [dict(zip(_TABLE_COLUMNS, map(float, row), strict=True)) for row in table]
    return [row for row in rows if not any(map(math.isnan, row.values()))]


def calibration_picture(task: str, table: np.ndarray) -> str:
    """SVG picture: mean label against mean prediction of each decile, both on a logarithmic scale.

    Args:
        task: for the title.
        table: float64 [10, 3], as `ScoreHistogram.calibration_table` makes it.
    """
    # Without pyplot, which would look for a display.
    from matplotlib import ticker
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    rows = table[table[:, score_histogram.MEAN_LABEL] > 0]
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log")
    predicted, observed = rows[:, score_histogram.MEAN_PREDICTION], rows[:, score_histogram.MEAN_LABEL]
    if len(rows):
        ends = [min(predicted.min(), observed.min()) / 1.3, max(predicted.max(), observed.max()) * 1.3]
        axes.plot(ends, ends, color="0.6", linewidth=1, label="perfectly calibrated")
        errors = np.sqrt(observed * (1 - observed) / rows[:, score_histogram.IMPRESSIONS])
        axes.errorbar(
            predicted, observed, np.minimum(errors, observed * 0.99), fmt="o-", label="deciles, ± 1 std. error"
        )
        axes.legend(loc="upper left", frameon=False)
    else:
        axes.text(0.5, 0.5, "no positives", ha="center", va="center", transform=axes.transAxes)
    empty = len(table) - len(rows)
    axes.set_title(f"Calibration of {task.upper()}" + (f" ({empty} deciles without positives)" if empty else ""))
    axes.set_xlabel("mean prediction")
    axes.set_ylabel("mean label")
    axes.grid(True, which="major", color="0.9")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axis.set_minor_locator(ticker.NullLocator())
    file = io.StringIO()
    FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})
    return file.getvalue()
