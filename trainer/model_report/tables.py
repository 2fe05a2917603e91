"""Tables of the model report: what the latest evaluation of each model found."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from model_fn import score_histogram
from model_fn.evaluation import (
    CTCVR,
    CTR,
    CVR,
    CVR_ALL,
    CVR_KNOWN,
    NDCG,
    OBSERVED_RATE,
    TASKS,
    known,
    standard_error,
    weighted,
)
from trainer.evaluation_report import Evaluated
from trainer.model_report.html import folded, names, number, paragraph, table
from trainer.model_report.trained_model import TrainedModel
from trainer.options import comparable_metrics

# What a task is, and the label and impressions that it is evaluated on.
SPACES = {
    CTR: ("CTR", "click, all impressions"),
    CVR: ("CVR", "conversion, clicked impressions"),
    CTCVR: ("CTCVR", "conversion, all impressions"),
    CVR_ALL: ("pCVR as CTCVR", "conversion, all impressions"),
    CVR_KNOWN: ("CVR without selection", "conversion, clicked or not"),
}
# Impressions that mean pCVR is given for.
SUBSETS = ("clicked", "unclicked", "all")
_WEIGHTED = "<br><small>by weight</small>"
_METRICS = {
    "auc": ("AUC", ".4f"),
    "logloss": ("log loss", ".5f"),
    "normalized_entropy": ("normalized entropy", ".4f"),
    "calibration": ("calibration", ".3f"),
    "ece": ("expected calibration error", ".3g"),
}
_CALIBRATED = {name: _METRICS[name] for name in ("calibration", "ece", "logloss", "auc")}
_CALIBRATED_NOTE = """Before and after calibration (--task_type=calibrate), each half of its split by maps that were
fitted on the other half. pCTR and pCVR keep their order; pCTCVR, their product, nearly does."""
_METRICS_NOTE = """± is the standard error of an AUC that comes from the evaluated impressions being a sample (Hanley
and McNeil 1982). Models on the same impressions share a part of it, but a difference of this size needs several seeds
to mean something. Normalized entropy: log loss over that of always predicting the mean rate. Calibration: Σ
prediction / Σ label. pCVR as CTCVR: pCVR alone, ranking all impressions by conversions that only clicks can have;
some papers call this CVR AUC, and it is not comparable with the CVR column. CVR without selection: of a split whose
conversions are known without a click too."""
_USERS_NOTE = """AUC within each user, averaged over users by their impressions: what counts where a list for one user
is ranked. Users whose impressions are of one class have none and are left out. NDCG@10: how
well the first ten places of a user's list are filled, of users with a positive."""
_PROPENSITY_NOTE = """Over the clicked impressions that were evaluated. Their weight in IPS and DR is 1 / pCTR, with
pCTR raised to the floor where it is below; where that happens to many clicks, little is corrected. Effective sample
size (Σw)²/Σw² (Kish 1965): how many equally weighted clicks would tell as much; far below the number of clicks, a few
of them decide. ESMM and naive CVR do not use the weights: their rows say what these would be."""


def metrics(models: Sequence[TrainedModel]) -> str:
    """Every metric by task and space, the models below one another."""
    spaces = [space for space in SPACES if space != CVR_KNOWN or _know_all(models)]
    head = ["", ""] + [f"{SPACES[space][0]}<br><small>{SPACES[space][1]}</small>" for space in spaces]
    groups = []
    for metric, (title, form) in _METRICS.items():
        for by_weight in (False, True) if _have_weights(models) else (False,):
            columns = [_column(models, space, metric, form, by_weight) for space in spaces]
            titles = [title + (_WEIGHTED if by_weight else "")] + [""] * (len(models) - 1)
            groups.append(list(zip(titles, names(models), *columns, strict=True)))
    bold = " Bold: best of the models." if len(models) > 1 and same_impressions(models) else ""
    return table(head, *groups) + paragraph(_METRICS_NOTE + bold)


def _know_all(models: Sequence[TrainedModel]) -> bool:
    return any(known(f"{CVR}_auc") in model.evaluated.metrics for model in models)


def _have_weights(models: Sequence[TrainedModel]) -> bool:
    return any(weighted(OBSERVED_RATE) in model.evaluated.metrics for model in models)


def _column(models: Sequence[TrainedModel], space: str, metric: str, form: str, by_weight: bool) -> list[str]:
    """Cells of a metric in a space: one for each model, the best one bold."""
    name = {CVR_ALL: f"{CVR}_{metric}_all", CVR_KNOWN: known(f"{CVR}_{metric}")}.get(space, f"{space}_{metric}")
    name = weighted(name) if by_weight else name
    if space == CVR_ALL and name not in comparable_metrics():
        return [""] * len(models)
    values = [model.evaluated.metrics.get(name) for model in models]
    best = _best(name, values) if same_impressions(models) else None
    cells = []
    for model, value in zip(models, values, strict=True):
        cell = number(value, form)
        cell = f"<b>{cell}</b>" if value is not None and value == best else cell
        # Of weighted impressions the error depends on the weights, which an evaluation does not keep.
        tells = metric == "auc" and not by_weight and space != CVR_KNOWN
        error = auc_error(model.evaluated, space, value) if tells else None
        cells.append(cell if error is None else f"{cell} <small>± {error:.4f}</small>")
    return cells


def same_impressions(models: Sequence[TrainedModel]) -> bool:
    """Whether the models were evaluated on equally many impressions and clicks, so most likely on the same."""
    return len({(model.evaluated.impressions, clicks(model.evaluated)) for model in models}) == 1


