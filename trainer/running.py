"""A training run: Estimator's training, with evaluations and exports, alone or as the part of a cluster.

Not `tf.estimator.train_and_evaluate`: its chief neither evaluates nor exports, what the workers train last is saved by
nobody, a final export needs max_steps, and parameter servers never end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

import storage
from features import names
from input_fn import dataset
from input_fn.options import ENDLESS
from model_fn import estimator as tf_estimator
from model_fn import lookup, network
from model_fn.calibration import Calibration
from model_fn.hyperparameters import Hyperparameters
from model_fn.sync_gradients import Exchange
from trainer import cluster, early_stopping, evaluating, evaluations, run_config, terminal, training_graph, warm_start
from trainer.cluster import Part
from trainer.data_dir import DataDir
from trainer.exporters import VersionExporter
from trainer.input_state import Start
from trainer.nan_guard import NanGuard
from trainer.options import BEST, Options
from trainer.pretrained import Rows
from trainer.profiling import ProfileHook
from trainer.progress import ProgressHook
from trainer.saving import Saver
from trainer.signals import Request, StopHook
from trainer.synchronous import LockStep
from trainer.terminal import StoppedError, say

_DEAD = 1


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run that was checked and can begin.

    Attributes:
        options: of the run.
        settings: of the model, as model_dir keeps them.
        filled: the same with the schedule's length filled in.
        data: that is read.
        part: of this process.
        paths: record files of the train split and of those that are evaluated.
        config: of the run.
        start: where it begins to read.
        replicas: of the model in this process.
        warm_start: checkpoint of another model to start from; empty: none.
        pretrained: rows of the table that do not begin at random; None: all do.
    """

    options: Options
    settings: Hyperparameters
    filled: Hyperparameters
    data: DataDir
    part: Part
    paths: Mapping[str, list[str]]
    config: tf_estimator.RunConfig
    start: Start
    replicas: int
    warm_start: str
    pretrained: Rows | None = None

    @property
    def worker(self) -> int:
        """This process's number among those that train."""
        return run_config.worker_index(self.config)

    @property
    def latest(self) -> str | None:
        """The newest checkpoint."""
        return tf.train.latest_checkpoint(self.options.model_dir)

    def is_over(self) -> bool:
        """Whether nothing is left to train."""
        most = self.options.max_steps
        return self.start.phase.epochs >= self.options.num_epochs or bool(most and self.start.step >= most)


def lead(plan: Plan, request: Request) -> None:
    """The part of the process that trains alone, or of a cluster's chief."""
    if not plan.part.addresses:
        _train_to_the_end(plan, request)
        return
    state = cluster.RunState(plan.options.model_dir)
    state.write(cluster.RUNNING)
    try:
        server = cluster.start_server(plan.part)
        if plan.part.is_alone:
            _train_to_the_end(plan, request, close=functools.partial(state.write, cluster.CLOSING))
        else:
            _lead_cluster(plan, request, state)
        del server
    except BaseException as error:
        state.write(cluster.STOPPED if isinstance(error, StoppedError) else cluster.FAILED, str(error))
        raise
    state.write(cluster.FINISHED)


def _lead_cluster(plan: Plan, request: Request, state: cluster.RunState) -> None:
    dead: list[str] = []

    def on_death(title: str) -> None:
        dead.append(title)
        if title.startswith(cluster.SERVER) or plan.options.sync_replicas:
            # Weights or gradients are gone with it, and a step in progress waits for ever.
            message = f"{title} is gone; training goes on from its last checkpoint when all are started again"
            state.write(cluster.FAILED, message)
            terminal.end_at_once(f"trainer: {message}", _DEAD)

    def is_cut_short() -> bool:
        return bool(request.signal or dead)

    def close() -> None:
        state.write(cluster.CLOSING)

    with cluster.Watch(cluster.peers(plan.part, (cluster.SERVER, cluster.WORKER)), on_death) as watch:
        done = cluster.DoneHook(plan.part, is_cut_short)
        if not plan.options.sync_replicas:
            _train_to_the_end(plan, request, [done, cluster.ReadyHook(state)], done.wait, dead, close)
            watch.wait_until_all_came(is_cut_short)
            return
        steps = LockStep(plan.part.workers)

        def let_go_and_wait(session: tf.compat.v1.Session) -> bool:
            steps.release(session)
            return done.wait(session)

        _train_to_the_end(plan, request, [done, cluster.ReadyHook(state), steps], let_go_and_wait, dead, close)
        watch.wait_until_all_came(is_cut_short)


