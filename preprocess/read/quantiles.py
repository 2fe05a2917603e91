"""Quantiles of numbers by exact counting over rounded values: any order and any grouping of the rows gives the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from features import scaling
from features.scaling import Moments

# A float32 keeps its sign, its exponent and 11 bits of its fraction: values closer than 1 part in 2048 are one.
_DROPPED_BITS = 12


@dataclasses.dataclass(frozen=True)
class Histogram:
    """How often each rounded value occurs.

    Attributes:
        bins: ascending, uint32 [bins].
        counts: int64 [bins].
    """

    bins: np.ndarray
    counts: np.ndarray


def histogram(values: np.ndarray) -> Histogram:
    """Histogram of numbers: float32 [n]; NaN is none."""
    # Adding 0 makes the negative zero a positive one.
    bits = (values[~np.isnan(values)].astype(np.float32) + np.float32(0)).view(np.uint32)
    # Makes the order of the bit patterns that of the numbers: negative ones are reversed, and lie below the others.
    ordered = np.where(bits >> 31 != 0, ~bits, bits | np.uint32(1 << 31))
    return Histogram(*np.unique(ordered >> np.uint32(_DROPPED_BITS), return_counts=True))


def merge(parts: Sequence[Histogram]) -> Histogram:
    """Histogram of all values of the parts."""
    bins, place = np.unique(np.concatenate([part.bins for part in parts]), return_inverse=True)
    counts = np.zeros(len(bins), np.int64)
    np.add.at(counts, place, np.concatenate([part.counts for part in parts]))
    return Histogram(bins, counts)


def boundaries(values: Histogram, buckets: int) -> tuple[float, ...]:
    """Ascending boundaries of about equally full buckets; fewer where a value fills several."""
    if not len(values.bins):
        return ()
    below = np.cumsum(values.counts) - values.counts
    targets = np.arange(1, buckets) * (values.counts.sum() / buckets)
    # A boundary is the smallest value of a bin: of the first bin that has `target` values or more below it.
    places = np.searchsorted(below, targets, side="left")
    chosen = np.unique(places[(places > 0) & (places < len(values.bins))])
    return tuple(_lowest(values.bins[chosen]).tolist())


def _lowest(bins: np.ndarray) -> np.ndarray:
    """Smallest number of each bin: uint32 [n] -> float32 [n]."""
    ordered = bins.astype(np.uint32) << np.uint32(_DROPPED_BITS)
    negative = ordered >> 31 == 0
    # The bits dropped from a negative number were inverted, so zeros stand for its lowest value as well.
    return np.where(negative, ~ordered, ordered & np.uint32((1 << 31) - 1)).astype(np.uint32).view(np.float32)


def moments(values: Histogram | None) -> Moments:
    """Mean and deviation of a number, each value taken as the smallest of its bin; 0 and 1 where there is none."""
    if values is None or not len(values.bins):
        return Moments(0.0, 1.0)
    return scaling.moments_of_counts(_lowest(values.bins), values.counts)
