"""--task_type=train."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from features import names
from input_fn import dataset, errors, files
from input_fn.options import InputOptions
from model_fn import estimator as tf_estimator
from model_fn import lookup
from model_fn.hyperparameters import NONE, Hyperparameters
from trainer import (
    continuation,
    data_dir,
    early_stopping,
    model_dir,
    own_vocabulary,
    progressive,
    run_config,
    small_log,
    training_graph,
)
from trainer.data_dir import DataDir
from trainer.evaluation_report import ReportExporter
from trainer.exporters import BestExporter, FinalExporter
from trainer.nan_guard import NanGuard
from trainer.options import BEST, FINAL, Options
from trainer.progress import ProgressHook
from trainer.terminal import say


def train(options: Options, hyperparameters: Hyperparameters, given: Mapping[str, Any]) -> None:
    """Trains the model of model_dir, or goes on with it, and evaluates it on the test split on the way.

    Args:
        options: of the run.
        hyperparameters: of the model, where it is new.
        given: the settings that the command names: those of a model that is there must not differ.

    Raises:
        ValueError: settings, data or records cannot be used; the message names them.
        nan_guard.DivergedError: the loss became NaN.
    """
    data = data_dir.load(options.data_dir)
    config = run_config.make(options, clustered=True)
    if options.clear_existing_model and config.is_chief:
        model_dir.clear(options.model_dir)
    if options.continue_from:
        hyperparameters = continuation.settings(options.continue_from, given)
    settings = _settings(options, hyperparameters, given, data, config)
    if config.is_chief:
        own_vocabulary.save(options.model_dir, data)
    paths = {split: files.find(data.records(split)) for split in (names.TRAIN, names.TEST)}
    with errors.naming_files([path for found in paths.values() for path in found]):
        if options.continue_from and config.is_chief:
            _go_on(options, settings, data, config, paths)
        _Run(options, settings, data, config, paths).train_and_evaluate()


def _go_on(
    options: Options,
    settings: Hyperparameters,
    data: DataDir,
    config: tf_estimator.RunConfig,
    paths: Mapping[str, list[str]],
) -> None:
    """Makes the first checkpoint from the model of the day before; one that is there stays."""
    if tf.train.latest_checkpoint(options.model_dir):
        return
    before = continuation.find(options.continue_from)
    if options.validate_first:
        progressive.validate(options, data, before)
    read = options.training_input()
    continuation.write_checkpoint(
        before,
        data.vocabulary,
        options.model_dir,
        functools.partial(_training_dataset, paths[names.TRAIN], data, settings, read),
        _params(settings, data, 0),
        config,
        options.accumulator_decay,
    )


def _training_dataset(
    paths: list[str], data: DataDir, settings: Hyperparameters, read: InputOptions
) -> tf.data.Dataset:
    prepare = functools.partial(lookup.in_place_of_fields, schema=data.schema, combiner=settings.combiner)
    return dataset.make_dataset(paths, data.schema, data.vocabulary.size, read, prepare)


def _params(settings: Hyperparameters, data: DataDir, fingerprint: int) -> training_graph.Params:
    return {
        "schema": data.schema,
        "vocabulary_size": data.vocabulary.size,
        "hyperparameters": settings,
        "fingerprint": fingerprint,
    }


def _settings(
    options: Options,
    hyperparameters: Hyperparameters,
    given: Mapping[str, Any],
    data: DataDir,
    config: tf_estimator.RunConfig,
) -> Hyperparameters:
    """Settings to train with: those of the model that is there, else the given ones, which are then kept.

    A folder without a checkpoint holds no model yet: its settings are those of a run that failed early.
    """
    saved = model_dir.saved_hyperparameters(options.model_dir)
    if saved is not None and tf.train.latest_checkpoint(options.model_dir):
        # Open decay steps were filled in when the run began: the same command goes on with them.
        named = {name: value for name, value in given.items() if (name, value) != ("decay_steps", 0)}
        model_dir.refuse_contradiction(options.model_dir, saved, named)
        model_dir.refuse_other_data(options.model_dir, data)
        return saved
    settings = hyperparameters
    if settings.decay != NONE and not settings.decay_steps:
        settings = settings.for_run(_planned_steps(options, data, config))
    if config.is_chief:
        model_dir.save(options.model_dir, settings, data)
        if advice := small_log.advice(options, int(data.totals(names.TRAIN).get("impressions", 0))):
            say(advice)
    return settings


def _planned_steps(options: Options, data: DataDir, config: tf_estimator.RunConfig) -> int:
    """Steps of the whole run, by the flags and the job's report."""
    if options.max_steps:
        return options.max_steps
    impressions = data.totals(names.TRAIN).get("impressions")
    if not impressions:
        raise ValueError(
            f"--decay_steps=0: {options.data_dir} has no {names.REPORT_DIR}/{names.REPORT_JSON} that tells "
            "how long the run will be; give --decay_steps or --max_steps"
        )
    replicas = config.train_distribute.num_replicas_in_sync if config.train_distribute else 1
    return math.ceil(impressions * options.num_epochs / options.batch_size / replicas)


