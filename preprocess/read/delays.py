"""How soon conversions come: the share of a window's conversions that a click of some age has shown.

A log that was written at its cut shows the conversion of a young click only if it came soon. Of those that it shows,
the delay is truncated at the click's age, so their plain distribution is too fast; that of closed windows alone is
right and leaves most of a short log unused. The product-limit estimator for truncation from the right (Lynden-Bell
1971; Woodroofe 1985) uses both: of the conversions that came within d and would have been seen until then, it asks how
many came just at d, and multiplies what is left over all d from the window's end down. Here by bins, so that blocks
of a log can be counted apart and added up.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from features.raw_log.log_files import InputError

BINS = 1024
# Below so many conversions of closed windows the report warns: the shares are then known to some ten percent.
FEW_CLOSED = 100


def edges(window: int) -> np.ndarray:
    """Edges of the bins of delays and ages, seconds: float64 [BINS + 1]; narrow where most conversions come."""
    return window * np.linspace(0, 1, BINS + 1) ** 2


def nothing() -> np.ndarray:
    """The counts of no conversion: int64 [2, BINS + 1]."""
    return np.zeros((2, BINS + 1), np.int64)


def count(delay: np.ndarray, age: np.ndarray, window: int) -> np.ndarray:
    """Counts of conversions that came within the window and were seen.

    Args:
        delay: seconds from the click to the conversion: [conversions].
        age: seconds from the click to the cut of the log, infinite where the window is closed: [conversions].
        window: seconds.

    Returns:
        By bin how many came then, and how many would not have been seen from then on: int64 [2, BINS + 1]. The last
        bin is for closed windows. Counts of two parts of a log add up.
    """
    inner = edges(window)[1:-1]
    came, seen_until = np.searchsorted(inner, delay, "right"), np.searchsorted(inner, age, "right")
    seen_until = np.where(np.isinf(age), BINS, seen_until)
    # Of one bin: nothing is learnt of a conversion that could not have come in a later bin.
    told = came < seen_until
    return np.stack([np.bincount(bins[told], minlength=BINS + 1) for bins in (came, seen_until)])


@dataclasses.dataclass(frozen=True)
class KnownShares:
    """Share of the window's conversions that have come, by the age of the click.

    Attributes:
        window: seconds.
        closed: conversions whose window was closed: what the estimate rests on at its end.
        shares: at the `edges` of the window, ascending from 0 to 1: float64 [BINS + 1].
    """

    window: int
    closed: int
    shares: np.ndarray

    def of(self, age: np.ndarray) -> np.ndarray:
        """Share of each click; 1 of a closed window, whose age is infinite: float [n] -> float32 [n]."""
        return np.interp(age, edges(self.window), self.shares).astype(np.float32)

    def age(self, share: float) -> float:
        """Seconds until so much of the window's conversions have come."""
        return float(np.interp(share, self.shares, edges(self.window)))


def estimate(counts: np.ndarray, window: int) -> KnownShares:
    """The shares, of the counts of a whole log.

    Raises:
        InputError: no conversion is of a closed window, so nobody can tell what comes at the window's end.
    """
    came, seen_until = counts
    closed = int(seen_until[-1])
    if not closed:
        raise InputError(
            "--weigh_open_clicks: no click of the log that converted is older than --conversion_window, so how late "
            "conversions come cannot be known; give --input_dir more days before --log_cut, or --hold_back"
        )
    at_risk = (np.cumsum(came) - np.cumsum(seen_until))[:-1]
    just_then = np.divide(came[:-1], at_risk, out=np.zeros(BINS), where=at_risk > 0)
    earlier = np.cumprod((1.0 - just_then)[::-1])[::-1]
    return KnownShares(window, closed, np.append(earlier, 1.0))
