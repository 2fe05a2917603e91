"""--task_type=importance: what a model loses without each field (permutation importance, Breiman 2001).

A field's values change places among impressions, everything else stays, and the model scores the result: within
requests, which tells what the field says about the items of one list, and over all impressions that are scored
together, which tells what it says at all. A context field has one value a request, so only the second.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from features import names
from features.schema import Field, Schema
from input_fn import dataset, errors, files
from input_fn.parsing import Columns
from model_fn.evaluation import CTCVR, CTR, CVR, TASKS, ctcvr_logits
from model_fn.representation import requests_of
from model_fn.score_histogram import ScoreHistogram
from trainer import checkpoints, evaluating, importance_file, scoring, training_graph
from trainer.importance_file import OVER_ALL, WITHIN_REQUESTS, FieldLoss, Importance, Loss
from trainer.options import Options
from trainer.terminal import say

# Values change places within a batch: of many requests, or those of a context field would mostly stay where they are.
_BATCH = 1 << 14
# What is scored in one pass: as many sets of histograms are held, at five megabytes each.
_VARIANTS_OF_PASS = 32
_VARIANT = "variant"
_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Shuffle:
    """One way to take a field from the model."""

    field: str
    scope: str


def measure(options: Options, given: Mapping[str, Any]) -> str:
    """Scores a split with each field shuffled in turn and keeps what was lost in model_dir.

    Args:
        options: of the run.
        given: the settings that the command names; they must be the model's.

    Returns:
        Path of the JSON file.

    Raises:
        ValueError: settings, data or records cannot be used; the message names them.
    """
    model = scoring.load(options, given)
    schema = model.data.schema
    every: list[Shuffle | None] = [None, *_shuffles(schema)]
    found: dict[Shuffle | None, dict[str, ScoreHistogram]] = {}
    for start in range(0, len(every), _VARIANTS_OF_PASS):
        found |= scored(options, model, every[start : start + _VARIANTS_OF_PASS])
    kept = _importance(found, evaluating.step_of(model.checkpoint), options.split)
    path = importance_file.write(options.model_dir, kept)
    for field in kept.ranked()[:_SHOWN]:
        say(f"without {field.name}: " + ", ".join(_line(task, field.losses[OVER_ALL]) for task in TASKS))
    say(f"wrote {path}: --task_type=report draws it")
    return path


def _shuffles(schema: Schema) -> Iterator[Shuffle]:
    for field in schema.fields:
        yield Shuffle(field.name, OVER_ALL)
        if not field.is_context:
            yield Shuffle(field.name, WITHIN_REQUESTS)


def scored(
    options: Options, model: scoring.Model, shuffles: Sequence[Shuffle | None]
) -> dict[Shuffle | None, dict[str, ScoreHistogram]]:
    """Scores and labels by task of a split, once for each shuffle; None: as it is."""
    paths = files.find(model.data.records(options.split))
    read = dataclasses.replace(options.scoring_input(ordered=True), batch_size=max(_BATCH, options.batch_size))
    schema = model.data.schema
    labels = [names.CLICK, names.CONVERSION]
    labels += [names.SAMPLE_WEIGHT] if schema.columns.weight else []

    def make() -> tf.data.Dataset:
        made = dataset.make_dataset(paths, schema, model.data.vocabulary.size, read)
        if options.eval_impressions:
            made = made.take(math.ceil(options.eval_impressions / read.batch_size))
        kept = made.map(functools.partial(scoring.with_kept, schema=schema, kept=labels))
        return kept.flat_map(functools.partial(variants, schema=schema, shuffles=shuffles, seed=options.seed))

    histograms = {shuffle: {task: ScoreHistogram() for task in TASKS} for shuffle in shuffles}
    with errors.naming_files(paths), checkpoints.naming(options.model_dir, model.checkpoint):
        for batch in model.estimator.predict(make, checkpoint_path=model.checkpoint, yield_single_examples=False):
            if len(batch[names.PCTR]):
                _add(histograms[shuffles[int(batch[training_graph.KEPT + _VARIANT][0])]], batch)
    model.data.refuse_replaced()
    return histograms


def variants(
    features: Columns, labels: Columns, schema: Schema, shuffles: Sequence[Shuffle | None], seed: int
) -> tf.data.Dataset:
    """The batch once for each shuffle."""

    @tf.autograph.experimental.do_not_convert
    def variant(number: tf.Tensor) -> tuple[Columns, Columns]:
        requests = requests_of(features, schema)
        # The same for a batch, whatever runs beside it.
        seeds = tf.stack([tf.constant(seed, tf.int64), features[names.SAMPLE_ID].values[0] + number])
        orders = _Orders(number, shuffles, seeds, requests.of_impressions, requests.count)
        changed = dict(features)
        for field in schema.fields:
            for key in (field.name, field.weight_key):
                if key in features:
                    changed[key] = orders.shuffled(features[key], field)
        changed[training_graph.KEPT + _VARIANT] = tf.repeat(number, requests.impressions)
        return changed, labels

    return tf.data.Dataset.range(len(shuffles)).map(variant)


class _Orders:
    """The orders in which a batch's rows may come, and which of them the shuffle of a number wants of a field."""

    def __init__(
        self,
        number: tf.Tensor,
        shuffles: Sequence[Shuffle | None],
        seed: tf.Tensor,
        of_impressions: tf.Tensor,
        requests: tf.Tensor,
    ) -> None:
        self._number = number
        self._shuffles = shuffles
        impressions = tf.shape(of_impressions)[0]
        drawn = tf.random.stateless_uniform([impressions], seed, dtype=tf.float64)
        self._impressions = {
            OVER_ALL: tf.argsort(drawn),
            WITHIN_REQUESTS: tf.argsort(tf.cast(of_impressions, tf.float64) + drawn),
            None: tf.range(impressions),
        }
        self._requests = {
            OVER_ALL: tf.argsort(tf.random.stateless_uniform([requests], seed)),
            None: tf.range(requests),
        }

    def shuffled(self, column: tf.Tensor | tf.RaggedTensor, field: Field) -> tf.Tensor | tf.RaggedTensor:
        """A column of the field, its rows in the order that is wanted."""
        orders = self._requests if field.is_context else self._impressions
        order = orders[None]
        for place, shuffle in enumerate(self._shuffles):
            if shuffle is not None and shuffle.field == field.name:
                order = tf.where(tf.equal(self._number, place), orders[shuffle.scope], order)
        if field.is_context:
            return tf.gather(column, order)
        return column.with_values(tf.gather(column.values, order))


