"""--continue_from: the first checkpoint of a model that goes on where another one ended.

Weights, optimizer slots, batch-norm moments and counters of propensities are carried over; the table and its slots row
by row, from the key's id there to its id here. Rows of new keys are as a new model's, rows of ids that no key has are
0. The step starts at 0 again, with the schedule of the learning rate, and so does the place in the data.

The checkpoint is written before training begins, so that a killed run goes on as any other, on one machine, several
GPUs or a cluster. Beside the new table and its slots only a block of the old ones is in memory.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from features.vocabulary import UNKNOWN, Vocabulary
from model_fn import estimator as tf_estimator
from model_fn.embedding import TABLE
from model_fn.hyperparameters import Hyperparameters
from model_fn.optimizer_defaults import ADAGRAD
from trainer import checkpoint_rows, checkpoints, own_vocabulary, saving, training_graph, translation
from trainer import model_dir as saved_settings
from trainer.checkpoint_rows import Rows
from trainer.terminal import say

v1 = tf.compat.v1

_CHECKPOINT = "model.ckpt"
_OWN = (v1.GraphKeys.GLOBAL_STEP, "input/")


@dataclasses.dataclass(frozen=True)
class Predecessor:
    """The model to go on from.

    Attributes:
        model_dir: its folder.
        checkpoint: its last checkpoint.
        vocabulary: its own.
        settings: its own.
    """

    model_dir: str
    checkpoint: str
    vocabulary: Vocabulary
    settings: Hyperparameters


def settings(model_dir: str, given: Mapping[str, Any]) -> Hyperparameters:
    """Settings of the model to go on from, with those that the command names in place of its own.

    Raises:
        ValueError: no model there.
    """
    return dataclasses.replace(_saved(model_dir), **{"decay_steps": 0, **given})


def _saved(model_dir: str) -> Hyperparameters:
    saved = saved_settings.saved_hyperparameters(model_dir)
    if saved is None:
        raise ValueError(f"--continue_from={model_dir}: no model there")
    return saved


def find(model_dir: str) -> Predecessor:
    """The model of a folder.

    Raises:
        ValueError: there is none.
    """
    checkpoint = checkpoints.latest(model_dir)
    if checkpoint is None:
        raise ValueError(f"--continue_from={model_dir}: no checkpoint there")
    return Predecessor(model_dir, checkpoint, own_vocabulary.load(model_dir), _saved(model_dir))


def write_checkpoint(
    before: Predecessor,
    known: Vocabulary,
    model_dir: str,
    make_dataset: Callable[[], tf.data.Dataset],
    params: training_graph.Params,
    config: tf_estimator.RunConfig,
    accumulator_decay: float = 1.0,
) -> None:
    """Writes the checkpoint of step 0 into model_dir.

    Args:
        before: model to go on from.
        known: vocabulary of the new model.
        model_dir: of the new model.
        make_dataset: input of training; only its shapes are used.
        params: of the new model.
        config: of the run.
        accumulator_decay: factor on Adagrad's accumulators, which do not fall below their initial value.

    Raises:
        ValueError: the old model's table is of another width.
    """
    graph = tf.Graph()
    with graph.as_default(), tf.device("/cpu:0"):
        v1.set_random_seed(config.tf_random_seed)
        v1.train.get_or_create_global_step()
        features, labels = v1.data.make_initializable_iterator(make_dataset()).get_next()
        training_graph.model_fn(features, labels, tf_estimator.ModeKeys.TRAIN, params, config)
        variables = {variable.op.name: variable for variable in v1.global_variables()}
        with v1.Session(graph=graph, config=_session_config()) as session:
            session.run(v1.global_variables_initializer())
            _Carrier(session, before, known, accumulator_decay, params["hyperparameters"]).carry(variables)
            tf.io.gfile.makedirs(model_dir)
            path = os.path.join(model_dir, _CHECKPOINT)
            session.run(saving.reads_without_copies())
            v1.train.Saver(variables).save(session, path, global_step=0, write_meta_graph=False)


def _session_config() -> tf.compat.v1.ConfigProto:
    """Of a session that runs each op once: to optimise the graph for every run would take longer than the runs."""
    config = v1.ConfigProto(device_count={"GPU": 0})
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config


class _Carrier:
    """Carries the tensors of a checkpoint into the variables of a session."""

    def __init__(
        self, session: Any, before: Predecessor, known: Vocabulary, accumulator_decay: float, settings: Hyperparameters
    ) -> None:
        self._session = session
        self._before = before
        self._known = known
        self._decay, self._settings = accumulator_decay, settings
        self._new_ids = translation.id_map(before.vocabulary, known)
        self._updates: dict[str, tuple[tf.Tensor, tf.Tensor, tf.Operation]] = {}

    def carry(self, variables: Mapping[str, tf.Variable]) -> None:
        """Carries all that fits and says what starts anew."""
        found = checkpoint_rows.tensors(self._before.checkpoint)
        own = {name: variable for name, variable in variables.items() if not name.startswith(_OWN)}
        anew: list[str] = []
        whole: list[tuple[tf.Variable, np.ndarray]] = []
        for name, variable in own.items():
            saved = found.get(name)
            if saved is not None and TABLE in name.split("/") and variable.shape.rank == 2:
                self._carry_rows(name, variable, saved)
            elif saved is not None and tuple(variable.shape.as_list()) == saved.shape:
                whole.append((variable, self._decayed(name, saved.whole())))
            else:
                anew.append(name)
        self._load(whole)
        rows = int((self._new_ids[self._before.vocabulary.schema.reserved_ids :] != UNKNOWN).sum())
        say(
            f"going on from {os.path.basename(self._before.checkpoint)} in {self._before.model_dir}: "
            f"{rows:,} of {len(self._known.keys):,} ids have rows there"
        )
        if anew:
            say(f"not there or of another shape, so new: {', '.join(sorted(anew))}")

    def _load(self, values: Sequence[tuple[tf.Variable, np.ndarray]]) -> None:
        """Assigns them all in one run: a session prepares the whole graph anew for each other set of ops."""
        # An initializer's second input is the value that it assigns.
        feed = {variable.initializer.inputs[1]: value for variable, value in values}
        self._session.run([variable.initializer for variable, _ in values], feed)

    def _carry_rows(self, name: str, variable: tf.Variable, saved: Rows) -> None:
        rows, width = variable.shape.as_list()
        if saved.shape != (self._before.vocabulary.size, width):
            raise ValueError(
                f"--continue_from={self._before.model_dir}: {name} is {list(saved.shape)} there and {[rows, width]} "
                "here; --embedding_size must be the same"
            )
        for start, block in saved.blocks():
            ids = self._new_ids[start : start + len(block)]
            kept = ids != UNKNOWN
            self._scatter(name, variable, ids[kept], self._decayed(name, block[kept]))
        if name.split("/")[-1] == TABLE:
            unused = translation.unused_ids(self._known)
            self._scatter(name, variable, unused, np.zeros((len(unused), width), np.float32))

    def _decayed(self, name: str, value: np.ndarray) -> np.ndarray:
        if self._decay == 1.0 or not name.split("/")[-1].startswith(ADAGRAD):
            return value
        floor = self._settings.accumulator(ADAGRAD, of_table=TABLE in name.split("/"))
        return np.maximum(value * np.float32(self._decay), np.float32(floor))

    def _scatter(self, name: str, variable: tf.Variable, ids: np.ndarray, rows: np.ndarray) -> None:
        if name not in self._updates:
            indices = v1.placeholder(tf.int64, [None])
            updates = v1.placeholder(variable.dtype.base_dtype, [None, variable.shape[1]])
            update = tf.raw_ops.ResourceScatterUpdate(resource=variable.handle, indices=indices, updates=updates)
            self._updates[name] = indices, updates, update
        indices, updates, update = self._updates[name]
        self._session.run(update, {indices: ids, updates: rows})
