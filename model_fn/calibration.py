"""Maps of a tower's logits that bring its mean predictions to the rates of impressions that it was not trained on.

A map is strictly increasing, so the order of a tower's scores stays as it was. It is fitted on the counts of a
`ScoreHistogram`, whatever the number of impressions. No TensorFlow here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from model_fn.score_histogram import ScoreHistogram

PLATT = "platt"
ISOTONIC = "isotonic"
METHODS = (PLATT, ISOTONIC)

# Positives (and negatives) that a step of an isotonic map rests on: its rate is then known to some 20 percent.
_POSITIVES_OF_STEP = 25
_MOST_STEPS = 64
# Pulls the slope of Platt's line towards 1, with the force of some impressions: it decides only where few are there.
_PRIOR = 1.0
_NEWTON_STEPS = 50


@dataclasses.dataclass(frozen=True)
class Curve:
    """A strictly increasing map of logits: straight between its knots, and beyond them with a slope of its own.

    Attributes:
        logits: of the knots, ascending.
        calibrated: what they become, ascending.
        below: slope below the first knot.
        above: slope above the last one.
    """

    logits: tuple[float, ...] = (0.0,)
    calibrated: tuple[float, ...] = (0.0,)
    below: float = 1.0
    above: float = 1.0

    def of(self, logits: np.ndarray) -> np.ndarray:
        """The map of float64 logits [n]; `network.mapped` is the same in a graph."""
        x, y = np.array(self.logits), np.array(self.calibrated)
        below, above = np.minimum(logits - x[0], 0.0), np.maximum(logits - x[-1], 0.0)
        return np.interp(logits, x, y) + self.below * below + self.above * above


IDENTITY = Curve()


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The maps of both towers. pCTCVR stays the product of what they make."""

    ctr: Curve = IDENTITY
    cvr: Curve = IDENTITY

    @classmethod
    def from_dict(cls, curves: Mapping[str, Mapping]) -> Calibration:
        """What `dataclasses.asdict` made a dictionary of, by way of JSON too."""
        return cls(**{tower: _curve(parts) for tower, parts in curves.items()})


def _curve(parts: Mapping) -> Curve:
    knots = {name: tuple(map(float, parts[name])) for name in ("logits", "calibrated")}
    return Curve(**knots, below=float(parts["below"]), above=float(parts["above"]))


def fit(scores: ScoreHistogram, method: str) -> Curve:
    """The map that a method finds; of scores that cannot tell one, the identity.

    Args:
        scores: of a tower, with labels.
        method: one of METHODS.
    """
    if not scores.positives or not scores.negatives:
        return IDENTITY
    return _platt(scores) if method == PLATT else _isotonic(scores)


def _platt(scores: ScoreHistogram) -> Curve:
    """Slope * logit + shift of the largest likelihood (Platt 1999, without his smoothed labels), by Newton's method."""
    logits, negatives, positives = scores.bins()
    middle = float(np.average(logits, weights=negatives + positives))
    x = logits - middle
    slope, shift = 1.0, middle
    for _ in range(_NEWTON_STEPS):
        rate = 1.0 / (1.0 + np.exp(-np.clip(slope * x + shift, -60, 60)))
        errors = positives - (negatives + positives) * rate
        information = (negatives + positives) * rate * (1.0 - rate) + 1e-12
        gradient = np.array([errors @ x - _PRIOR * (slope - 1.0), errors.sum()])
        cross = information @ x
        hessian = np.array([[information @ x**2 + _PRIOR, cross], [cross, information.sum()]])
        step = np.clip(np.linalg.solve(hessian, gradient), -1.0, 1.0)
        slope, shift = slope + step[0], shift + step[1]
        if np.abs(step).max() < 1e-10:
            break
    if slope <= 0:
        # Higher scores convert less often here. To turn the order around is not what calibration is for.
        return _shifted(scores)
    return Curve((middle,), (float(shift),), float(slope), float(slope))


def _shifted(scores: ScoreHistogram) -> Curve:
    """The identity, moved so that predictions have the mean of the labels; found by bisection."""
    logits, negatives, positives = scores.bins()
    low, high = -80.0, 80.0
    for _ in range(80):
        shift = (low + high) / 2
        rates = 1.0 / (1.0 + np.exp(-np.clip(logits + shift, -60, 60)))
        too_low = (negatives + positives) @ rates < positives.sum()
        low, high = (shift, high) if too_low else (low, shift)
    return Curve((0.0,), ((low + high) / 2,))


def _isotonic(scores: ScoreHistogram) -> Curve:
    """Knots at the means of groups of impressions whose rates increase (pool adjacent violators, Ayer et al. 1955).

    Straight lines between the knots, in logits, keep apart what steps would make equal.
    """
    logits, negatives, positives = scores.bins()
    steps = min(_MOST_STEPS, int(min(scores.positives, scores.negatives) // _POSITIVES_OF_STEP))
    if steps < 2:
        return _shifted(scores)
    # Groups of equally many positives, so that each has some.
    group = np.minimum((np.cumsum(positives) - positives / 2) * steps // positives.sum(), steps - 1).astype(int)
    count = negatives + positives
    columns = [np.bincount(group, values, steps) for values in (count, positives, count * logits)]
    blocks: list[np.ndarray] = []
    for block in np.stack(columns, 1)[columns[0] > 0]:
        blocks.append(block)
        while len(blocks) > 1 and _rate(blocks[-2]) >= _rate(blocks[-1]):
            last = blocks.pop()
            blocks[-1] = blocks[-1] + last
    rates = np.array([_rate(block) for block in blocks])
    places = tuple(float(block[2] / block[0]) for block in blocks)
    return Curve(places, tuple(map(float, np.log(rates) - np.log1p(-rates))))


def _rate(block: np.ndarray) -> float:
    """Share of positives; half an impression of each class beside them keeps it off 0 and 1."""
    return float((block[1] + 0.5) / (block[0] + 1.0))