def _best(name: str, values: Sequence[float | None]) -> float | None:
    """The best value of several, if the metric has one."""
    known = [value for value in values if value is not None]
    if len(known) < 2 or name not in comparable_metrics():
        return None
    return max(known) if comparable_metrics()[name] else min(known)


def auc_error(evaluated: Evaluated, space: str, auc: float | None) -> float | None:
    """Standard error of an AUC that was evaluated."""
    counts = evaluated.calibration[CTCVR if space == CVR_ALL else space]
    impressions = counts[:, score_histogram.IMPRESSIONS]
    positives = round(float(impressions @ counts[:, score_histogram.MEAN_LABEL]))
    negatives = round(float(impressions.sum())) - positives
    return standard_error(auc, positives, negatives)


def clicks(evaluated: Evaluated) -> int:
    """Clicked impressions that were evaluated."""
    return round(float(evaluated.calibration[CVR][:, score_histogram.IMPRESSIONS].sum()))


def mean_pcvr(subset: str) -> str:
    """Name of the metric that is mean pCVR over a subset."""
    return f"{CVR}_mean_{subset}"


def bias(models: Sequence[TrainedModel]) -> str:
    """Mean pCVR by space against the observed conversion rate of clicks."""
    head = ["", "conversions per click"]
    head += [f"mean pCVR on {subset}" for subset in SUBSETS]
    rows = []
    for name, model in zip(names(models), models, strict=True):
        count = f"<br><small>of {clicks(model.evaluated):,} clicks</small>"
        rows.append([name, *_bias_cells(model, lambda metric: metric, count)])
        if weighted(OBSERVED_RATE) in model.evaluated.metrics:
            rows.append([name + _WEIGHTED, *_bias_cells(model, weighted, "")])
    return table(head, rows)


def _bias_cells(model: TrainedModel, named: Callable[[str], str], count: str) -> list[str]:
    """Observed rate and mean pCVR by subset; `named` gives the name of each metric."""
    found = model.evaluated.metrics
    observed = found.get(named(OBSERVED_RATE))
    cells = [number(observed, ".5f") + count]
    for subset in SUBSETS:
        mean = found.get(named(mean_pcvr(subset)))
        ratio = mean / observed if mean is not None and observed else None
        cells.append(f"{number(mean, '.5f')}<br><small>{number(ratio, '.3f')} × observed</small>")
    return cells


def calibration(models: Sequence[TrainedModel]) -> str:
    """The numbers behind the calibration picture, folded."""
    head = ["decile", "impressions", "mean prediction", "mean label", "prediction / label"]
    found = []
    for name, model in zip(names(models), models, strict=True):
        for task in TASKS:
            rows = []
            for decile, (count, predicted, observed) in enumerate(model.evaluated.calibration[task], 1):
                ratio = predicted / observed if observed else None
                cells = (f"{count:,.0f}", f"{predicted:.3g}", f"{observed:.3g}", number(ratio, ".3f"))
                rows.append([str(decile), *cells])
            found.append(paragraph(f"{name}: {SPACES[task][0]}") + table(head, rows))
    return folded("Table by decile", "".join(found))


def calibrated(models: Sequence[TrainedModel]) -> str:
    """What the maps of --task_type=calibrate are worth; nothing where no model has them."""
    rows = []
    for name, model in zip(names(models), models, strict=False):
        kept = model.calibrated
        for task, sides in [(t, (kept.before.get(t, {}), kept.after.get(t, {}))) for t in TASKS] if kept else []:
            pairs = [[number(side.get(metric), form) for side in sides] for metric, (_, form) in _CALIBRATED.items()]
            rows.append([name, SPACES[task][0], *(f"{before} → {after}" for before, after in pairs)])
    head = ["", "", *(title for title, _ in _CALIBRATED.values())]
    return paragraph(_CALIBRATED_NOTE) + table(head, rows) if rows else ""


def users(models: Sequence[TrainedModel]) -> str:
    """AUC within users beside that over all; nothing where no model has users."""
    if not any("gauc_user_share" in model.evaluated.metrics for model in models):
        return ""
    told = ("AUC within users", "users left out", "NDCG@10")
    head = [""] + [f"{SPACES[task][0]}: {what}" for task in TASKS for what in told]
    rows = []
    for name, model in zip(names(models), models, strict=True):
        found = model.evaluated.metrics
        cells = []
        for task in TASKS:
            gauc, left_out = found.get(f"{task}_gauc"), found.get(f"{task}_gauc_left_out")
            by_weight = found.get(weighted(f"{task}_gauc"))
            note = "" if by_weight is None else f"<br><small>by weight {by_weight:.4f}</small>"
            cells += [number(gauc, ".4f") + note, number(left_out, ".1%"), number(found.get(f"{task}_{NDCG}"), ".4f")]
        rows.append([name, *cells])
    shares = {model.evaluated.metrics.get("gauc_user_share", 1.0) for model in models}
    sample = f" Computed from a sample of {min(shares):.3g} of the users." if min(shares) < 1 else ""
    return table(head, rows) + paragraph(_USERS_NOTE + sample)


def propensities(models: Sequence[TrainedModel]) -> str:
    """Diagnostics of the inverse propensities."""
    head = ["", "clicks", "at the floor", "largest weight", "effective sample size", "of the clicks"]
    rows = []
    for name, model in zip(names(models), models, strict=True):
        found, count = model.evaluated.metrics, clicks(model.evaluated)
        size = found.get("propensity_ess")
        cells = [f"{count:,}", number(found.get("propensity_clipped_share"), ".1%")]
        cells += [number(found.get("propensity_max_weight"), ",.1f"), number(size, ",.0f")]
        rows.append([name, *cells, number(size / count if size is not None and count else None, ".1%")])
    return table(head, rows) + paragraph(_PROPENSITY_NOTE)
