"""What the models lose without each field: pictures of AUC lost, and a table with log losses."""

from __future__ import annotations

import html
from collections.abc import Sequence

from model_fn.evaluation import TASKS
from trainer.importance_file import OVER_ALL, WITHIN_REQUESTS, FieldLoss, Loss
from trainer.model_report import pictures
from trainer.model_report.html import folded, models_legend, names, number, paragraph, table
from trainer.model_report.pictures import Interval, colors
from trainer.model_report.tables import SPACES
from trainer.model_report.trained_model import TrainedModel

_TITLES = {
    OVER_ALL: "Values shuffled over all impressions",
    WITHIN_REQUESTS: "Values shuffled within requests",
}
_NOTE = """AUC that is lost where a field's values change places and everything else stays
(--task_type=importance). Over all impressions: what the field tells at all. Within requests: what it tells about the
items of one list, which is what a ranking lives on; a field of the context tells nothing there. A field whose
information other fields carry as well costs little by itself. Below the standard errors of the AUCs above a loss means
nothing, and it can be negative."""
_UNKNOWN = Loss(None, None)


def section(models: Sequence[TrainedModel]) -> str:
    """Pictures and table of the models whose importances were measured; nothing where none was."""
    if not any(model.importance for model in models):
        return ""
    fields = _fields(models)
    shown = "".join(paragraph(_TITLES[scope]) + _picture(models, fields, scope) for scope in _TITLES)
    return models_legend(models) + shown + paragraph(_NOTE) + folded("Table by field", _table(models, fields))


def _fields(models: Sequence[TrainedModel]) -> list[str]:
    """The fields, those that cost any model most first."""
    largest: dict[str, float] = {}
    for model in models:
        for field in model.importance.fields if model.importance else ():
            largest[field.name] = max(field.largest, largest.get(field.name, field.largest))
    return sorted(largest, key=lambda name: -largest[name])


def _found(model: TrainedModel, name: str) -> FieldLoss | None:
    fields = model.importance.fields if model.importance else ()
    return next((field for field in fields if field.name == name), None)


def _loss(model: TrainedModel, name: str, scope: str, task: str) -> Loss:
    field = _found(model, name)
    return field.losses.get(scope, {}).get(task, _UNKNOWN) if field else _UNKNOWN


def _picture(models: Sequence[TrainedModel], fields: Sequence[str], scope: str) -> str:
    shown = [name for name in fields if any(_has(model, name, scope) for model in models)]
    panels = []
    for task in TASKS:
        losses = [
            (color, row, _loss(model, name, scope, task).auc)
            for row, name in enumerate(shown)
            for color, model in zip(colors(len(models)), models, strict=True)
        ]
        points = [(color, row, Interval(auc, 0.0)) for color, row, auc in losses if auc is not None]
        panels.append((f"{SPACES[task][0]}: AUC lost", points, [0.0]))
    return pictures.by_value(shown, panels, f"importance {scope}") if shown else ""


def _has(model: TrainedModel, name: str, scope: str) -> bool:
    field = _found(model, name)
    return field is not None and scope in field.losses


def _table(models: Sequence[TrainedModel], fields: Sequence[str]) -> str:
    head = ["field", ""]
    for scope in ("all", "within requests"):
        head += [f"{SPACES[task][0]}<br><small>AUC, {scope}</small>" for task in TASKS]
        head += [f"{SPACES[task][0]}<br><small>log loss, {scope}</small>" for task in TASKS]
    groups = []
    for name in fields:
        titles = [html.escape(name)] + [""] * (len(models) - 1)
        rows = zip(titles, names(models), models, strict=False)
        groups.append([[title, label, *_cells(model, name)] for title, label, model in rows])
    return table(head, *groups)


def _cells(model: TrainedModel, name: str) -> list[str]:
    cells = []
    for scope in _TITLES:
        losses = [_loss(model, name, scope, task) for task in TASKS]
        cells += [number(loss.auc, "+.4f") for loss in losses]
        cells += [number(loss.log_loss, "+.6f") for loss in losses]
    return cells
