"""--sync_replicas: a step of the run is one of every process that trains, from the first batch to the last of all.

A process whose own data are over repeats its last batch until those of the others are over too. The chief counts: each
notes the last batch of its own in a queue on the first parameter server before it pushes the gradients of that step.
"""

from __future__ import annotations

import tensorflow as tf

from model_fn import estimator as tf_estimator
from model_fn import sync_gradients
from trainer import training_graph

v1 = tf.compat.v1


class LockStep(tf_estimator.SessionRunHook):
    """The chief's: lets the others take their next step when its own begins, and ends the run with everyone's data.

    Args:
        workers: processes that train, the chief among them.
    """

    def __init__(self, workers: int) -> None:
        self._others = workers - 1
        self._is_begun = self._is_over = self._has_ended = False

    def begin(self) -> None:
        """Finds the ops in the graph."""
        (self._go_on,) = v1.get_collection(sync_gradients.GO_ON)
        (self._no_more,) = v1.get_collection(sync_gradients.NO_MORE)
        (self._last,) = v1.get_collection(training_graph.LAST)
        (self._read,) = v1.get_collection(training_graph.READ_BY)

    def before_run(self, run_context: tf_estimator.SessionRunContext) -> tf_estimator.SessionRunArgs:
        """Lets the others go on from the step before."""
        if self._is_begun:
            run_context.session.run(self._go_on)
        self._is_begun = True
        return tf_estimator.SessionRunArgs(self._last)

    def after_run(self, run_context: tf_estimator.SessionRunContext, run_values: tf_estimator.SessionRunValues) -> None:
        """Ends training, as data that are over do, behind the last batch of all."""
        self._is_over = self._is_over or bool(run_values.results)
        if self._is_over and int(run_context.session.run(self._read)) >= self._others:
            raise tf.errors.OutOfRangeError(None, None, "the data of all workers are over")

    def end(self, session: tf.compat.v1.Session) -> None:
        """Lets the others go, behind the last checkpoint where the run was stopped."""
        self.release(session)

    def release(self, session: tf.compat.v1.Session) -> None:
        """Lets the others end their step and tells them that there is no other."""
        if not self._has_ended:
            self._has_ended = True
            session.run(self._go_on)
            session.run(self._no_more)
