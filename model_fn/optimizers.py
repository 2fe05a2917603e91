"""Optimizers: one for the embedding table, which changes only the rows of the batch, and one for the dense weights.

All are `tf.compat.v1.train.Optimizer`s, so that Estimator's distribution strategies can aggregate gradients and
parameter servers hold the slots beside the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from model_fn import hyperparameters, optimizer_defaults, sync_gradients
from model_fn.embedding import TABLE
from model_fn.hyperparameters import Hyperparameters
from model_fn.sync_gradients import Exchange

MOMENTS = "moments"
_SLOW_ADAGRAD = ("2.20.", "2.21.")


class DistinctRows(tf.compat.v1.train.Optimizer):
    """For optimizers whose sparse gradients hold each row once, as `model_fn.embedding` makes them.

    The base class hashes all indices again to add up duplicates. There are some only where gradients of several
    replicas were put one behind the other.
    """

    def _resource_apply_sparse_duplicate_indices(
        self, grad: tf.Tensor, handle: tf.Variable, indices: tf.Tensor
    ) -> tf.Operation:
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            return super()._resource_apply_sparse_duplicate_indices(grad, handle, indices)
        return self._resource_apply_sparse(grad, handle, indices)


class LazyAdam(DistinctRows, tf.compat.v1.train.AdamOptimizer):
    """Adam (arXiv 1412.6980) that leaves rows without a gradient alone: neither their value nor their moments change.

    A row's moments decay when the row is looked up, not in every step. On rows that every batch looks up it is Adam.

    What a step costs is memory that is not in the cache: some 0.1 microseconds for each row of each gather. So both
    moments of a row stand side by side in one slot, `moments` [rows, 2 * width]. And the new rows are written over the
    old, since TensorFlow's ScatterSub takes longer than a gather and a ScatterUpdate together.
    """

    def _create_slots(self, var_list: Sequence[tf.Variable]) -> None:
        first = min(var_list, key=lambda variable: variable.name)
        self._create_non_slot_variable(self._beta1, "beta1_power", colocate_with=first)
        self._create_non_slot_variable(self._beta2, "beta2_power", colocate_with=first)
        for var in var_list:
            rows, width = var.shape
            shape = tf.TensorShape([rows, 2 * width])
            zeros = tf.zeros_initializer()
            slot = self._get_or_make_slot_with_initializer(var, zeros, shape, var.dtype.base_dtype, MOMENTS, self._name)
            _widen_saved_part(slot, 2 * width)

    def _resource_apply_sparse(self, grad: tf.Tensor, var: tf.Variable, indices: tf.Tensor) -> tf.Operation:
        beta1_power, beta2_power = self._get_beta_accumulators()
        rate = self._lr_t * tf.sqrt(1.0 - beta2_power) / (1.0 - beta1_power)
        moments = self.get_slot(var, MOMENTS)
        m, v = tf.split(tf.gather(moments, indices), 2, axis=1)
        m += (grad - m) * (1.0 - self._beta1_t)
        v += (tf.square(grad) - v) * (1.0 - self._beta2_t)
        rows = tf.gather(var, indices) - rate * m / (tf.sqrt(v) + self._epsilon_t)
        return tf.group(_scatter_update(moments, indices, tf.concat([m, v], 1)), _scatter_update(var, indices, rows))


class RowMomentum(DistinctRows, tf.compat.v1.train.MomentumOptimizer):
    """Momentum on the rows of the batch. TensorFlow's own sparse kernel has no GPU version."""

    def _resource_apply_sparse(self, grad: tf.Tensor, var: tf.Variable, indices: tf.Tensor) -> tf.Operation:
        accumulator = self.get_slot(var, "momentum")
        rows = self._momentum_tensor * tf.gather(accumulator, indices) + grad
        moved = tf.gather(var, indices) - self._learning_rate_tensor * rows
        return tf.group(_scatter_update(accumulator, indices, rows), _scatter_update(var, indices, moved))


