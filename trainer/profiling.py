"""--profile_steps: what the devices and threads did in some steps, for TensorBoard's profile plugin."""

from __future__ import annotations

import tensorflow as tf

from model_fn import estimator as tf_estimator
from trainer.terminal import say


class ProfileHook(tf_estimator.SessionRunHook):
    """Records the steps behind `first`, up to `last`, and writes them to FOLDER/plugins/profile.

    Args:
        folder: where TensorBoard looks.
        first: global step behind which it begins; a run that begins later records nothing.
        last: global step that is the last one.
    """

    def __init__(self, folder: str, first: int, last: int) -> None:
        self._folder = folder
        self._first = first
        self._last = last
        self._step = 0
        self._records = False

    def begin(self) -> None:
        """Finds the step in the graph."""
        self._global_step = tf.compat.v1.train.get_global_step()

    def after_create_session(self, session: tf.compat.v1.Session, coord: tf.train.Coordinator) -> None:
        """Notes the step at which the run begins."""
        self._step = int(session.run(self._global_step))

    def before_run(self, run_context: tf_estimator.SessionRunContext) -> None:
        """Begins where it is due."""
        if self._step == self._first:
            tf.profiler.experimental.start(self._folder)
            self._records = True

    def after_run(self, run_context: tf_estimator.SessionRunContext, run_values: tf_estimator.SessionRunValues) -> None:
        """Ends where it is due. Steps are counted here: a fetch of the step's own call may be older than the step."""
        self._step += 1
        if self._step == self._last:
            self._stop()

    def end(self, session: tf.compat.v1.Session) -> None:
        """Ends where the run is over before `last`."""
        self._stop()

    def _stop(self) -> None:
        if not self._records:
            return
        self._records = False
        tf.profiler.experimental.stop()
        say(f"wrote a profile of steps {self._first + 1:,} to {self._step:,} to {self._folder}/plugins/profile")
