"""Evaluates the checkpoints of a training run and exports what --exporters names."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

import storage
from features import names
from input_fn import dataset, files
from model_fn import estimator as tf_estimator
from storage import lock, ownership
from trainer import evaluation_report, evaluations, signals, slicing
from trainer.data_dir import DataDir
from trainer.exporters import VersionExporter
from trainer.options import BEST, FINAL, Options
from trainer.terminal import say

_COMMAND = "python -m trainer"
_POLL_SECONDS = 0.5
_TURN_DIR = "_evaluating"
# On a store a killed evaluator's lock may stay.
_LONGEST_TURN = 900.0


class Evaluator:
    """Evaluates checkpoints on the splits of a run, each once.

    Args:
        options: of the run.
        data: that is read.
        estimator: alone, whatever the cluster: evaluation reads checkpoints.
        paths: record files of each split that is evaluated; the first counts for --metric. Empty: no evaluations.
        exporters: by name.
        asked: by which signal the process shall end, or 0.
    """

    def __init__(
        self,
        options: Options,
        data: DataDir,
        estimator: tf_estimator.Estimator,
        paths: Mapping[str, Sequence[str]],
        exporters: Mapping[str, VersionExporter],
        asked: Callable[[], int],
    ) -> None:
        self._options = options
        self._data = data
        self._estimator = estimator
        self._paths = paths
        self._exporters = exporters
        self._asked = asked
        self._steps = math.ceil(options.eval_impressions / options.batch_size) or None

    @property
    def data(self) -> int:
        """Names the impressions that count for --metric: values are compared only between evaluations on the same."""
        return data_number(next(iter(self._paths.values())), self._options.eval_impressions if self._steps else 0)

    def history(self) -> list[evaluations.Evaluated]:
        """The evaluations so far that can be compared with those of this run."""
        return evaluations.same_data(self._options.model_dir, self.data) if self._paths else []

    def evaluate(self, checkpoint: str) -> None:
        """Evaluates a checkpoint, unless that was done, and exports it where it is the best so far."""
        step = step_of(checkpoint)
        if not self._paths or any(one.step == step for one in self.history()):
            return
        for number, split in enumerate(self._paths):
            result = self._evaluate_split(checkpoint, split)
            evaluation_report.write(self._options.model_dir, split, result, slicing.describe(result, self._data))
            say(evaluation_report.summary(result) + (f"  ({split})" if len(self._paths) > 1 else ""))
            if number == 0:
                self._keep(checkpoint, step, result)

    def _evaluate_split(self, checkpoint: str, split: str) -> dict[str, Any]:
        read = self._options.scoring_input(ordered=True)
        schema, size = self._data.schema, self._data.vocabulary.size
        make = functools.partial(dataset.make_dataset, list(self._paths[split]), schema, size, read)
        hooks = [signals.BreakHook(self._asked)]
        name = None if split == names.TEST else split
        found = dict(self._estimator.evaluate(make, self._steps, hooks, checkpoint, name))
        self._data.refuse_replaced()
        return found

    def _keep(self, checkpoint: str, step: int, result: Mapping[str, Any]) -> None:
        folder, metric = self._options.model_dir, self._options.metric
        found = evaluations.as_numbers(dict(result))
        impressions = evaluation_report.impressions(result)
        evaluations.add(folder, evaluations.Evaluated(step, impressions, self.data, found))
        if evaluations.is_best(self.history(), metric):
            evaluations.keep_best(folder, checkpoint)
            if BEST in self._exporters:
                self._exporters[BEST].export(checkpoint, {metric: found[metric], "global_step": step})

    def finish(self, checkpoint: str) -> None:
        """What is due at the end of training: the last evaluation, and the final export, each unless it was made."""
        self.evaluate(checkpoint)
        if FINAL in self._exporters:
            self._exporters[FINAL].export(checkpoint, {"global_step": step_of(checkpoint)})


def data_number(paths: Sequence[str], impressions: int) -> int:
    """Names so many impressions (0: all) of a split's files in `evaluations.Evaluated.data`."""
    return files.fingerprint(paths) * 31 + impressions


class EvaluateOnSave(tf.compat.v1.train.CheckpointSaverListener):
    """Evaluates a checkpoint behind its saving, where the last evaluation is long enough ago.

    Args:
        evaluator: to do it.
        model_dir: of the run.
        throttle_secs: between the ends of evaluations at least.
        request: to end, in which case nothing is evaluated.
        shared: whether an evaluator may be there, which it leaves the evaluations to.
    """

    def __init__(
        self, evaluator: Evaluator, model_dir: str, throttle_secs: int, request: signals.Request, shared: bool
    ) -> None:
        self._evaluator = evaluator
        self._shared = shared
        self._model_dir = model_dir
        self._throttle = throttle_secs
        self._request = request
        self._first_step: int | None = None
        self._last = time.monotonic()

    def after_save(self, session: tf.compat.v1.Session, step: int) -> None:
        """Evaluates where it is due; the checkpoint with which a run begins is not."""
        if self._first_step is None:
            self._first_step = step
        if step == self._first_step or self._request.signal or time.monotonic() - self._last < self._throttle:
            return
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(_turn(self._model_dir) if self._shared else contextlib.nullcontext())
            except lock.LockedError:
                return
            self._evaluator.evaluate(tf.train.latest_checkpoint(self._model_dir))
        self._last = time.monotonic()


def _turn(model_dir: str) -> contextlib.AbstractContextManager[None]:
    return lock.held(storage.join(model_dir, _TURN_DIR), _COMMAND, "model_dir")


@contextlib.contextmanager
def in_turn(model_dir: str, is_cut_short: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Lets one process of a run at a time evaluate and export: it waits for the other, but not for ever."""
    until = time.monotonic() + _LONGEST_TURN
    with contextlib.ExitStack() as stack:
        while not is_cut_short():
            try:
                stack.enter_context(_turn(model_dir))
                break
            except lock.LockedError as error:
                if time.monotonic() > until:
                    say(f"not waited for any longer: {error}")
                    break
                time.sleep(_POLL_SECONDS)
        yield


def follow(evaluator: Evaluator, model_dir: str, throttle_secs: int, is_over: Callable[[], bool]) -> None:
    """The loop of an evaluator process: evaluates each newest checkpoint until the run is over.

    It has its turn for as long, so that the chief goes on training.

    Args:
        evaluator: to do it.
        model_dir: of the run.
        throttle_secs: between the ends of evaluations at least.
        is_over: called between them.
    """
    # Until the chief has taken the folder for the run, nothing is written there: it would not know whose that is.
    while ownership.maker(model_dir) is None and not is_over():
        time.sleep(_POLL_SECONDS)
    first = tf.train.latest_checkpoint(model_dir)
    done, last = {first}, -math.inf
    with in_turn(model_dir, is_over):
        while not is_over():
            checkpoint = tf.train.latest_checkpoint(model_dir)
            if checkpoint in done or time.monotonic() - last < throttle_secs:
                time.sleep(_POLL_SECONDS)
                continue
            try:
                evaluator.evaluate(checkpoint)
            except (tf.errors.NotFoundError, ValueError):
                # A checkpoint that was replaced by later ones while it was opened.
                if tf.train.latest_checkpoint(model_dir) == checkpoint:
                    raise
            done.add(checkpoint)
            last = time.monotonic()


def step_of(checkpoint: str) -> int:
    """Global step of a checkpoint."""
    return int(tf.train.load_variable(checkpoint, "global_step"))
