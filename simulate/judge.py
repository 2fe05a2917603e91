"""Judges predicted scores against the truth of a simulated log.

    python -m simulate.judge --input_dir=LOG --predictions=FILE [--split=test] [--output=JSON]

Only a simulated log can tell how good a conversion model is where nobody clicked: the metrics that a real log allows
see clicked impressions alone.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from absl import app, flags

import storage
from features import names
from storage import ownership

DECILES = 10
_TINY = 1e-12
_TASKS = ("ctr", "cvr", "ctcvr")
# Columns of the truth, and what they are called here.
_TRUTH = {"p_click": "true_ctr", "p_conversion": "true_cvr", "conversion_if_clicked": "would_convert"}


@dataclasses.dataclass(frozen=True)
class Judged:
    """A split's impressions with truth and predictions side by side; every array is `[impressions]`.

    Attributes:
        click: 1 where the impression was clicked.
        conversion: conversion as the log shows it, 1 only with a click.
        true_cvr: probability of a conversion, had the impression been clicked.
        would_convert: the draw from it, for clicked and unclicked impressions alike.
        true_ctr: probability of a click.
        pctr: predicted.
        pcvr: predicted.
        pctcvr: predicted.
    """

    click: np.ndarray
    conversion: np.ndarray
    true_ctr: np.ndarray
    true_cvr: np.ndarray
    would_convert: np.ndarray
    pctr: np.ndarray
    pcvr: np.ndarray
    pctcvr: np.ndarray


def exact_auc(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Area under the ROC curve by ranks, ties counted half; None where one class is absent.

    Args:
        labels: 0 or 1, `[n]`.
        scores: `[n]`.
    """
    positive = np.asarray(labels) > 0
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return None
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(count) - (count - 1) / 2
    return float((mean_rank[place][positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def read(input_dir: str, predictions: str, split: str = names.TEST) -> Judged:
    """Joins the predictions (CSV with sample_id,pctr,pcvr,pctcvr) with the log's truth.

    Raises:
        ValueError: the predictions lack impressions of the split, or have some twice or unknown.
        FileNotFoundError: no such log, truth or predictions.
    """
    truth = _read_table(os.path.join(input_dir, names.truth_file(split)), (names.SAMPLE_ID, *_TRUTH))
    scores = _read_table(predictions, (names.SAMPLE_ID, *names.SCORES))
    labels = _labels(os.path.join(input_dir, names.skeleton_file(split)))
    order = np.argsort(truth[names.SAMPLE_ID].to_numpy())
    sorted_ids = truth[names.SAMPLE_ID].to_numpy()[order]

    def rows(table: pa.Table, what: str) -> np.ndarray:
        """Rows of the table in the order of the sorted truth."""
        ids = table[names.SAMPLE_ID].to_numpy()
        found = np.argsort(ids, kind="stable")
        if len(ids) != len(sorted_ids) or not np.array_equal(ids[found], sorted_ids):
            raise ValueError(
                f"{what}: its {len(ids)} sample_ids are not the {len(sorted_ids)} of the {split} split's truth"
            )
        return found

    in_log, in_scores = rows(labels, names.skeleton_file(split)), rows(scores, predictions)
    return Judged(
        click=labels[names.CLICK].to_numpy()[in_log],
        conversion=labels[names.CONVERSION].to_numpy()[in_log],
        **{name: truth[column].to_numpy()[order] for column, name in _TRUTH.items()},
        **{name: scores[name].to_numpy()[in_scores] for name in names.SCORES},
    )


def _read_table(path: str, columns: Sequence[str]) -> pa.Table:
    """Columns of numbers of a CSV file.

    Raises:
        ValueError: it lacks one, or has a cell that is no number.
    """
    try:
        table = pa.csv.read_csv(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: {error}") from error
    for name in columns:
        if name not in table.column_names:
            raise ValueError(f"{path}: no column {name}, but {', '.join(table.column_names)}")
        kind = table.schema.field(name).type
        numbers = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if table[name].null_count or not (numbers and pc.all(pc.is_finite(table[name])).as_py()):
            raise ValueError(f"{path}: column {name} has cells that are no numbers")
    return table


def _labels(path: str) -> pa.Table:
    """sample_id, click and conversion of a skeleton file; its feature lists are not decoded."""
    columns = [names.SAMPLE_ID, names.CLICK, names.CONVERSION, "context", "feature_num", "feature_list"]
    return pa.csv.read_csv(
        path,
        read_options=pa.csv.ReadOptions(column_names=columns),
        parse_options=pa.csv.ParseOptions(quote_char=False),
        convert_options=pa.csv.ConvertOptions(include_columns=columns[:3]),
    )


def judge(judged: Judged) -> dict[str, Any]:
    """Every figure of predicted against true conversion rates, and the AUCs beside those of the truth itself."""
    everywhere = np.ones(len(judged.click), bool)
    clicked = judged.click > 0
    figures: dict[str, Any] = {
        "impressions": len(clicked),
        "clicks": int(clicked.sum()),
        "would_convert": int(judged.would_convert.sum()),
        "cvr_bias_all": _bias(judged, everywhere),
        "cvr_bias_clicked": _bias(judged, clicked),
        "cvr_bias_unclicked": _bias(judged, ~clicked),
        "cvr_rmse": _rmse(judged.pcvr, judged.true_cvr),
        "cvr_logit_rmse": _rmse(_logit(judged.pcvr), _logit(judged.true_cvr)),
        "cvr_regret": float(np.mean(_kl(judged.true_cvr, judged.pcvr))),
        "cvr_auc_would_convert_all": exact_auc(judged.would_convert, judged.pcvr),
        "cvr_auc_would_convert_all_oracle": exact_auc(judged.would_convert, judged.true_cvr),
        "cvr_auc_would_convert_unclicked": exact_auc(judged.would_convert[~clicked], judged.pcvr[~clicked]),
        "ctr_calibration": float(judged.pctr.mean() / judged.true_ctr.mean()),
        "cvr_calibration": float(judged.pcvr[clicked].mean() / judged.true_cvr[clicked].mean())
        if clicked.any()
        else None,
        "ctcvr_calibration": float(judged.pctcvr.mean() / (judged.true_ctr * judged.true_cvr).mean()),
        "cvr_deciles": _deciles(judged),
    }
    return figures | _aucs(judged, clicked) | _weighted_clicks(judged)


def _aucs(judged: Judged, clicked: np.ndarray) -> dict[str, float | None]:
    conversion = judged.conversion
    return {
        "ctr_auc": exact_auc(judged.click, judged.pctr),
        "ctr_auc_oracle": exact_auc(judged.click, judged.true_ctr),
        "cvr_auc": exact_auc(conversion[clicked], judged.pcvr[clicked]),
        "cvr_auc_oracle": exact_auc(conversion[clicked], judged.true_cvr[clicked]),
        "ctcvr_auc": exact_auc(conversion, judged.pctcvr),
        "ctcvr_auc_oracle": exact_auc(conversion, judged.true_ctr * judged.true_cvr),
    }


def _weighted_clicks(judged: Judged) -> dict[str, float | None]:
    """What propensities alone would do: the mean true CVR of clicks, weighted by their inverse, over that of D, less 1.

    A CVR tower that fits its weighted clicks to perfection ends there. Far from 0, the propensities are to blame for
    a bias; near 0, the tower is. With the true propensities only the draw of the clicks is left.
    """
    clicked = judged.click > 0
    if not clicked.any():
        return dict.fromkeys(("weighted_clicks_none", "weighted_clicks_predicted", "weighted_clicks_true"))
    rate, everywhere = judged.true_cvr[clicked], judged.true_cvr.mean()
    weights = {
        "none": np.ones(len(rate)),
        "predicted": 1 / np.maximum(judged.pctr[clicked], _TINY),
        "true": 1 / judged.true_ctr[clicked],
    }
    return {
        f"weighted_clicks_{name}": float(np.average(rate, weights=each) / everywhere - 1)
        for name, each in weights.items()
    }


def _bias(judged: Judged, where: np.ndarray) -> float | None:
    """Mean predicted over mean true conversion rate, less one."""
    return float(judged.pcvr[where].mean() / judged.true_cvr[where].mean() - 1) if where.any() else None


def _rmse(predicted: np.ndarray, true: np.ndarray) -> float:
    return float(np.sqrt(np.mean((predicted - true) ** 2)))


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, _TINY, 1 - _TINY)
    return np.log(p) - np.log1p(-p)


def _kl(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Kullback-Leibler divergence of two Bernoulli distributions: what a wrong rate costs in log loss."""
    true, predicted = np.clip(true, _TINY, 1 - _TINY), np.clip(predicted, _TINY, 1 - _TINY)
    return true * np.log(true / predicted) + (1 - true) * (np.log1p(-true) - np.log1p(-predicted))


def _deciles(judged: Judged) -> list[dict[str, float]]:
    """Impressions in ten equal parts by predicted rate: mean predicted and mean true rate of each."""
    parts = np.array_split(np.argsort(judged.pcvr, kind="stable"), DECILES)
    return [
        {"predicted": float(judged.pcvr[part].mean()), "true": float(judged.true_cvr[part].mean())}
        for part in parts
        if len(part)
    ]


def summary(figures: dict[str, Any]) -> str:
    """The chief figures, in two lines."""
    aucs = (
        f"{task} AUC {_digits(figures[task + '_auc'])} of {_digits(figures[task + '_auc_oracle'])}" for task in _TASKS
    )
    weighted = ", ".join(
        f"{name} {_percent(figures['weighted_clicks_' + name])}" for name in ("none", "predicted", "true")
    )
    return (
        f"{', '.join(aucs)}; bias of pCVR {_percent(figures['cvr_bias_all'])}\n"
        f"what propensities alone would do, mean true CVR of weighted clicks against all: {weighted}"
    )


def _percent(value: float | None) -> str:
    return "absent" if value is None else f"{100 * value:+.1f} %"


def _digits(value: float | None) -> str:
    return "absent" if value is None else f"{value:.4f}"


def main(_: list[str]) -> None:
    """Prints the figures as JSON; with --output, writes them there and prints the chief ones."""
    arguments = flags.FLAGS
    try:
        figures = judge(read(arguments.input_dir, arguments.predictions, arguments.split))
        text = json.dumps(figures, indent=1)
        if arguments.output:
            # A file of figures begins with the same key.
            ownership.refuse_foreign_file(arguments.output, text[: text.index(":")].encode(), "output")
            storage.write(arguments.output, [text.encode() + b"\n"])
    except (ValueError, OSError) as error:
        raise SystemExit(storage.told(error)) from error
    print(summary(figures) if arguments.output else text)


if __name__ == "__main__":
    flags.DEFINE_string("input_dir", None, "folder of the simulated log", required=True)
    flags.DEFINE_string("predictions", None, "CSV with sample_id,pctr,pcvr,pctcvr of every impression", required=True)
    flags.DEFINE_string("split", names.TEST, "split that was predicted")
    flags.DEFINE_string("output", None, "also write the figures to this JSON file")
    app.run(main)
