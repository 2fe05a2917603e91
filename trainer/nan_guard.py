"""Stops training at a loss that is no number, and says where it came from."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from model_fn import estimator as tf_estimator
from trainer import training_graph

_SHOWN = 5


class DivergedError(ValueError):
    """The loss became NaN or infinite: step, the batch's files and some of its sample_ids are in the message."""


class NanGuard(tf_estimator.SessionRunHook):
    """Looks at the loss of every step.

    Args:
        paths: record files, to which the numbers in the batches point.
        model_dir: where the checkpoints are.
    """

    def __init__(self, paths: Sequence[str], model_dir: str) -> None:
        self._paths = paths
        self._model_dir = model_dir

    def begin(self) -> None:
        """Finds what to fetch in the graph."""
        self._global_step = tf.compat.v1.train.get_global_step()
        collected = tf.compat.v1.get_collection
        self._fetches = {
            "loss": collected(training_graph.LOSS),
            "files": collected(training_graph.FILE_INDEX),
            "sample_ids": collected(training_graph.SAMPLE_IDS),
        }

    def before_run(self, run_context: tf_estimator.SessionRunContext) -> tf_estimator.SessionRunArgs:
        """Asks for the loss, and for where the batch came from: it is gone when the loss is known."""
        return tf_estimator.SessionRunArgs(self._fetches)

    def after_run(self, run_context: tf_estimator.SessionRunContext, run_values: tf_estimator.SessionRunValues) -> None:
        """Raises DivergedError where the loss is no number."""
        found = run_values.results
        if np.isfinite(found["loss"]).all():
            return
        files = sorted({os.path.basename(self._paths[i]) for i in np.concatenate(found["files"])})
        sample_ids = np.concatenate(found["sample_ids"])
        step = int(run_context.session.run(self._global_step))
        raise DivergedError(
            f"step {step}: the loss is {found['loss'][0]}. Its batch has {len(sample_ids)} impressions, "
            f"sample_id {', '.join(map(str, sample_ids[:_SHOWN]))} ..., of {', '.join(files)}. The last checkpoint is "
            f"{tf.train.latest_checkpoint(self._model_dir)}. A lower --learning_rate or a --clip_norm may help; so may "
            "a look at the weights in these records"
        )
