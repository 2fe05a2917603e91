"""Numbers that stay numbers: what a record and the model's input hold of a value of a log."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from features.schema import LOG1P, STANDARD, Field

# Of n numbers none lies more than sqrt(n - 1) deviations from their mean, so none of a train split reaches this. One
# that comes later may: without a bound it would be infinite as float32, or make scores that are no numbers.
LARGEST_DEVIATIONS = 1e6


class Moments(NamedTuple):
    """Mean and standard deviation of a number in the train split; a deviation of 0 counts as 1."""

    mean: float
    deviation: float


def moments_of_counts(values: np.ndarray, counts: np.ndarray) -> Moments:
    """Moments of values, each with the times it occurs: float [n], int [n]. Of nothing: 0 and 1."""
    total = counts.sum()
    if not total:
        return Moments(0.0, 1.0)
    mean = float(np.dot(values.astype(np.float64), counts) / total)
    variance = float(np.dot(np.square(values.astype(np.float64) - mean), counts) / total)
    return Moments(mean, variance**0.5 or 1.0)


def scaled(field: Field, values: np.ndarray, moments: Moments | None) -> np.ndarray:
    """Values as the model gets them: float32 [n] -> float32 [n]; NaN, which is no value, stays NaN.

    In float64 and rounded once, as in the graph, so that both round to the same.

    Args:
        field: of type number with a scale, or vector.
        values: of the log.
        moments: for the scale `standard`.
    """
    exact = np.asarray(values, np.float32).astype(np.float64)
    if field.scale == LOG1P:
        exact = np.sign(exact) * np.log1p(np.abs(exact))
    elif field.scale == STANDARD:
        assert moments is not None
        exact = np.clip((exact - moments.mean) / moments.deviation, -LARGEST_DEVIATIONS, LARGEST_DEVIATIONS)
    return exact.astype(np.float32)
