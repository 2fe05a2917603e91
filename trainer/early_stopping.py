"""Ends training when evaluations stop getting better."""

from __future__ import annotations

import math

from model_fn import estimator as tf_estimator
from trainer import event_files
from trainer.exporters import is_better
from trainer.terminal import say


def evaluations_without_gain(eval_dir: str, metric: str) -> int:
    """Evaluations since the best one, read from the TensorBoard events: whichever process evaluated wrote them."""
    best, since = math.nan, 0
    curve = event_files.read(eval_dir).curves.get(metric)
    for value in [] if curve is None else curve.values.tolist():
        since = 0 if is_better(metric, value, best) else since + 1
        best = value if since == 0 else best
    return since


class EarlyStopping(tf_estimator.SessionRunHook):
    """Looks at the evaluations every so many steps. Each worker does, so no variable has to carry the decision.

    Args:
        eval_dir: where evaluations write their events.
        metric: that must get better.
        patience: evaluations in a row that may not be better, all but the last.
        every_steps: steps between looks.
    """

    def __init__(self, eval_dir: str, metric: str, patience: int, every_steps: int) -> None:
        self._eval_dir = eval_dir
        self._metric = metric
        self._patience = patience
        self._every_steps = every_steps
        self._steps = 0

    def after_run(self, run_context: tf_estimator.SessionRunContext, run_values: tf_estimator.SessionRunValues) -> None:
        """Asks for the end where it is due."""
        self._steps += 1
        if self._steps % self._every_steps == 0 and self.is_due():
            say(f"stopping: {self._metric} did not get better in {self._patience} evaluations in a row")
            run_context.request_stop()

    def is_due(self) -> bool:
        """Whether the evaluations so far call for the end."""
        return evaluations_without_gain(self._eval_dir, self._metric) >= self._patience
