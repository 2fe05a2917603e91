"""Initial values of weights: a function of the run's seed and the variable's name alone.

TensorFlow's own choice is the number of ops that the graph has so far: another release, or one more tower, and all
weights begin elsewhere.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

v1 = tf.compat.v1
_LARGEST_SEED = (1 << 31) - 1


def uniform(limit: float, name: str) -> Callable[..., tf.Tensor]:
    """Initializer, uniform between minus and plus `limit`, of the variable of this name in the current scope."""
    seed = zlib.crc32(f"{v1.get_variable_scope().name}/{name}".encode())

    # A part of a variable that is spread over parameter servers is told which; its rows shall not repeat another's.
    def initialize(shape: Sequence[int], dtype: tf.DType = tf.float32, partition_info: Any = None) -> tf.Tensor:
        first = partition_info.var_offset[0] if partition_info else 0
        return tf.random.uniform(shape, -limit, limit, dtype, seed=(seed + first) & _LARGEST_SEED)

    return initialize