def take_part(plan: Plan, request: Request) -> None:
    """The part of a worker, a parameter server or an evaluator, until the run has ended."""
    state = cluster.RunState(plan.options.model_dir)

    def on_death(title: str) -> None:
        how, message = state.ended() or (
            cluster.FAILED,
            f"{title} is gone; training goes on from its last checkpoint when all are started again",
        )
        if how == cluster.FINISHED:
            terminal.end_at_once("", 0)
        terminal.end_at_once(f"trainer: the run has ended: {message}", _DEAD)

    roles = (cluster.CHIEF, cluster.SERVER) if plan.part.role == cluster.WORKER else (cluster.CHIEF,)
    with cluster.Watch(cluster.peers(plan.part, roles), on_death) as watch:
        if plan.part.role == cluster.EVALUATOR:
            _follow(plan, request, state)
            return
        server = cluster.start_server(plan.part)
        if plan.part.role == cluster.WORKER and not plan.is_over():
            is_over = lambda: bool(request.signal or state.ended())  # noqa: E731
            cluster.wait_until_ready(state, is_over)
            if not is_over():
                _train(plan, is_over, [], [cluster.DoneHook(plan.part, is_over)])
        # A server that is asked to end waits for the chief, if there is one: it is asked too, and saves.
        waits = lambda: plan.part.role == cluster.SERVER and watch.all_came()  # noqa: E731
        how, message = cluster.wait_for_end(state, lambda: bool(request.signal) and not waits())
        del server
    if how == cluster.STOPPED:
        raise StoppedError(message, request.signal or 15)
    if how == cluster.FAILED:
        raise cluster.ClusterError(f"the run has ended: {message}")


def _follow(plan: Plan, request: Request, state: cluster.RunState) -> None:
    def asked() -> int:
        # The last checkpoint is the chief's to evaluate, which waits for nobody: one at work here would come behind it.
        return request.signal or (signal.SIGTERM if state.is_closing() else 0)

    options = plan.options
    with contextlib.suppress(StoppedError):
        evaluating.follow(
            make_evaluator(plan, asked), options.model_dir, options.eval_throttle_secs, lambda: bool(asked())
        )
    cluster.wait_for_end(state, lambda: bool(request.signal))
    if request.signal:
        raise StoppedError("the evaluator was asked to end", request.signal)
    ended = state.ended()
    if ended and ended[0] != cluster.FINISHED:
        raise cluster.ClusterError(f"the run has ended: {ended[1]}")


def _train_to_the_end(
    plan: Plan,
    request: Request,
    hooks: Sequence[Any] = (),
    wait: Callable[[tf.compat.v1.Session], bool] | None = None,
    dead: Sequence[str] = (),
    close: Callable[[], None] = lambda: None,
) -> None:
    """Trains what is left, tells others by `close`, evaluates the last checkpoint and makes the last exports."""
    options = plan.options
    evaluator = make_evaluator(plan, lambda: request.signal)
    stopper = _stopper(plan, evaluator)
    if stopper is not None and stopper.is_due():
        say("nothing to train: early stopping ended this model's training before")
    elif plan.is_over():
        say("nothing was left to train: all --num_epochs of these files, or --max_steps, were done before")
    else:
        if plan.start.is_begun:
            read = sum(records for records, _ in plan.start.positions)
            say(f"going on behind the {read:,} records that the checkpoint has seen")
        shared = bool(plan.part.addresses)
        listener = evaluating.EvaluateOnSave(evaluator, options.model_dir, options.eval_throttle_secs, request, shared)
        own = [*hooks, stopper] if stopper is not None else list(hooks)
        _train(plan, lambda: bool(request.signal or dead), [listener], own, wait)
    _refuse_unfinished(plan, request, dead)
    close()
    with evaluating.in_turn(options.model_dir) if plan.part.addresses else contextlib.nullcontext():
        _finish(plan, evaluator, stopper)