class RowAdagrad(DistinctRows, tf.compat.v1.train.AdagradOptimizer):
    """Adagrad (Duchi et al., 2011) on the rows of the batch.

    TensorFlow's own sparse kernel does it, and is as fast as can be, but in 2.20 and 2.21: there it takes five times
    as long, and reading and writing the rows takes half of that.
    """

    def _create_slots(self, var_list: Sequence[tf.Variable]) -> None:
        for var in var_list:
            start = _filled(self._initial_accumulator_value)
            kind = var.dtype.base_dtype
            self._get_or_make_slot_with_initializer(var, start, var.shape, kind, "accumulator", self._name)

    def _resource_apply_sparse(self, grad: tf.Tensor, var: tf.Variable, indices: tf.Tensor) -> tf.Operation:
        if not tf.version.VERSION.startswith(_SLOW_ADAGRAD):
            return super()._resource_apply_sparse(grad, var, indices)
        accumulator = self.get_slot(var, "accumulator")
        squares = tf.gather(accumulator, indices) + tf.square(grad)
        rate = tf.cast(self._learning_rate_tensor, grad.dtype)
        moved = tf.gather(var, indices) - rate * grad / tf.sqrt(squares)
        return tf.group(_scatter_update(accumulator, indices, squares), _scatter_update(var, indices, moved))


