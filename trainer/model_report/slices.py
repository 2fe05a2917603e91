"""Metrics by the values of a field: a picture of the AUCs and a table for each field of --slice_by."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from model_fn.evaluation import CTCVR, CTR, CVR, TASKS, standard_error
from trainer.model_report import pictures
from trainer.model_report.html import names, number, paragraph, table
from trainer.model_report.pictures import Interval, colors
from trainer.model_report.tables import SPACES
from trainer.model_report.trained_model import TrainedModel
from trainer.slicing import VALUE

_NOTE = """The field's frequent values, and all others together. A point is the AUC within the slice, ± a standard
error; grey: that of all impressions. A slice where a task has no positives, or nothing else, has none. AUC within
slices may all be lower than over all: telling slices apart is a part of the latter."""
_CALIBRATED = (CTR, CTCVR)


class _Cell(NamedTuple):
    """A slice of a model."""

    model: TrainedModel
    found: Mapping[str, Any]

    def auc(self, task: str) -> Interval | None:
        """AUC of a task and its standard error."""
        clicks, conversions = self.found["clicks"], self.found["conversions"]
        positives = clicks if task == CTR else conversions
        every = clicks if task == CVR else self.found["impressions"]
        value = self.found.get(f"{task}_auc")
        error = standard_error(value, positives, every - positives)
        return None if value is None or error is None else Interval(value, error)


def sections(models: Sequence[TrainedModel]) -> list[tuple[str, str]]:
    """A heading and its content for each field that any model was evaluated by."""
    fields = dict.fromkeys(field for model in models for field in model.evaluated.slices)
    return [(f"By {html.escape(field)}", _picture(models, field) + _table(models, field)) for field in fields]


def _values(models: Sequence[TrainedModel], field: str) -> list[str]:
    """The field's values in all models, in the order of the first that has each."""
    rows = (row for model in models for row in model.evaluated.slices.get(field, ()))
    return list(dict.fromkeys(row[VALUE] for row in rows))


def _cells(models: Sequence[TrainedModel], field: str, value: str) -> Iterator[tuple[int, _Cell]]:
    for place, model in enumerate(models):
        for row in model.evaluated.slices.get(field, ()):
            if row[VALUE] == value:
                yield place, _Cell(model, row)


def _picture(models: Sequence[TrainedModel], field: str) -> str:
    values = _values(models, field)
    panels = []
    for task in TASKS:
        cells = [(row, *found) for row, value in enumerate(values) for found in _cells(models, field, value)]
        aucs = [(colors(len(models))[place], row, cell.auc(task)) for row, place, cell in cells]
        points = [(color, row, interval) for color, row, interval in aucs if interval is not None]
        overall = [model.evaluated.metrics.get(f"{task}_auc") for model in models]
        panels.append((f"{SPACES[task][0]}: AUC", points, [value for value in overall if value is not None]))
    return pictures.by_value(values, panels, f"by {field}") + paragraph(_NOTE)


def _table(models: Sequence[TrainedModel], field: str) -> str:
    head = [html.escape(field), "", "impressions", "clicks", "conversions"]
    head += [f"{SPACES[task][0]}<br><small>AUC</small>" for task in TASKS]
    head += [f"{SPACES[task][0]}<br><small>calibration</small>" for task in _CALIBRATED]
    labels = names(models)
    groups = []
    for value in _values(models, field):
        cells = list(_cells(models, field, value))
        titles = [html.escape(value)] + [""] * (len(cells) - 1)
        groups.append([_row(title, labels[place], cell) for title, (place, cell) in zip(titles, cells, strict=True)])
    return table(head, *groups)


def _row(title: str, label: str, cell: _Cell) -> list[str]:
    counts = [f"{cell.found[name]:,}" for name in ("impressions", "clicks", "conversions")]
    aucs = [_auc_text(cell.auc(task)) for task in TASKS]
    return [title, label, *counts, *aucs, *(number(cell.found.get(f"{t}_calibration"), ".3f") for t in _CALIBRATED)]


def _auc_text(found: Interval | None) -> str:
    return "–" if found is None else f"{found.value:.4f} <small>± {found.error:.4f}</small>"
