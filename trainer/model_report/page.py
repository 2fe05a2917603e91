"""The model report as one HTML page that needs no other file."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence
from typing import Any

from model_fn.hyperparameters import Hyperparameters
from trainer.model_report import curves, importances, slices, tables
from trainer.model_report.html import document, folded, names, note, paragraph, table
from trainer.model_report.pictures import COLORS
from trainer.model_report.trained_model import TrainedModel

TITLE = "Model report"


def page(models: Sequence[TrainedModel], first: Sequence[tuple[str, str]] = ()) -> str:
    """The page about some models; `first` are sections before the others.

    More than there are colours (`pictures.COLORS`) share the last one: the best go first then.
    """
    sections = [
        *first,
        ("Metrics by task and space", tables.metrics(models)),
        ("Bias of pCVR", curves.bias(models) + tables.bias(models)),
        ("Calibration by decile", curves.calibration(models) + tables.calibration(models) + tables.calibrated(models)),
        ("Learning curves: losses in training", curves.losses(models)),
        ("Learning curves: evaluations", curves.evaluations(models)),
        ("Day by day, before training", curves.days(models)),
        ("What each field is worth", importances.section(models)),
        *slices.sections(models),
        ("Ranking within users", tables.users(models)),
        ("Propensities", tables.propensities(models) + curves.propensities(models)),
        ("Settings", _settings(models)),
    ]
    return document(TITLE, _overview(models) + "".join(map(note, notes(models))), sections)


def _overview(models: Sequence[TrainedModel]) -> str:
    head = ["", "model", "backbone", "trained to step", "evaluated at step", "on", "clicks", "model_dir"]
    rows = []
    for name, model in zip(names(models), models, strict=True):
        found = model.evaluated
        split = f"{found.impressions:,} impressions of {html.escape(found.split)}"
        steps = (f"{model.step:,}", f"{found.global_step:,}")
        kind = (model.settings.model, model.settings.backbone)
        rows.append([name, *kind, *steps, split, f"{tables.clicks(found):,}", html.escape(model.folder)])
    return table(head, rows)


def notes(models: Sequence[TrainedModel]) -> list[str]:
    """What a reader must beware of, as HTML."""
    found = []
    for model in models:
        label, at = html.escape(model.label), model.evaluated.global_step
        if at != model.step:
            found.append(f"{label} was evaluated at step {at:,}, not at its last: run --task_type=eval again.")
        if not model.training.curves:
            found.append(f"{label} has no TensorBoard events of its training: its losses are not drawn.")
        for events in (model.training, *model.evaluations.values()):
            found += [f"{html.escape(path)} ends within a record: later points are missing." for path in events.cut_off]
    if not tables.same_impressions(models):
        found.append(
            "The models were evaluated on different impressions: run --task_type=eval for each, on one data_dir."
        )
    for key in sorted({key for model in models for key in model.data}):
        if len({str(model.data.get(key)) for model in models}) > 1:
            found.append(f"The models were made for data of different {html.escape(key)}: compare them with care.")
    return found


def _settings(models: Sequence[TrainedModel]) -> str:
    """The settings that tell the models apart, or one model from the defaults; all of them folded."""
    rows = {field.name: _row(models, field.name) for field in dataclasses.fields(Hyperparameters)}
    defaults = dataclasses.asdict(Hyperparameters())
    if len(models) > 1:
        text = "Settings in which the models differ."
        told = [name for name, cells in rows.items() if len(set(cells)) > 1]
    else:
        text = "Settings that are not the default."
        told = [name for name, (cell,) in rows.items() if cell != _cell(defaults[name])]
    head = ["", *names(models), "default"]
    every = [[name, *cells, _cell(defaults[name])] for name, cells in rows.items()]
    shown = [row for row in every if row[0] in told]
    if len(models) > len(COLORS):
        # A row for each model: the names of many do not fit side by side.
        columns = [names(models), *(row[1:-1] for row in shown)]
        few = table(["", *(row[0] for row in shown)], zip(*columns, strict=True))
    else:
        few = table(head, shown)
    return paragraph(text) + (few if told else paragraph("None.")) + folded("All settings", table(head, every))


def _row(models: Sequence[TrainedModel], name: str) -> list[str]:
    return [_cell(getattr(model.settings, name)) for model in models]


def _cell(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return html.escape(text) or "–"
