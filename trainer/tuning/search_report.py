"""What a search found: trials.json, and the model report with a picture of what mattered."""

from __future__ import annotations

import html
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

import storage
from storage import ownership
from trainer.model_dir import write_whole
from trainer.model_report import html as parts
from trainer.model_report import page, pictures, trained_model
from trainer.model_report.pictures import Cloud
from trainer.options import Options, comparable_metrics
from trainer.reporting import MOST_MODELS, REPORT_FILE
from trainer.terminal import say
from trainer.tuning.space import Space

TRIALS_FILE = "trials.json"
# Fewer tell nothing about which setting mattered.
_FEWEST = 4
_NOTE = """A point is a trial. The number behind a setting says how much of the difference between good trials and all
trials it explains, all settings together 1 (PED-ANOVA, Watanabe et al. 2023). One seed each: a difference that is less
than the standard error below may be chance, and the best of many trials looks better than it is; train it once more
with another --seed before it is believed."""


def folder_of(model_dir: str, number: int) -> str:
    """The model_dir of a trial."""
    return storage.join(model_dir, f"trial-{number:03d}")


def write(options: Options, study: optuna.Study, space: Space) -> str:
    """Writes both files and gives the report's path.

    Raises:
        ValueError: no trial came to an end.
    """
    trials = _ranked(study, options.metric)
    best = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not best:
        raise ValueError(f"--model_dir={options.model_dir}: no trial came to an end, so there is nothing to report")
    matters = _importances(study, best)
    _write_trials(options, trials, matters)
    shown = best[:MOST_MODELS]
    models = trained_model.load_all(
        [folder_of(options.model_dir, trial.number) for trial in shown], options.evaluated_splits[0]
    )
    section = ("Search", _section(options.metric, trials, space, matters))
    path = options.report or storage.join(options.model_dir, REPORT_FILE)
    ownership.refuse_foreign_file(path, parts.beginning(page.TITLE).encode(), "report")
    write_whole(path, page.page(models, [section]))
    folder = folder_of(options.model_dir, best[0].number)
    say(f"best of {len(trials)} trials: {options.metric} {best[0].value:.4f}, {folder}")
    say(f"wrote {path}")
    return path


def _ranked(study: optuna.Study, metric: str) -> list[FrozenTrial]:
    """Ended trials, best first; those that were cut short or failed behind the others."""
    sign = -1.0 if comparable_metrics()[metric] else 1.0
    ended = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    return sorted(ended, key=lambda trial: (trial.state.value, sign * (trial.value or 0.0), trial.number))


def _importances(study: optuna.Study, done: Sequence[FrozenTrial]) -> dict[str, float]:
    """By setting, most important first; empty where the trials cannot tell."""
    if len(done) < _FEWEST or len({trial.value for trial in done}) < _FEWEST:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _write_trials(options: Options, trials: Sequence[FrozenTrial], matters: Mapping[str, float]) -> None:
    rows = [
        {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            options.metric: trial.value,
            "settings": trial.params,
            "model_dir": folder_of(options.model_dir, trial.number),
        }
        for trial in trials
    ]
    found = {"metric": options.metric, "importance": dict(matters), "trials": rows}
    write_whole(storage.join(options.model_dir, TRIALS_FILE), json.dumps(found, indent=1) + "\n")


def _section(metric: str, trials: Sequence[FrozenTrial], space: Space, matters: Mapping[str, float]) -> str:
    order = [*matters, *(name for name in space if name not in matters)]
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    clouds = [_cloud(name, done, space, matters) for name in order]
    head = ["trial", metric, "", *map(html.escape, order)]
    rows = [
        [
            str(trial.number),
            parts.number(trial.value, ".5f"),
            _ended(trial),
            *(_text(trial.params.get(n)) for n in order),
        ]
        for trial in trials
    ]
    return pictures.clouds(clouds, metric, "search") + parts.paragraph(_NOTE) + parts.table(head, rows)


def _cloud(name: str, done: Sequence[FrozenTrial], space: Space, matters: Mapping[str, float]) -> Cloud:
    title = f"{name}: {matters[name]:.2f}" if name in matters else name
    values, heights = [trial.params[name] for trial in done], [float(trial.value or 0.0) for trial in done]
    chosen = space[name]
    if isinstance(chosen, CategoricalDistribution):
        words = [str(choice) for choice in chosen.choices]
        return Cloud(title, [float(words.index(value)) for value in values], heights, words=words)
    return Cloud(title, [float(value) for value in values], heights, logarithmic=bool(getattr(chosen, "log", False)))


def _ended(trial: FrozenTrial) -> str:
    return {TrialState.COMPLETE: "", TrialState.PRUNED: "cut short"}.get(trial.state, "failed")


def _text(value: Any) -> str:
    return html.escape(f"{value:.4g}" if isinstance(value, float) else str(value))
