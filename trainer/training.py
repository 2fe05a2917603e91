"""--task_type=train: what has to be known and checked before a run begins."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

import storage
from features import names
from input_fn import errors, files
from model_fn import estimator as tf_estimator
from model_fn import evaluation
from model_fn import settings as model_settings
from model_fn.hyperparameters import NONE, Hyperparameters
from storage import lock
from trainer import (
    checkpoints,
    cluster,
    continuation,
    data_dir,
    input_state,
    model_dir,
    own_vocabulary,
    pretrained,
    progressive,
    run_config,
    running,
    same_step,
    signals,
    slicing,
    small_log,
)
from trainer.cluster import Part
from trainer.data_dir import DataDir
from trainer.input_state import Start
from trainer.options import BEST, NO_DISTRIBUTION, Options
from trainer.terminal import say


def train(options: Options, hyperparameters: Hyperparameters, given: Mapping[str, Any]) -> None:
    """Trains the model of model_dir, or goes on with it, and evaluates it on the way and at the end.

    Args:
        options: of the run.
        hyperparameters: of the model, where it is new.
        given: the settings that the command names: of a model that is there, those that variables depend on must not
            differ.

    Raises:
        ValueError: settings, data or records cannot be used; the message names them.
        nan_guard.DivergedError: the loss or a weight became NaN.
        terminal.StoppedError: a signal ended the run.
    """
    storage.refuse_overlap({"model_dir": options.model_dir}, {"data_dir": options.data_dir})
    part = cluster.part_of(cluster.environment(), options.distribute)
    if options.sync_replicas and part.workers < 2:
        raise ValueError("--sync_replicas: TF_CONFIG names no worker that there would be steps to share with")
    if options.pretrained and (not part.is_alone or options.distribute != NO_DISTRIBUTION):
        raise ValueError(
            f"--pretrained={options.pretrained}: is for one process on one device; make a model_dir there with "
            "--max_steps=1, and take it by --warm_start_from here"
        )
    data = data_dir.load(options.data_dir)
    _refuse_absent_metric(options, data)
    if options.continue_from:
        hyperparameters = continuation.settings(options.continue_from, given)
    slicing.refuse_unknown(options.sliced_fields, data.schema)
    paths = _paths(options, data)
    source = _warm_start_source(options, data)
    records = [path for found in paths.values() for path in found]
    with signals.noticed() as request, errors.naming_files(records), checkpoints.naming(options.model_dir):
        if part.role != cluster.CHIEF:
            config = run_config.make(options, part)
            plan = _plan(options, hyperparameters, given, data, part, paths, config, source)
            running.take_part(plan, request)
            return
        with lock.held(options.model_dir, model_dir.COMMAND, "model_dir"):
            model_dir.claim(options.model_dir)
            model_dir.remove_unfinished(options.model_dir)
            if not options.clear_existing_model:
                checkpoints.latest(options.model_dir)
                same_step.restore(options.model_dir)
            config = run_config.make(options, part)
            plan = _plan(options, hyperparameters, given, data, part, paths, config, source)
            if options.pretrained_files and (options.clear_existing_model or not plan.latest):
                rows = pretrained.read(options.pretrained_files, data, plan.settings)
                plan = dataclasses.replace(plan, pretrained=rows)
            if options.clear_existing_model:
                running.try_graph(plan)
                model_dir.clear(options.model_dir)
            for line in (*model_settings.without_effect(plan.settings, given), *_taken_off_twice(plan)):
                say(line)
            _keep(plan, given)
            own_vocabulary.save(options.model_dir, data)
            if options.continue_from and not plan.latest:
                _go_on(plan)
                begun = dataclasses.replace(options, clear_existing_model=False)
                plan = _plan(begun, hyperparameters, {}, data, part, paths, config, source)
            running.lead(plan, request)


def _taken_off_twice(plan: running.Plan) -> list[str]:
    """A word where two ways make up for impressions that were left out of the log."""
    weight, rate = plan.data.schema.columns.weight, plan.settings.negative_sampling_rate
    if weight is None or rate == 1.0:
        return []
    return [
        f"--negative_sampling_rate={rate:g}, and the log has weights (column {weight}): if they make up for "
        "impressions that were left out, scores come out too low by that rate; use one of the two"
    ]


def _refuse_absent_metric(options: Options, data: DataDir) -> None:
    """The best checkpoint and early stopping would never be told of a metric whose column the log lacks."""
    columns = data.schema.columns
    metric, needed = options.metric, []
    if evaluation.is_weighted(metric) and not columns.weight:
        needed.append("weight")
    if ("_gauc" in metric or f"_{evaluation.NDCG}" in metric) and not columns.user:
        needed.append("user")
    if needed:
        raise ValueError(
            f"--metric={metric}: the schema of {options.data_dir} names no column of {' and '.join(needed)}; add it "
            "under columns and preprocess again, or take another metric"
        )


def _paths(options: Options, data: DataDir) -> dict[str, list[str]]:
    """Record files of the train split and of those that are evaluated."""
    there = [split for split in options.evaluated_splits if data.has(split)]
    for split in options.evaluated_splits:
        if split not in there:
            say(f"{options.data_dir} has no records of the split {split}, so it is not evaluated")
    for flag, needs in (
        ("exporters", BEST in options.exporter_names),
        ("early_stopping_evals", options.early_stopping_evals),
    ):
        if needs and not there:
            raise ValueError(
                f"--{flag}={getattr(options, flag)}: needs evaluations, and {options.data_dir} has no records of "
                f"--eval_splits={options.eval_splits}; leave it out, or preprocess with a test split"
            )
    return {split: files.find(data.records(split)) for split in (names.TRAIN, *there)}


def _warm_start_source(options: Options, data: DataDir) -> str:
    """The checkpoint of --warm_start_from; empty without."""
    folder = options.warm_start_from
    if not folder:
        return ""
    checkpoint = checkpoints.latest(folder)
    if checkpoint is None:
        raise ValueError(f"--warm_start_from={folder}: no checkpoint there")
    if options.clear_existing_model:
        storage.refuse_overlap(outputs={"model_dir": options.model_dir}, inputs={"warm_start_from": folder})
    model_dir.refuse_other_data(folder, data)
    return checkpoint


def _plan(
    options: Options,
    hyperparameters: Hyperparameters,
    given: Mapping[str, Any],
    data: DataDir,
    part: Part,
    paths: dict[str, list[str]],
    config: tf_estimator.RunConfig,
    source: str,
) -> running.Plan:
    # What is to be removed goes when all is checked, in a cluster by the chief: each plans as if it were gone.
    checkpoint = None if options.clear_existing_model else tf.train.latest_checkpoint(options.model_dir)
    saved = model_dir.saved_hyperparameters(options.model_dir)
    # A folder without a checkpoint holds no model yet: its settings are those of a run that failed early.
    if saved is not None and checkpoint:
        settings = model_dir.going_on(options.model_dir, saved, given)
        model_dir.refuse_other_data(options.model_dir, data)
    else:
        settings = hyperparameters
        ids = data.vocabulary.size - data.schema.reserved_ids
        if advice := small_log.advice(options, int(data.totals(names.TRAIN).get("impressions", 0)), ids):
            say(advice)
    read = options.training_input(part.workers, run_config.worker_index(config))
    phase = input_state.phase_of(read, files.fingerprint(paths[names.TRAIN]))
    start = input_state.of_checkpoint(checkpoint, phase)
    replicas = config.train_distribute.num_replicas_in_sync if config.train_distribute else 1
    # A step is one batch, or one of each replica, or one of each process in lock step.
    filled = _with_steps(settings, options, data, start, part.workers if options.sync_replicas else replicas)
    new = source if not checkpoint and part.role == cluster.CHIEF else ""
    return running.Plan(options, settings, filled, data, part, paths, config, start, replicas, new)


def _with_steps(
    settings: Hyperparameters, options: Options, data: DataDir, start: Start, replicas: int
) -> Hyperparameters:
    """The settings with the schedule's length, where that was left open; refuses a warm-up that never ends."""
    steps = _planned_steps(options, data, start, replicas)
    if steps and settings.warmup_steps >= steps:
        raise ValueError(
            f"--warmup_steps={settings.warmup_steps}: the run has about {steps:,} steps, so the learning rate would "
            "never be reached; give fewer"
        )
    if settings.decay == NONE or settings.decay_steps:
        return settings
    if not steps:
        raise ValueError(
            f"--decay_steps=0: {options.data_dir} has no {names.REPORT_DIR}/{names.REPORT_JSON} that tells "
            "how long the run will be; give --decay_steps or --max_steps"
        )
    return settings.for_run(steps)


