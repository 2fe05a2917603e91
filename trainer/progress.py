"""The progress line: step, losses, impressions/s, time left."""

from __future__ import annotations

import gc
import time

import numpy as np
import tensorflow as tf

from model_fn import estimator as tf_estimator
from model_fn.estimator_model import LOSS_SCOPE
from trainer import training_graph
from trainer.terminal import say

v1 = tf.compat.v1

# TensorBoard's name of the speed since the line before.
SPEED = "speed/impressions_per_second"
_TOTAL = "loss"
# A longer gap between two steps was a checkpoint or an evaluation and does not count as training time.
_LONGEST_GAP = 0.5


class ProgressHook(tf_estimator.SessionRunHook):
    """Prints a line every `log_steps` steps. Losses are means over the steps since the line before.

    Args:
        log_steps: steps from line to line.
        max_steps: global step to stop at; 0: none.
        records: records that this worker reads in all epochs; 0: not known.
        first_record: how many of them were read before this run.
        folder: of the TensorBoard events that get the speed; empty: none.
    """

    def __init__(self, log_steps: int, max_steps: int, records: int, first_record: int, folder: str = "") -> None:
        self._log_steps = log_steps
        self._max_steps = max_steps
        self._records = records
        self._first_record = first_record
        self._folder = folder

    def begin(self) -> None:
        """Finds what to fetch in the graph."""
        self._global_step = tf.compat.v1.train.get_global_step()
        collected = tf.compat.v1.get_collection
        self._fetches = {
            "impressions": tf.add_n(collected(training_graph.IMPRESSIONS)),
            "position": collected(training_graph.POSITION)[0],
            "losses": {_TOTAL: collected(training_graph.LOSS)[0]} | task_losses(),
        }
        self._speed = _Speed()
        self._losses: list[dict[str, float]] = []
        self._first_step = 0

    def before_run(self, run_context: tf_estimator.SessionRunContext) -> tf_estimator.SessionRunArgs:
        """Asks for the figures of the step."""
        self._speed.begin_step()
        return tf_estimator.SessionRunArgs(self._fetches)

    def after_run(self, run_context: tf_estimator.SessionRunContext, run_values: tf_estimator.SessionRunValues) -> None:
        """Prints where a line is due."""
        found = run_values.results
        self._speed.end_step(int(found["impressions"]))
        self._losses.append(found["losses"])
        if len(self._losses) == self._log_steps:
            # A fetch of the step's own session call may be older than the step.
            step = int(run_context.session.run(self._global_step))
            say(self._line(step, int(found["position"][0])))
            self._summarize(step)
            self._losses.clear()
            self._speed.restart()

    def after_create_session(self, session: tf.compat.v1.Session, coord: tf.train.Coordinator) -> None:
        """Notes where this run starts."""
        self._first_step = int(session.run(self._global_step))
        # The graph is a million objects that stay: a collection of garbage that looks at them stops the steps.
        gc.collect()
        gc.freeze()

    def end(self, session: tf.compat.v1.Session) -> None:
        """Says where training ended."""
        if not self._speed.total_steps:
            say("nothing was left to train: all --num_epochs of these files, or --max_steps, were done before")
            return
        say(f"trained {self._speed.total_steps:,} steps on {self._speed.total_impressions:,} impressions in this run")

    def _summarize(self, step: int) -> None:
        if not self._folder or not self._speed.per_second:
            return
        summary = v1.Summary(value=[v1.Summary.Value(tag=SPEED, simple_value=self._speed.per_second)])
        v1.summary.FileWriterCache.get(self._folder).add_summary(summary, step)

    def _line(self, step: int, position: int) -> str:
        means = {name: float(np.mean([losses[name] for losses in self._losses])) for name in self._losses[0]}
        total = means.pop(_TOTAL)
        tasks = ", ".join(f"{name} {value:.5f}" for name, value in means.items())
        parts = (f"step {step:,}", f"loss {total:.5f} ({tasks})", self._speed.text(), self._left(step, position))
        return "  ".join(filter(None, parts))

    def _left(self, step: int, position: int) -> str:
        """Time left, by the share of the records or steps of this run that is done."""
        shares = []
        if self._records > self._first_record:
            shares.append((position - self._first_record) / (self._records - self._first_record))
        if self._max_steps > self._first_step:
            shares.append((step - self._first_step) / (self._max_steps - self._first_step))
        share = min(1.0, max(shares, default=0.0))
        return f"{duration(self._speed.total_seconds * (1 / share - 1))} left" if share > 0 else ""


def task_losses() -> dict[str, tf.Tensor]:
    """The loss of each task in the graph, which the model summarizes for TensorBoard as loss/TASK: scalars."""
    summaries = tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.SUMMARIES)
    scalars = [tensor.op for tensor in summaries if tensor.op.type == "ScalarSummary"]
    return {op.name.removeprefix(LOSS_SCOPE): op.inputs[1] for op in scalars if op.name.startswith(LOSS_SCOPE)}


def duration(seconds: float) -> str:
    """A time as people say it: 40 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


class _Speed:
    """Impressions and seconds of the steps, without the first one, which sets everything up."""

    def __init__(self) -> None:
        self.total_steps = 0
        self.total_impressions = 0
        self.total_seconds = 0.0
        self._last = 0.0
        self._gap = 0.0
        self.restart()

    def restart(self) -> None:
        """Begins a new line."""
        self._impressions = 0
        self._seconds = 0.0

    def begin_step(self) -> None:
        """Notes how long it is since the last step."""
        now = time.monotonic()
        self._gap = now - self._last
        self._last = now

    def end_step(self, impressions: int) -> None:
        """Adds a step."""
        now = time.monotonic()
        if self.total_steps:
            seconds = now - self._last + (self._gap if self._gap < _LONGEST_GAP else 0.0)
            self._impressions += impressions
            self._seconds += seconds
            self.total_seconds += seconds
        self._last = now
        self.total_steps += 1
        self.total_impressions += impressions

    @property
    def per_second(self) -> float:
        """Impressions/s since the last line; 0: not known yet."""
        return self._impressions / self._seconds if self._seconds else 0.0

    def text(self) -> str:
        """The same in words."""
        return f"{self.per_second:,.0f} impressions/s" if self.per_second else ""