def _finish(plan: Plan, evaluator: evaluating.Evaluator, stopper: early_stopping.EarlyStopping | None) -> None:
    options = plan.options
    if plan.latest:
        evaluator.evaluate(plan.latest)
    if stopper is not None and stopper.is_due() and (best := evaluations.restore_best(options.model_dir)):
        say(f"the best checkpoint is the latest one again: {os.path.basename(best)}")
    if plan.latest:
        evaluator.finish(plan.latest)


def _refuse_unfinished(plan: Plan, request: Request, dead: Sequence[str]) -> None:
    step = evaluating.step_of(plan.latest) if plan.latest else 0
    if dead:
        raise cluster.ClusterError(
            f"{dead[0]} is gone; saved at step {step:,}: start all processes again to go on from there"
        )
    if request.signal:
        raise StoppedError(f"stopped; saved at step {step:,}: the same command goes on from there", request.signal)


def _train(
    plan: Plan,
    is_cut_short: Callable[[], bool],
    listeners: Sequence[Any],
    more_hooks: Sequence[Any],
    wait: Callable[[tf.compat.v1.Session], bool] | None = None,
) -> None:
    options = plan.options
    hooks: list[Any] = [NanGuard(plan.paths[names.TRAIN], options.model_dir), _progress(plan), StopHook(is_cut_short)]
    hooks += more_hooks
    if plan.part.role == cluster.CHIEF and options.profiled_steps:
        hooks.append(ProfileHook(options.model_dir, *options.profiled_steps))
    if plan.part.role == cluster.CHIEF:
        check = plan.data.refuse_replaced
        hooks.insert(0, Saver(options.model_dir, options.save_checkpoints_secs, options.max_steps, check, wait))
    estimator = tf_estimator.Estimator(
        training_graph.model_fn, model_dir=options.model_dir, config=plan.config, params=params(plan)
    )
    most = options.max_steps or None
    estimator.train(functools.partial(training_input, plan), hooks, max_steps=most, saving_listeners=list(listeners))


def try_graph(plan: Plan) -> None:
    """Makes the graph of a training and forgets it: raises whatever would end the training before its first step."""
    with tf.Graph().as_default():
        features, labels = tf.compat.v1.data.make_one_shot_iterator(training_input(plan)).get_next()
        mode, cold = tf_estimator.ModeKeys.TRAIN, params(plan) | {"warm_start": ""}
        training_graph.model_fn(features, labels, mode, cold, plan.config)
        if plan.warm_start:
            warm_start.take(plan.warm_start, shown=False)


def training_input(plan: Plan) -> tf.data.Dataset:
    """What the run still has to read."""
    options, phase = plan.options, plan.start.phase
    records, batches = plan.start.positions[plan.worker]
    read = dataclasses.replace(
        options.training_input(phase.workers, plan.worker),
        # Passes that come behind complete ones are in another order.
        seed=options.seed + phase.epochs,
        num_epochs=options.num_epochs - phase.epochs,
        skip_records=records,
        skip_batches=batches,
        replicas=ENDLESS if options.sync_replicas else plan.replicas,
    )
    schema, size = plan.data.schema, plan.data.vocabulary.size
    prepare = functools.partial(lookup.in_place_of_fields, schema=schema, combiner=plan.settings.combiner)
    return dataset.make_dataset(plan.paths[names.TRAIN], schema, size, read, prepare)


