"""Dense layers, their weights v1 variables that Estimator, parameter servers and MirroredStrategy know to place."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from model_fn import initial
from model_fn.hyperparameters import FLOAT16, FLOAT32, Hyperparameters
from model_fn.representation import Representation

BATCH_NORM_EPSILON = 1e-3

# Losses are means over impressions, so a gradient that reaches a tower is of the size of 1/batch: float16 would round
# it to 0. Inside the layers it is multiplied by about a batch, and divided again where it leaves them.
FLOAT16_GRADIENT_SCALE = 1024.0


@dataclasses.dataclass
class Layers:
    """Makes layers, and remembers what the training step needs of them.

    Attributes:
        settings: precision, batch norm and dropout.
        training: whether dropout drops, batch norm uses the batch's own moments, and precision may be lower.
        kernels: weight matrices made so far, which L2 acts on.
        updates: ops that a training step must run: batch norm's moving averages.
    """

    settings: Hyperparameters
    training: bool
    kernels: list[tf.Variable] = dataclasses.field(default_factory=list)
    updates: list[tf.Operation] = dataclasses.field(default_factory=list)

    def linear(self, inputs: Representation, units: int, name: str, heads: int = 1, start: float = 0.0) -> tf.Tensor:
        """Linear layer, its context part computed once a request.

        Args:
            inputs: of the layer.
            units: columns of the output.
            name: variable scope.
            heads: how many layers stand side by side in it; each is initialized as if it were alone.
            start: what the bias begins with.

        Returns:
            [impressions, units], or [requests, units] if the inputs have no impression part.
        """
        limit = math.sqrt(6.0 / (inputs.width + units / heads))
        with tf.compat.v1.variable_scope(name):
            shared = self._lowered(_variable("bias", [units], tf.constant_initializer(start)))
            if inputs.context is not None:
                shared += self._product("context_kernel", inputs.context, units, limit)
            if inputs.impression is None:
                return shared
            own = self._product("kernel", inputs.impression, units, limit)
            if inputs.context is None:
                return own + shared
            if inputs.requests.is_single:
                # As a bias, which TensorFlow adds inside the product.
                return tf.nn.bias_add(own, shared[0])
            return own + inputs.requests.to_impressions(shared)

    def hidden(
        self, inputs: Representation, units: int, name: str, rate: float = 0.0, heads: int = 1
    ) -> Representation:
        """Linear layer, batch norm where it is on, ReLU, and dropout of `rate` in training."""
        rows = self.linear(inputs, units, name, heads)
        if self.settings.batch_norm:
            # A context stands for all its impressions: so the moments are those of the flat layout.
            repeats = inputs.requests.sizes() if inputs.impression is None else None
            rows = self._batch_norm(rows, repeats, name)
        rows = tf.nn.relu(rows)
        return inputs.with_rows(tf.nn.dropout(rows, rate=rate) if rate and self.training else rows)

    def stack(
        self, inputs: Representation, layers: Sequence[int], name: str, rates: Sequence[float] = (), first: int = 0
    ) -> Representation:
        """Hidden layers one after the other, numbered from `first`; without layers the inputs themselves."""
        for number, units in enumerate(layers):
            rate = rates[number] if rates else 0.0
            inputs = self.hidden(inputs, units, f"{name}/layer_{first + number}", rate)
        return inputs

    def parallel_stacks(
        self,
        inputs: Representation,
        layers: Sequence[int],
        scope: str,
        names: Sequence[str],
        rates: Sequence[float] = (),
    ) -> list[Representation]:
        """A stack for each name, all on the same inputs: their first layers are one product."""
        if not layers:
            return [inputs] * len(names)
        rate = rates[0] if rates else 0.0
        first = self.hidden(inputs, layers[0] * len(names), f"{scope}/layer_0", rate, heads=len(names))
        rows = first.context if first.impression is None else first.impression
        return [
            self.stack(first.with_rows(part), layers[1:], f"{scope}/{name}", rates[1:], first=1)
            for name, part in zip(names, tf.split(rows, len(names), axis=1), strict=True)
        ]

    def logit(self, inputs: Representation, name: str, start: float = 0.0) -> tf.Tensor:
        """Last layer of a tower, whose bias begins at `start`: float32 [impressions]."""
        column = self._raised(self.linear(inputs, 1, f"{name}/logit", start=start))
        if inputs.impression is None:
            column = inputs.requests.to_impressions(column)
        return tf.squeeze(column, 1)

    def cross(self, start: tf.Tensor, inputs: Representation, rank: int, name: str) -> Representation:
        """x0 * (U V x + b) + x, a cross of low rank (DCN-V2, WWW 2021, equation 2): float32 [impressions, width].

        V is linear in x, so its context half is computed once a request where x has one.

        Args:
            start: x0, [impressions, width].
            inputs: x, of the same width.
            rank: of U V.
            name: variable scope.
        """
        low = Representation(inputs.requests, None, self.linear(inputs, rank, f"{name}/v"))
        crossed = start * self._raised(self.linear(low, int(start.shape[1]), f"{name}/u"))
        return Representation(inputs.requests, None, crossed + inputs.to_impressions())

    def entered(self, inputs: Representation) -> Representation:
        """The representation in the type that layers compute in, as what comes out of a hidden layer is."""
        lowered = (part if part is None else self._lowered(part) for part in (inputs.context, inputs.impression))
        return Representation(inputs.requests, *lowered)

    def _raised(self, values: tf.Tensor) -> tf.Tensor:
        """What leaves the layers: float32, the gradient on its way in multiplied for their type."""
        return scale_gradient(tf.cast(values, tf.float32), self._gradient_scale)

    @property
    def _gradient_scale(self) -> float:
        return FLOAT16_GRADIENT_SCALE if self._precision == FLOAT16 else 1.0

    @property
    def _precision(self) -> str:
        """Scores are float32's, whose last digits do not hang on how a request is laid out."""
        return self.settings.precision if self.training else FLOAT32

    def _product(self, name: str, rows: tf.Tensor, units: int, limit: float) -> tf.Tensor:
        kernel = _variable(name, [int(rows.shape[1]), units], initial.uniform(limit, name))
        self.kernels.append(kernel)
        return tf.matmul(self._lowered(rows), self._lowered(kernel))

    def _lowered(self, values: tf.Tensor) -> tf.Tensor:
        """Values in the type that layers compute in; inside the layers they are in it already."""
        if values.dtype != tf.float32:
            return values
        return tf.cast(scale_gradient(values, 1.0 / self._gradient_scale), self._precision)

    def _batch_norm(self, rows: tf.Tensor, repeats: tf.Tensor | None, name: str) -> tf.Tensor:
        """Batch normalization over rows that each stand for `repeats` rows; moments in float32."""
        units = [int(rows.shape[1])]
        with tf.compat.v1.variable_scope(f"{name}/batch_norm"):
            beta = _moving("beta", units, 0.0, trainable=True)
            gamma = _moving("gamma", units, 1.0, trainable=True)
            moving_mean = _moving("moving_mean", units, 0.0, trainable=False)
            moving_variance = _moving("moving_variance", units, 1.0, trainable=False)
        wide = tf.cast(rows, tf.float32)
        mean, variance = moving_mean, moving_variance
        if self.training:
            mean, variance = moments(wide, repeats)
            self._follow(moving_mean, mean)
            self._follow(moving_variance, variance)
        unscale = 1.0 / self._gradient_scale
        normal = tf.nn.batch_normalization(
            wide, mean, variance, scale_gradient(beta, unscale), scale_gradient(gamma, unscale), BATCH_NORM_EPSILON
        )
        return tf.cast(normal, rows.dtype)

    def _follow(self, moving: tf.Variable, value: tf.Tensor) -> None:
        step = (1.0 - self.settings.batch_norm_decay) * (tf.stop_gradient(value) - moving)
        self.updates.append(moving.assign_add(step))


