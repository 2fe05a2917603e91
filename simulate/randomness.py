"""Random numbers that are functions of a key and a counter, the same on every machine and for any chunk size.

Nothing here has a state: the n-th number of a stream is a hash of stream and n (SplitMix64 in counter mode; Steele,
Lea, Flood 2014). What a request holds therefore does not depend on which requests were drawn with or before it.

Only operations that IEEE 754 rounds correctly (+ - * / sqrt) touch values that decide something: exp, log and BLAS
differ in the last bit between machines. Tables of other functions are rounded to six digits.
"""

from __future__ import annotations

import functools
import math
import statistics

import numpy as np

from features import keys

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
LANE_BITS = 16
LANES = 1 << LANE_BITS

# Taylor coefficients of exp, highest first: exact to a unit in the last place for |x| <= ln(2) / 2.
EXP_COEFFICIENTS = tuple(1.0 / math.factorial(n) for n in range(14, -1, -1))
LN2_HIGH = 0.693147180369123816490
LN2_LOW = 1.90821492927058770002e-10
LOGIT_LIMIT = 30.0


def stream(seed: int, name: str) -> np.ndarray:
    """State of a stream: uint64 [1]."""
    return np.array([keys.fingerprint64(f"{seed}/{name}")], np.int64).view(np.uint64)


def bits(state: np.ndarray, counter: np.ndarray) -> np.ndarray:
    """64 random bits for each counter; also the state of a stream below it.

    Args:
        state: uint64 [1] or [n].
        counter: integers [n], not negative.

    Returns:
        uint64 [n].
    """
    counted = np.asarray(counter).astype(np.uint64)
    counted += np.uint64(1)
    counted *= GOLDEN
    counted = counted + state
    return keys.mix64(counted.view(np.int64)).view(np.uint64)


def unit(random_bits: np.ndarray) -> np.ndarray:
    """Uniform numbers of all 64 bits: uint64 [n] -> float64 [n] in [0, 1)."""
    return (random_bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def half_units(random_bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two independent uniform numbers: uint64 [n] -> float64 [n] twice, in [0, 1), of 32 bits each."""
    high = (random_bits >> np.uint64(32)).astype(np.float64) * 2.0**-32
    low = (random_bits & np.uint64(0xFFFFFFFF)).astype(np.float64) * 2.0**-32
    return high, low


def lane(random_bits: np.ndarray, index: int) -> np.ndarray:
    """The index-th 16 of 64 bits, to look up a table of `LANES` entries: uint64 [n] -> int64 [n]."""
    return ((random_bits >> np.uint64(LANE_BITS * index)) & np.uint64(LANES - 1)).astype(np.int64)


@functools.cache
def normal_table() -> np.ndarray:
    """Quantiles of N(0, 1) at the middle of each of `LANES` equal parts: float64 [LANES]."""
    quantile = statistics.NormalDist().inv_cdf
    return np.array([round(quantile((i + 0.5) / LANES), 6) for i in range(LANES)])


def normals(random_bits: np.ndarray, index: int) -> np.ndarray:
    """Normal numbers of the index-th lane: uint64 [n] -> float64 [n]."""
    return normal_table()[lane(random_bits, index)]


@functools.cache
def exponential_table() -> np.ndarray:
    """Quantiles of the exponential distribution of mean 1 at the middle of each part: float64 [LANES]."""
    return np.array([round(-math.log1p(-(i + 0.5) / LANES), 6) for i in range(LANES)])


@functools.cache
def lognormal_table(sigma: float) -> np.ndarray:
    """Quantiles of a log-normal distribution of mean 1: float64 [LANES]."""
    return np.round(exp(sigma * normal_table() - sigma * sigma / 2), 6)


def zipf_ranks(units: np.ndarray, size: int | np.ndarray, head: float, roots: int = 2) -> np.ndarray:
    """Ranks under Zipf's law, flattened over the first `head` ranks (Mandelbrot).

    The density of rank r is proportional to (r + head) ** -(1 - 1 / 2 ** roots): the exponent is 3/4 for 2 roots, 7/8
    for 3. Its inverse needs only square roots and products.

    Args:
        units: float64 [n] in [0, 1).
        size: number of ranks, one or [n].
        head: ranks over which popularity stays level.
        roots: how steep.

    Returns:
        int64 [n] in [0, size).
    """
    start = head / (size + head)
    for _ in range(roots):
        start = np.sqrt(start)
    power = start + (1 - start) * units
    for _ in range(roots):
        power = power * power
    ranks = (power * (size + head) - head).astype(np.int64)
    return np.clip(ranks, 0, size - 1)


def zipf_shares(size: int, head: float, roots: int = 2) -> np.ndarray:
    """Probability of each rank of `zipf_ranks`: float64 [size], adding up to 1."""
    edges = (np.arange(size + 1) + head) / (size + head)
    for _ in range(roots):
        edges = np.sqrt(edges)
    return np.diff((edges - edges[0]) / (1 - edges[0]))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)): float64 [n] -> float64 [n], the same bits everywhere."""
    return 1 / (1 + exp(-np.clip(logits, -LOGIT_LIMIT, LOGIT_LIMIT)))


def exp(exponents: np.ndarray) -> np.ndarray:
    """Exponential function: float64 [n] -> float64 [n], the same bits everywhere."""
    powers = np.rint(exponents * (1 / LN2_HIGH))
    rest = exponents - powers * LN2_HIGH - powers * LN2_LOW
    result = np.full_like(rest, EXP_COEFFICIENTS[0])
    for coefficient in EXP_COEFFICIENTS[1:]:
        result *= rest
        result += coefficient
    return np.ldexp(result, powers.astype(np.int32))
