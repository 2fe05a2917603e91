"""Which pictures a report has: training and evaluation over steps, calibration, mean pCVR."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from model_fn.estimator_model import LOSS_SCOPE
from model_fn.evaluation import OBSERVED_RATE, TASKS
from trainer import progressive
from trainer.event_files import Curve
from trainer.model_report import pictures
from trainer.model_report.html import legend, models_legend, paragraph
from trainer.model_report.pictures import DASHES, MARKERS, Dots, Line, Panel, colors
from trainer.model_report.tables import SPACES, SUBSETS, clicks, mean_pcvr
from trainer.model_report.trained_model import TrainedModel


class _Subject(NamedTuple):
    """What a panel shows: a scalar, or its ratio to another one."""

    title: str
    tag: str
    over: str = ""
    reference: float | None = None
    logarithmic: bool = False


_LOSS = _Subject("all terms, weighted", "loss")
_PROPENSITIES = (
    _Subject("share of clicks at the floor", "propensity/clipped_share"),
    _Subject("largest weight", "propensity/max_weight"),
    _Subject("effective sample size", "propensity/ess"),
    _Subject("floor", "propensity/floor"),
)
_EVALUATIONS = (
    *(_Subject(f"{SPACES[task][0]}: AUC", f"{task}_auc") for task in TASKS),
    *(_Subject(f"{SPACES[task][0]}: AUC within users", f"{task}_gauc") for task in TASKS),
    *(
        _Subject(f"{SPACES[task][0]}: normalized entropy", f"{task}_normalized_entropy", "", 1.0, True)
        for task in TASKS
    ),
    *(_Subject(f"{SPACES[task][0]}: calibration", f"{task}_calibration", "", 1.0, True) for task in TASKS),
    *(_Subject(f"mean pCVR on {subset} / observed", mean_pcvr(subset), OBSERVED_RATE, 1.0, True) for subset in SUBSETS),
)
_EMPTY = Curve(np.empty(0, np.int64), np.empty(0))
_LOSS_NOTE = """Terms of the loss before they are weighted, by their names in docs/models.md. A point is one batch; the
strong line is a moving mean. The first tenth of a curve does not set the scale and may leave its frame."""
_EVALUATIONS_NOTE = """Evaluations during training may look at a part of the split (--eval_impressions), so the last
point of a curve may differ from the tables. Normalized entropy above 1: worse than always predicting the mean rate."""
_DAYS_NOTE = """Each day's rows were scored by the model of the day before, which had never seen them: what production
sees (--validate_first)."""
_PROPENSITY_NOTE = "In training, over the clicks of single batches."
_BIAS_NOTE = """Grey: conversions per click ± a standard error. A model that is right on clicks has ● there. As people
click what they are more likely to buy, ■ belongs to the left of it; how far, no log can tell, since nobody converts
without a click, except a simulated one (python -m simulate.judge)."""
_CALIBRATION_NOTE = """Each point is a tenth of the impressions, ± a standard error; on the grey line predictions are
right. The scales are logarithmic: deciles without positives are in the table only."""


def losses(models: Sequence[TrainedModel]) -> str:
    """Losses of training: all terms of the models, whichever they are."""
    tags = dict.fromkeys(tag for model in models for tag in model.training.curves if tag.startswith(LOSS_SCOPE))
    terms = [_Subject(tag.removeprefix(LOSS_SCOPE), tag) for tag in tags]
    return _training(models, (_LOSS, *terms), "losses", _LOSS_NOTE)


def propensities(models: Sequence[TrainedModel]) -> str:
    """Propensity diagnostics of training."""
    return _training(models, _PROPENSITIES, "propensities", _PROPENSITY_NOTE)


def _training(models: Sequence[TrainedModel], subjects: Sequence[_Subject], name: str, text: str) -> str:
    panels = [
        _panel(subject, [(model.training.curves, color, DASHES[0]) for model, color in _colored(models)])
        for subject in subjects
    ]
    return _curves(panels, name, models_legend(models), text)


def evaluations(models: Sequence[TrainedModel]) -> str:
    """Metrics of the evaluations: a kind of line for each folder of them."""
    folders = sorted({folder for model in models for folder in model.evaluations})
    sources = [
        (events.curves, color, DASHES[folders.index(folder) % len(DASHES)])
        for model, color in _colored(models)
        for folder, events in model.evaluations.items()
    ]
    signs = ("solid", "dashed", "dotted")
    kinds = [f"{signs[number % len(signs)]}: {html.escape(folder)}" for number, folder in enumerate(folders)]
    head = models_legend(models) + (legend(kinds) if len(folders) > 1 else "")
    return _curves([_panel(subject, sources) for subject in _EVALUATIONS], "evaluations", head, _EVALUATIONS_NOTE)


def days(models: Sequence[TrainedModel]) -> str:
    """Progressive validation: each day's metrics of the model of the day before."""
    panels = []
    for subject in _EVALUATIONS:
        lines = [Line(Curve(*progressive.curve(model.days, subject.tag)), color) for model, color in _colored(models)]
        drawn = [line for line in lines if len(line.curve.steps) and not subject.over]
        panels.append(Panel(subject.title, drawn, subject.reference, False, "day"))
    return _curves(panels, "days", models_legend(models), _DAYS_NOTE)