class RowFtrl(DistinctRows):
    """FTRL-Proximal (McMahan et al., 2013) with L1, on the rows of the batch or on a whole weight.

    It keeps a sum z of gradients, of which a weight is a function. Where the weight is not 0, z follows from it, and is
    taken from there: TensorFlow's own kernel begins with z = 0, which its first step makes the weights, whatever they
    were initialized with; and a learning rate that falls would shrink them all. Without L1 it is Adagrad.

    Args:
        learning_rate: scalar.
        start: what the sums of squared gradients begin with.
        l1: strength.
    """

    def __init__(self, learning_rate: tf.Tensor | float, start: float, l1: float) -> None:
        super().__init__(use_locking=False, name="Ftrl")
        self._rate = learning_rate
        self._start = start
        self._l1 = l1

    def _prepare(self) -> None:
        self._rate_tensor = tf.convert_to_tensor(self._rate, tf.float32)

    def _create_slots(self, var_list: Sequence[tf.Variable]) -> None:
        for var in var_list:
            start = _filled(self._start)
            self._get_or_make_slot_with_initializer(var, start, var.shape, var.dtype.base_dtype, "accum", self._name)
            self._zeros_slot(var, "linear", self._name)

    def _resource_apply_dense(self, grad: tf.Tensor, var: tf.Variable) -> tf.Operation:
        slots = self.get_slot(var, "accum"), self.get_slot(var, "linear")
        moved = self._moved(grad, tf.convert_to_tensor(var), *map(tf.convert_to_tensor, slots))
        return tf.group(*(one.assign(value) for one, value in zip((var, *slots), moved, strict=True)))

    def _resource_apply_sparse(self, grad: tf.Tensor, var: tf.Variable, indices: tf.Tensor) -> tf.Operation:
        variables = var, self.get_slot(var, "accum"), self.get_slot(var, "linear")
        moved = self._moved(grad, *(tf.gather(one, indices) for one in variables))
        return tf.group(*(_scatter_update(one, indices, rows) for one, rows in zip(variables, moved, strict=True)))

    def _moved(
        self, grad: tf.Tensor, weight: tf.Tensor, squares: tf.Tensor, linear: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Weight, sum of squares and z behind a step."""
        root, rate, l1 = tf.sqrt(squares), self._rate_tensor, self._l1
        linear = tf.where(tf.equal(weight, 0.0), linear, -weight * root / rate - tf.sign(weight) * l1)
        squares += tf.square(grad)
        new_root = tf.sqrt(squares)
        linear += grad - (new_root - root) / rate * weight
        shrunk = tf.sign(linear) * tf.maximum(tf.abs(linear) - l1, 0.0)
        # A weight that never had a gradient stays.
        return tf.where(new_root > 0.0, -tf.math.divide_no_nan(shrunk * rate, new_root), weight), squares, linear


def _filled(value: float) -> Callable[..., tf.Tensor]:
    """Initializer of a slot. TensorFlow's own makes a constant, of which a session keeps a whole copy for ever.

    Here a placeholder keeps its optimizer from making one of it.
    """

    def initialize(shape: Sequence[int], dtype: tf.DType = tf.float32, partition_info: Any = None) -> tf.Tensor:
        del partition_info
        return tf.fill(shape, tf.compat.v1.placeholder_with_default(tf.constant(value, dtype), []))

    return initialize


def _scatter_update(slot: tf.Variable, indices: tf.Tensor, rows: tf.Tensor) -> tf.Operation:
    return tf.raw_ops.ResourceScatterUpdate(resource=slot.handle, indices=indices, updates=rows)


def _widen_saved_part(slot: tf.Variable, width: int) -> None:
    """Says of a slot that is wider than its part of the table how a checkpoint puts the parts together."""
    part = slot._save_slice_info
    if part is not None:
        rows, (offset, *_), (size, *_) = part.full_shape[0], part.var_offset, part.var_shape
        info = tf.Variable.SaveSliceInfo(part.full_name, [rows, width], [offset, 0], [size, width])
        slot._set_save_slice_info(info)


def make_optimizer(
    name: str, learning_rate: tf.Tensor | float, settings: Hyperparameters, of_table: bool = False
) -> tf.compat.v1.train.Optimizer:
    """The optimizer of that name (`hyperparameters.OPTIMIZERS`)."""
    makers: dict[str, Callable[[], tf.compat.v1.train.Optimizer]] = {
        optimizer_defaults.ADAM: lambda: tf.compat.v1.train.AdamOptimizer(learning_rate, *_decays(settings)),
        optimizer_defaults.LAZY_ADAM: lambda: LazyAdam(learning_rate, *_decays(settings)),
        optimizer_defaults.ADAGRAD: lambda: RowAdagrad(learning_rate, settings.accumulator(name, of_table)),
        optimizer_defaults.MOMENTUM: lambda: RowMomentum(learning_rate, settings.momentum),
        optimizer_defaults.FTRL: lambda: RowFtrl(learning_rate, settings.accumulator(name, of_table), settings.ftrl_l1),
        optimizer_defaults.SGD: lambda: tf.compat.v1.train.GradientDescentOptimizer(learning_rate),
    }
    return makers[name]()


def _decays(settings: Hyperparameters) -> tuple[float, float, float]:
    return settings.adam_beta1, settings.adam_beta2, settings.adam_epsilon


def schedule(global_step: tf.Tensor, settings: Hyperparameters) -> tf.Tensor:
    """Factor on the learning rates at a step (from 0): a linear rise over warmup_steps, then the decay: scalar."""
    step = tf.cast(global_step, tf.float32)
    warm = tf.minimum(1.0, (step + 1.0) / max(settings.warmup_steps, 1))
    if settings.decay == hyperparameters.NONE:
        return warm
    if not settings.decay_steps:
        raise ValueError("decay_steps 0: the run's steps are to be filled in by Hyperparameters.for_run")
    done = tf.maximum(step - settings.warmup_steps, 0.0) / settings.decay_steps
    left = settings.decay_rate
    if settings.decay == hyperparameters.EXPONENTIAL:
        return warm * tf.pow(left, done)
    done = tf.minimum(done, 1.0)
    if settings.decay == hyperparameters.COSINE:
        done = 0.5 * (1.0 - tf.cos(done * 3.141592653589793))
    return warm * (1.0 + (left - 1.0) * done)


def train_op(
    loss: tf.Tensor,
    settings: Hyperparameters,
    updates: Sequence[tf.Operation],
    first_step: int = 0,
    exchange: Exchange | None = None,
) -> tf.Operation:
    """One step: gradients of all trainable variables, clipping, both optimizers, and the global step.

    Args:
        loss: scalar.
        settings: optimizers, rates, schedule, clipping.
        updates: ops that belong to the step as well.
        first_step: global step at which the schedule begins.
        exchange: with other processes, the chief of which applies the gradients of all; None: each its own.
    """
    global_step = tf.compat.v1.train.get_or_create_global_step()
    factor = schedule(global_step - first_step, settings)
    # Dense gradients leave no row out: there LazyAdam is Adam.
    name = optimizer_defaults.ADAM if settings.optimizer == optimizer_defaults.LAZY_ADAM else settings.optimizer
    dense = make_optimizer(name, settings.dense_learning_rate * factor, settings)
    table = make_optimizer(settings.embedding_optimizer, settings.table_learning_rate * factor, settings, True)
    pairs = dense.compute_gradients(loss, tf.compat.v1.trainable_variables())
    _summarize(pairs, factor, settings)
    if exchange is not None:
        with tf.control_dependencies(updates):
            updates = exchange.push(sync_gradients.present(pairs))
        with tf.control_dependencies(updates):
            if exchange.index:
                return exchange.wait()
            pairs = exchange.take(sync_gradients.present(pairs))
    if settings.clip_norm:
        pairs = clip(pairs, settings.clip_norm)
    of_table = [pair for pair in pairs if is_table(pair[1])]
    of_dense = [pair for pair in pairs if not is_table(pair[1])]
    with tf.control_dependencies(updates):
        return tf.group(table.apply_gradients(of_table), dense.apply_gradients(of_dense, global_step))


def _summarize(pairs: Sequence[tuple], factor: tf.Tensor, settings: Hyperparameters) -> None:
    """Learning rates and gradient norms before clipping, for TensorBoard; computed in the steps that it shows."""
    summary = tf.compat.v1.summary
    summary.scalar("rate/dense", settings.dense_learning_rate * factor)
    summary.scalar("rate/table", settings.table_learning_rate * factor)
    summary.scalar("gradient_norm/all", global_norm([gradient for gradient, _ in pairs]))
    summary.scalar("gradient_norm/table", global_norm([gradient for gradient, one in pairs if is_table(one)]))


def clip(pairs: Sequence[tuple], largest: float) -> list[tuple]:
    """Gradients scaled down so that their global norm, that of all replicas' sums, is at most `largest`."""
    gradients = [gradient for gradient, _ in pairs]
    clipped, _ = tf.clip_by_global_norm(gradients, largest, global_norm(gradients))
    return [(gradient, variable) for gradient, (_, variable) in zip(clipped, pairs, strict=True)]


def global_norm(gradients: Sequence[tf.Tensor | tf.IndexedSlices | None]) -> tf.Tensor:
    """Norm of the gradients that a step applies: scalar.

    Replicas' gradients are added when they are applied. A norm of each replica's own would clip each by another factor.
    """
    present = [gradient for gradient in gradients if gradient is not None]
    context = tf.distribute.get_replica_context()
    if tf.distribute.get_strategy().num_replicas_in_sync == 1 or context is None:
        return tf.linalg.global_norm(present)
    return context.merge_call(_joint_norm, args=(present,))


def _joint_norm(strategy: tf.distribute.Strategy, gradients: Sequence[Any]) -> tf.Tensor:
    parts = (strategy.experimental_local_results(gradient) for gradient in gradients)
    return tf.linalg.global_norm([_sum_of_replicas(part) for part in parts])


def _sum_of_replicas(parts: Sequence[tf.Tensor | tf.IndexedSlices]) -> tf.Tensor:
    """Sum of the same gradient of each replica; of sparse ones the rows that any has: their order is of no matter."""
    if not isinstance(parts[0], tf.IndexedSlices):
        return tf.add_n(parts)
    rows, places = tf.unique(tf.concat([part.indices for part in parts], 0))
    return tf.math.unsorted_segment_sum(tf.concat([part.values for part in parts], 0), places, tf.size(rows))


def is_table(variable: tf.Variable) -> bool:
    """Whether a variable is the embedding table, or a part of it."""
    return TABLE in variable.op.name.split("/")[-2:]
