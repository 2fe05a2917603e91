"""--task_type=calibrate: fits the maps that export and infer put behind a model's logits, on impressions held out.

What the maps are worth is told honestly: they are fitted on every other batch and held against the batches between,
and the other way round. The maps that are kept are those of all batches.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from features import names
from input_fn import dataset, errors, files
from model_fn import calibration
from model_fn.calibration import Calibration
from model_fn.evaluation import CTCVR, CTR, CVR, TASK_METRICS, TASKS, ctcvr_logits
from model_fn.score_histogram import ScoreHistogram
from trainer import calibration_file, checkpoints, evaluating, scoring, training_graph
from trainer.calibration_file import Kept
from trainer.options import Options
from trainer.terminal import say

_SHOWN = ("calibration", "ece", "logloss", "auc")


class Scored(NamedTuple):
    """Impressions with their scores: float64 [n] each; `weight` is what one counts for."""

    ctr: np.ndarray
    cvr: np.ndarray
    click: np.ndarray
    conversion: np.ndarray
    weight: np.ndarray

    def take(self, which: np.ndarray) -> Scored:
        """Some of them: bool [n]."""
        return Scored(*(column[which] for column in self))

    def behind(self, maps: Calibration) -> Scored:
        """The same with calibrated logits."""
        return self._replace(ctr=maps.ctr.of(self.ctr), cvr=maps.cvr.of(self.cvr))

    def histograms(self) -> dict[str, ScoreHistogram]:
        """Scores and labels of each task over its own impressions."""
        made = {task: ScoreHistogram() for task in TASKS}
        clicked = self.click > 0
        made[CTR].update(self.ctr, self.click, self.weight)
        made[CVR].update(self.cvr[clicked], self.conversion[clicked], self.weight[clicked])
        made[CTCVR].update(ctcvr_logits(self.ctr, self.cvr), self.click * self.conversion, self.weight)
        return made


def calibrate(options: Options, given: Mapping[str, Any]) -> str:
    """Fits both towers' maps on a split and keeps them in model_dir.

    Args:
        options: of the run.
        given: the settings that the command names; they must be the model's.

    Returns:
        Path of the JSON file.

    Raises:
        ValueError: settings, data or records cannot be used, or the split has nothing to learn of; the message names
            it.
    """
    if options.split == names.TRAIN:
        raise ValueError(
            f"--split={names.TRAIN}: the model knows the labels of these impressions, so that its scores look better "
            "than they are; calibrate on a split that it was not trained on"
        )
    model = scoring.load(options, given, calibrated=False)
    scored, batch = _read(options, model)
    maps = fit(scored, options.calibration)
    _say_what_stays(scored, options.split)
    before, after = held_against_the_rest(scored, batch, options.calibration)
    kept = Kept(
        evaluating.step_of(model.checkpoint), options.split, options.calibration, len(scored.click), before, after, maps
    )
    path = calibration_file.write(options.model_dir, kept)
    for task in TASKS:
        say(f"{task}: " + ", ".join(_change(name, before[task], after[task]) for name in _SHOWN))
    say(f"wrote {path}: --task_type=export and infer put it behind the model's scores")
    return path


def fit(scored: Scored, method: str) -> Calibration:
    """The maps of both towers; that of conversions is fitted on clicked impressions, where they are known."""
    found = scored.histograms()
    return Calibration(calibration.fit(found[CTR], method), calibration.fit(found[CVR], method))


def held_against_the_rest(
    scored: Scored, batch: np.ndarray, method: str
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """Metrics by task before and after maps that were fitted on the other half of the batches.

    Args:
        scored: the impressions.
        batch: number of the batch of each, int [n]. Requests are whole in a batch, so neither half knows the other's.
        method: of the fit.
    """
    mapped = Scored(*(np.empty_like(column) for column in scored))
    for half in (0, 1):
        own = batch % 2 == half
        for column, values in zip(mapped, scored.take(own).behind(fit(scored.take(~own), method)), strict=True):
            column[own] = values
    return _metrics(scored), _metrics(mapped)


def _metrics(scored: Scored) -> dict[str, dict[str, float]]:
    """By task, those that the data determine."""
    return {
        task: {name: value for name, figure in TASK_METRICS.items() if np.isfinite(value := figure(histogram))}
        for task, histogram in scored.histograms().items()
    }


def _change(name: str, before: Mapping[str, float], after: Mapping[str, float]) -> str:
    old, new = (f"{side[name]:.4g}" if name in side else "absent" for side in (before, after))
    return f"{name} {old} before, {new} after"


def _say_what_stays(scored: Scored, split: str) -> None:
    for task, histogram in scored.histograms().items():
        if task != CTCVR and not (histogram.positives and histogram.negatives):
            say(f"WARNING: {task}: the split {split} has labels of one kind only, so these scores stay as they are")


def _read(options: Options, model: scoring.Model) -> tuple[Scored, np.ndarray]:
    """Scores of a split, and the number of each impression's batch."""
    paths = files.find(model.data.records(options.split))
    labels = [names.CLICK, names.CONVERSION]
    labels += [names.SAMPLE_WEIGHT] if model.data.schema.columns.weight else []
    read = options.scoring_input(ordered=True)

    def make() -> tf.data.Dataset:
        made = dataset.make_dataset(paths, model.data.schema, model.data.vocabulary.size, read)
        return made.map(functools.partial(scoring.with_kept, schema=model.data.schema, kept=labels))

    with errors.naming_files(paths), checkpoints.naming(options.model_dir, model.checkpoint):
        found = model.estimator.predict(make, checkpoint_path=model.checkpoint, yield_single_examples=False)
        batches = [{name: np.asarray(values) for name, values in batch.items()} for batch in found]
    model.data.refuse_replaced()
    together = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    sizes = [len(batch[names.PCTR]) for batch in batches]
    return _scored(together, model.settings.negative_sampling_rate), np.repeat(np.arange(len(sizes)), sizes)


def _scored(columns: Mapping[str, np.ndarray], sampling_rate: float) -> Scored:
    """Of columns of predictions; an impression without click of a sampled log stands for 1 / rate of them."""
    click, conversion = (columns[training_graph.KEPT + name].astype(np.float64) for name in names.LABELS[:2])
    weight = columns.get(training_graph.KEPT + names.SAMPLE_WEIGHT, np.ones(len(click))).astype(np.float64)
    ctr, cvr = (scoring.logits_of(columns[name]) for name in (names.PCTR, names.PCVR))
    return Scored(ctr, cvr, click, conversion, weight * np.where(click > 0, 1.0, 1.0 / sampling_rate))