def _panel(subject: _Subject, sources: Sequence[tuple[dict[str, Curve], str, str]]) -> Panel:
    found = ((_curve(curves, subject), color, dashes) for curves, color, dashes in sources)
    lines = [Line(curve, color, dashes) for curve, color, dashes in found if len(curve.steps)]
    return Panel(subject.title, lines, subject.reference, subject.logarithmic)


def _curve(curves: dict[str, Curve], subject: _Subject) -> Curve:
    """The subject's values where they are known, and where they are above 0 if the scale is logarithmic."""
    found = curves.get(subject.tag, _EMPTY)
    if subject.over:
        found = _ratio(found, curves.get(subject.over, _EMPTY))
    shown = np.isfinite(found.values) & ((found.values > 0) | (not subject.logarithmic))
    return Curve(found.steps[shown], found.values[shown])


def _ratio(above: Curve, below: Curve) -> Curve:
    """Ratio at the steps that both curves have; not finite where `below` is 0."""
    steps, here, there = np.intersect1d(above.steps, below.steps, return_indices=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return Curve(steps, above.values[here] / below.values[there])


def _curves(panels: Sequence[Panel], name: str, head: str, text: str) -> str:
    drawn = [panel for panel in panels if panel.lines]
    return head + pictures.curves(drawn, name) + paragraph(text) if drawn else ""


def calibration(models: Sequence[TrainedModel]) -> str:
    """Mean label against mean prediction by decile."""
    tables = [
        (SPACES[task][0], [(model.evaluated.calibration[task], color) for model, color in _colored(models)])
        for task in TASKS
    ]
    return models_legend(models) + pictures.calibration(tables, "calibration") + paragraph(_CALIBRATION_NOTE)


def bias(models: Sequence[TrainedModel]) -> str:
    """Mean pCVR by subset and the observed rate; nothing where a model was evaluated without clicks or others."""
    rows = []
    for model, color in _colored(models):
        found, count = model.evaluated.metrics, clicks(model.evaluated)
        if not {OBSERVED_RATE, *map(mean_pcvr, SUBSETS)} <= found.keys():
            return ""
        observed = found[OBSERVED_RATE]
        error = math.sqrt(observed * (1 - observed) / count)
        rows.append(Dots([found[mean_pcvr(subset)] for subset in SUBSETS], observed, error, color))
    signs = [f"{sign} {subset}" for subset, (_, sign) in zip(SUBSETS, MARKERS, strict=True)]
    head = models_legend(models) + legend(["mean pCVR on impressions that are", *signs])
    return head + pictures.mean_predictions(rows, "bias") + paragraph(_BIAS_NOTE)


def _colored(models: Sequence[TrainedModel]) -> list[tuple[TrainedModel, str]]:
    return list(zip(models, colors(len(models)), strict=True))