def _progress(plan: Plan) -> ProgressHook:
    epochs = plan.options.num_epochs - plan.start.phase.epochs
    records = plan.data.totals(names.TRAIN).get("records", 0) * epochs
    share = records // plan.start.phase.workers
    done = plan.start.positions[plan.worker][0]
    # The chief's speed is that of its own part: so it is what its own terminal says.
    folder = plan.options.model_dir if plan.part.role == cluster.CHIEF else ""
    return ProgressHook(plan.options.log_steps, plan.options.max_steps, share, done, folder)


def _stopper(plan: Plan, evaluator: evaluating.Evaluator) -> early_stopping.EarlyStopping | None:
    options = plan.options
    if not options.early_stopping_evals:
        return None
    return early_stopping.EarlyStopping(
        evaluator.history, options.metric, options.early_stopping_evals, options.log_steps
    )


def make_evaluator(plan: Plan, asked: Callable[[], int]) -> evaluating.Evaluator:
    """The run's evaluator, which breaks off where `asked` gives a signal."""
    options = plan.options
    estimator = make_estimator(options, plan.filled, plan.data, run_config.make(options))
    paths = {split: found for split, found in plan.paths.items() if split in options.evaluated_splits}
    exporters = {
        name: VersionExporter(storage.join(options.model_dir, "export", name), _version_maker(plan), name == BEST)
        for name in options.exporter_names
    }
    return evaluating.Evaluator(options, plan.data, estimator, paths, exporters, asked)


def _version_maker(plan: Plan) -> Callable[[str, str], str]:
    export = plan.options.export_options()

    def make(folder: str, checkpoint: str) -> str:
        # Here, since training alone needs nothing of serving.
        from serving.export import export_saved_model, remove_unfinished

        # model_dir is this run's alone, and its exports come one after the other.
        remove_unfinished(folder)
        return export_saved_model(folder, checkpoint, names.vocabulary_dir(plan.data.path), plan.filled, export)

    return make


def params(plan: Plan) -> training_graph.Params:
    """Of the training graph."""
    start = plan.start
    return {
        **_model_params(plan.filled, plan.data),
        "first_step": start.phase.first_step,
        "start_logits": _start_logits(plan.data.totals(names.TRAIN)),
        "phase": start.phase,
        "positions": start.positions,
        "epochs": plan.options.num_epochs,
        "warm_start": plan.warm_start,
        "pretrained": plan.pretrained,
        "partitions": max(1, len(plan.part.addresses.get(cluster.SERVER, ()))),
        "exchange": Exchange(plan.part.workers, plan.worker) if plan.options.sync_replicas else None,
    }


def _start_logits(totals: Mapping[str, Any]) -> dict[str, float]:
    """By the job's report; empty without, or where nothing can be learnt of the records."""
    counts = [int(totals.get(name, 0)) for name in ("impressions", "clicks", "conversions")]
    return network.start_logits(*counts) if counts[0] else {}


def _model_params(settings: Hyperparameters, data: DataDir) -> training_graph.Params:
    return {"schema": data.schema, "vocabulary_size": data.vocabulary.size, "hyperparameters": settings}


def make_estimator(
    options: Options,
    settings: Hyperparameters,
    data: DataDir,
    config: tf_estimator.RunConfig,
    maps: Calibration | None = None,
) -> tf_estimator.Estimator:
    """The Estimator that uses the model of a model_dir.

    Args:
        options: of the run.
        settings: of the model.
        data: whose schema and vocabulary the model has.
        config: of the run.
        maps: that predictions go through.
    """
    params = _model_params(settings, data) | {"slice_by": options.sliced_fields, "calibration": maps}
    return tf_estimator.Estimator(training_graph.model_fn, model_dir=options.model_dir, config=config, params=params)