class _Run:
    """What the parts of a training run share."""

    def __init__(
        self,
        options: Options,
        settings: Hyperparameters,
        data: DataDir,
        config: tf_estimator.RunConfig,
        paths: Mapping[str, list[str]],
    ) -> None:
        self._options = options
        self._settings = settings
        self._data = data
        self._config = config
        self._paths = paths
        self._fingerprint = files.fingerprint(paths[names.TRAIN])
        checkpoint = tf.train.latest_checkpoint(options.model_dir)
        self._worker = run_config.worker_index(config)
        self._first_record = training_graph.records_read(checkpoint, self._worker, self._fingerprint)
        self._estimator = make_estimator(options, settings, data, config, self._fingerprint)

    def train_and_evaluate(self) -> None:
        """Runs tf_estimator.train_and_evaluate: alone, or as the part that TF_CONFIG gives to this process."""
        if self._first_record:
            say(f"going on behind the {self._first_record:,} records that the checkpoint has seen")
        stopper = self._early_stopping()
        if stopper is not None and stopper.is_due():
            say("nothing to train: early stopping ended this model's training before")
            return
        hooks = [NanGuard(self._paths[names.TRAIN], self._options.model_dir), self._progress()]
        train_spec = tf_estimator.TrainSpec(
            self._training_input, self._options.max_steps or None, hooks + ([stopper] if stopper else [])
        )
        tf_estimator.train_and_evaluate(self._estimator, train_spec, self._eval_spec())

    def _training_input(self) -> tf.data.Dataset:
        workers = run_config.worker_count(self._config)
        read = self._options.training_input(workers, self._worker, self._first_record)
        return _training_dataset(self._paths[names.TRAIN], self._data, self._settings, read)

    def _eval_spec(self) -> tf_estimator.EvalSpec:
        read = self._options.scoring_input(ordered=True)
        return tf_estimator.EvalSpec(
            lambda: dataset.make_dataset(self._paths[names.TEST], self._data.schema, self._data.vocabulary.size, read),
            steps=math.ceil(self._options.eval_impressions / self._options.batch_size) or None,
            exporters=self._exporters(),
            start_delay_secs=0,
            throttle_secs=self._options.eval_throttle_secs,
        )

    def _exporters(self) -> list[tf_estimator.Exporter]:
        folder = names.vocabulary_dir(self._data.path)
        options = self._options.export_options()
        made = {
            BEST: BestExporter(folder, self._settings, self._options.metric, options),
            FINAL: FinalExporter(folder, self._settings, options),
        }
        return [ReportExporter(), *(made[name] for name in self._options.exporter_names)]

    def _progress(self) -> ProgressHook:
        records = self._data.totals(names.TRAIN).get("records", 0) * self._options.num_epochs
        share = records // run_config.worker_count(self._config)
        return ProgressHook(self._options.log_steps, self._options.max_steps, share, self._first_record)

    def _early_stopping(self) -> early_stopping.EarlyStopping | None:
        patience, every = self._options.early_stopping_evals, self._options.log_steps
        if not patience:
            return None
        return early_stopping.EarlyStopping(self._estimator.eval_dir(), self._options.metric, patience, every)


def make_estimator(
    options: Options,
    settings: Hyperparameters,
    data: DataDir,
    config: tf_estimator.RunConfig,
    fingerprint: int = 0,
) -> tf_estimator.Estimator:
    """The Estimator of a model_dir.

    Args:
        options: of the run.
        settings: of the model.
        data: whose schema and vocabulary the model has.
        config: of the run.
        fingerprint: of the files that are trained on.
    """
    params = _params(settings, data, fingerprint)
    warm_start = _warm_start(options, data) if options.warm_start_from else None
    return tf_estimator.Estimator(training_graph.model_fn, config=config, params=params, warm_start_from=warm_start)


def _warm_start(options: Options, data: DataDir) -> tf_estimator.WarmStartSettings:
    """Weights of another model, not its optimizer's state; they count only where model_dir has no checkpoint."""
    folder = options.warm_start_from
    checkpoint = tf.train.latest_checkpoint(folder)
    if checkpoint is None:
        raise ValueError(f"--warm_start_from={folder}: no checkpoint there")
    model_dir.refuse_other_data(folder, data)
    say(f"starting from the weights of {os.path.basename(checkpoint)} in {folder}")
    return tf_estimator.WarmStartSettings(checkpoint)
