"""Saves checkpoints: none whose weights are not numbers, and the last one when all processes of the run are done."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from model_fn import estimator as tf_estimator
from trainer import checkpoints, same_step, training_graph
from trainer.nan_guard import DivergedError


class Saver(tf.compat.v1.train.CheckpointSaverHook):
    """Estimator's own, with a look at the weights before and at the position behind.

    Args:
        model_dir: gets the checkpoints.
        save_secs: seconds between them.
        max_steps: global step that ends training; 0: none.
        check: called before a checkpoint is written; raises where what was trained on is not to be kept.
        wait: called with the session before the last checkpoint: returns when the other workers have ended, and whether
            they have trained their parts.
    """

    def __init__(
        self,
        model_dir: str,
        save_secs: int,
        max_steps: int,
        check: Callable[[], None],
        wait: Callable[[tf.compat.v1.Session], bool] | None = None,
    ) -> None:
        # To write the graph beside the weights takes longer than a small day's steps, and nothing here reads it.
        super().__init__(model_dir, save_secs=save_secs, save_graph_def=False)
        self._directory = model_dir
        self._max_steps = max_steps
        self._check = check
        self._wait = wait
        self._context: tf_estimator.SessionRunContext | None = None

    def begin(self) -> None:
        """Adds the ops that look at the weights."""
        super().begin()
        self._uncopied = reads_without_copies()
        variables = tf.compat.v1.trainable_variables()
        floats = {variable.op.name: variable for variable in variables if variable.dtype.is_floating}
        self._sums = {name: tf.nn.l2_loss(variable) for name, variable in floats.items()}
        self._finite = {name: tf.reduce_all(tf.math.is_finite(variable)) for name, variable in floats.items()}
        self._begin = tf.compat.v1.get_collection(training_graph.BEGIN)
        self._complete = tf.compat.v1.get_collection(training_graph.COMPLETE)

    def after_create_session(self, session: tf.compat.v1.Session, coord: tf.train.Coordinator) -> None:
        """Notes where the run begins to read, and saves that."""
        session.run(self._begin)
        super().after_create_session(session, coord)

    def after_run(self, run_context: tf_estimator.SessionRunContext, run_values: tf_estimator.SessionRunValues) -> None:
        """Saves where it is due, and notes whether a hook asked for the end."""
        super().after_run(run_context, run_values)
        self._context = run_context

    def end(self, session: tf.compat.v1.Session) -> None:
        """Saves the last checkpoint."""
        stopped = self._context is not None and self._context.stop_requested
        is_over = not stopped and (self._wait is None or self._wait(session))
        step = int(session.run(self._global_step_tensor))
        if is_over and not (self._max_steps and step >= self._max_steps):
            # The data of all are over. A checkpoint of the same step does not know it yet.
            session.run(self._complete)
            self._timer.update_last_triggered_step(-1)
        super().end(session)

    def _save(self, session: tf.compat.v1.Session, step: int) -> bool:
        self._check()
        session.run(self._uncopied)
        if broken := self._broken(session):
            raise DivergedError(
                f"step {step}: {', '.join(broken)} became NaN or infinite, so no checkpoint is written. The last one "
                f"is {tf.train.latest_checkpoint(self._directory)}. A lower --learning_rate or a --clip_norm may help"
            )
        with same_step.kept(self._directory, step):
            return bool(super()._save(session, step))

    def _broken(self, session: tf.compat.v1.Session) -> list[str]:
        """Names of the weights that are no numbers. To look at each takes a quarter of their memory, a sum none."""
        sums = session.run(self._sums)
        looked_at = {name: self._finite[name] for name, found in sums.items() if not np.isfinite(found)}
        return sorted(name for name, finite in session.run(looked_at).items() if not finite)


def reads_without_copies() -> tf.Operation:
    """An op behind which to read a whole variable copies nothing, until an update of some of its rows.

    Rows that are looked up put a variable into a mode in which it is copied whenever it is read as a whole; so a
    checkpoint would take the memory of the table and of its optimizer's state once more.
    """
    values = tf.distribute.get_strategy().experimental_local_results
    parts = [part for variable in tf.compat.v1.global_variables() for part in values(variable)]
    return tf.group(*(tf.raw_ops.DisableCopyOnRead(resource=part.handle) for part in parts))


def refuse_broken(checkpoint: str) -> None:
    """Raises DivergedError where a weight of a checkpoint is no finite number."""
    with checkpoints.reading(checkpoint):
        reader = tf.train.load_checkpoint(checkpoint)
    kinds = reader.get_variable_to_dtype_map()
    for name in sorted(name for name, kind in kinds.items() if kind.is_floating):
        if not np.isfinite(_read(reader, name, checkpoint)).all():
            raise DivergedError(f"{checkpoint}: {name} is NaN or infinite; choose an earlier one with --checkpoint")


def _read(reader: tf.train.CheckpointReader, name: str, checkpoint: str) -> np.ndarray:
    with checkpoints.reading(checkpoint):
        return np.asarray(reader.get_tensor(name))