def _planned_steps(options: Options, data: DataDir, start: Start, replicas: int) -> int:
    """Steps of the phase, by the flags and the job's report; 0: not known, or none."""
    impressions = data.totals(names.TRAIN).get("impressions", 0)
    epochs = max(0, options.num_epochs - start.phase.epochs)
    by_data = math.ceil(impressions * epochs / options.batch_size / replicas)
    by_flag = max(0, options.max_steps - start.phase.first_step)
    known = [steps for steps in (by_data, by_flag) if steps]
    return min(known, default=0)


def _go_on(plan: running.Plan) -> None:
    """Makes the first checkpoint from the model of the day before."""
    options = plan.options
    before = continuation.find(options.continue_from)
    if options.validate_first:
        progressive.validate(options, plan.data, before)
    continuation.write_checkpoint(
        before,
        plan.data.vocabulary,
        options.model_dir,
        functools.partial(running.training_input, plan),
        # The checkpoint is made in this process alone.
        running.params(plan) | {"partitions": 1, "exchange": None},
        plan.config,
        options.accumulator_decay,
    )


def _keep(plan: running.Plan, given: Mapping[str, Any]) -> None:
    options = plan.options
    model_dir.save(options.model_dir, plan.settings, plan.data)
    facts = {name: getattr(options, name) for name in ("data_dir", "num_epochs", "max_steps", "distribute")}
    phase = dataclasses.asdict(plan.start.phase)
    settings = dataclasses.asdict(plan.filled)
    model_dir.note_run(
        options.model_dir,
        plan.start.step,
        facts | {"given": sorted(given), "phase": phase, "hyperparameters": settings},
    )
