"""Metrics that the gate rests on: of the day's model and the one before, on the test rows of both days."""

from __future__ import annotations

import tempfile
from typing import Any

from daily.day import Day, Scores
from features import names
from input_fn import files
from trainer import continuation, data_dir, evaluating, evaluations, progressive
from trainer.options import EVAL, Options


def of_models(day: Day, parent: Day | None) -> Scores:
    """What each model makes of each day's rows. What was evaluated before is not evaluated again.

    Raises:
        ValueError: data or a model cannot be read.
    """
    rows = {"today": day} | ({"yesterday": parent} if parent else {})
    models = {"new": day} | ({"before": parent} if parent else {})
    found: Scores = {}
    for when, source in rows.items():
        found[when] = {"rows": data_dir.load(source.data).totals(names.TEST)}
        for which, model in models.items():
            known = _known(model) if model is source else {}
            found[when][which] = known or _evaluated(model, source)
    return found


def _known(day: Day) -> dict[str, Any]:
    """What training found at its end of the day's model on the day's rows; empty where it did not look at them all."""
    data, model = data_dir.load(day.data), continuation.find(day.model)
    number = evaluating.data_number(files.find(data.records(names.TEST)), 0)
    step = evaluating.step_of(model.checkpoint)
    same = [one for one in evaluations.read(day.model) if one.step == step and one.data == number]
    return {"impressions": same[-1].impressions, **same[-1].metrics} if same else {}


def _evaluated(model: Day, rows: Day) -> dict[str, Any]:
    """Metrics of a day's model on the test rows of a day, whose vocabulary may be another."""
    options = Options(task_type=EVAL, data_dir=rows.data, model_dir=model.model)
    data = data_dir.load(rows.data)
    with tempfile.TemporaryDirectory() as events:
        return progressive.evaluate(options, data, continuation.find(model.model), names.TEST, events)