def _add(histograms: Mapping[str, ScoreHistogram], batch: Mapping[str, np.ndarray]) -> None:
    click, conversion = (batch[training_graph.KEPT + name] for name in names.LABELS[:2])
    weight = batch.get(training_graph.KEPT + names.SAMPLE_WEIGHT)
    ctr, cvr = (scoring.logits_of(batch[name]) for name in (names.PCTR, names.PCVR))
    clicked = click > 0
    histograms[CTR].update(ctr, click, weight)
    histograms[CVR].update(cvr[clicked], conversion[clicked], None if weight is None else weight[clicked])
    histograms[CTCVR].update(ctcvr_logits(ctr, cvr), click * conversion, weight)


def _importance(found: Mapping[Shuffle | None, Mapping[str, ScoreHistogram]], step: int, split: str) -> Importance:
    base = found[None]
    by_field: dict[str, dict[str, dict[str, Loss]]] = {}
    for shuffle, histograms in found.items():
        if shuffle is not None:
            losses = {task: _loss(base[task], histogram) for task, histogram in histograms.items()}
            by_field.setdefault(shuffle.field, {})[shuffle.scope] = losses
    fields = [FieldLoss(name, losses) for name, losses in by_field.items()]
    return Importance(step, split, round(base[CTR].impressions), fields)


def _loss(base: ScoreHistogram, shuffled: ScoreHistogram) -> Loss:
    auc, log_loss = base.auc() - shuffled.auc(), shuffled.log_loss() - base.log_loss()
    return Loss(*(value if math.isfinite(value) else None for value in (auc, log_loss)))


def _line(task: str, losses: Mapping[str, Loss]) -> str:
    lost = losses[task].auc
    return f"{task} AUC {'unknown' if lost is None else f'{-lost:+.4f}'}"