def _variable(name: str, shape: list[int], initializer: Any) -> tf.Variable:
    return tf.compat.v1.get_variable(name, shape, initializer=initializer, use_resource=True)


def _moving(name: str, shape: list[int], start: float, trainable: bool) -> tf.Variable:
    return tf.compat.v1.get_variable(
        name,
        shape,
        initializer=tf.constant_initializer(start),
        trainable=trainable,
        use_resource=True,
        aggregation=tf.VariableAggregation.NONE if trainable else tf.VariableAggregation.MEAN,
        synchronization=tf.VariableSynchronization.AUTO if trainable else tf.VariableSynchronization.ON_READ,
    )


def moments(rows: tf.Tensor, repeats: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance of the columns of [n, units], row i counted repeats[i] times (None: once)."""
    if repeats is None:
        mean, variance = tf.nn.moments(rows, [0])
        return mean, variance
    share = tf.math.divide_no_nan(repeats, tf.reduce_sum(repeats))[:, tf.newaxis]
    mean = tf.reduce_sum(share * rows, 0)
    return mean, tf.reduce_sum(share * tf.math.squared_difference(rows, mean), 0)


def scale_gradient(values: tf.Tensor, factor: float) -> tf.Tensor:
    """The values themselves; the gradient that flows back through them is multiplied by `factor`."""
    if factor == 1.0:
        return tf.convert_to_tensor(values)

    @tf.custom_gradient
    def scaled(inner: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        return tf.identity(inner), lambda upstream: upstream * factor

    return scaled(tf.convert_to_tensor(values))
