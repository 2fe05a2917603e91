"""Ends training when evaluations stop getting better."""

from __future__ import annotations

from collections.abc import Callable

from model_fn import estimator as tf_estimator
from trainer import evaluations
from trainer.evaluations import Evaluated
from trainer.terminal import say


class EarlyStopping(tf_estimator.SessionRunHook):
    """Looks at the run's evaluations every so many steps.

    Args:
        history: the evaluations so far, whichever process made them.
        metric: that must get better.
        patience: evaluations in a row that may not be better, all but the last.
        every_steps: steps between looks.
    """

    def __init__(self, history: Callable[[], list[Evaluated]], metric: str, patience: int, every_steps: int) -> None:
        self._history = history
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
        return evaluations.without_gain(self._history(), self._metric) >= self._patience
