"""Metrics by the value of a field: what holds over all impressions may not hold for a country, a shop or a day.

A field may have millions of values, and a set of metrics takes megabytes: the values of the smallest ids are kept
apart, which are the field's frequent ones in training, and all others are one slice. The bound only ever falls, so
which they are does not depend on batches or their order.
"""

from __future__ import annotations

import numpy as np

from model_fn.evaluation import Evaluation

# Values of a field that are kept apart, at some eight megabytes each.
MOST_VALUES = 20
# Stands for all other values.
OTHERS = -1

ID, IMPRESSIONS, CLICKS, CONVERSIONS = "id", "impressions", "clicks", "conversions"


def columns(with_weights: bool = False) -> list[str]:
    """What a row of `Slices.table` holds: the id, three counts and every metric but those within users."""
    return [ID, IMPRESSIONS, CLICKS, CONVERSIONS, *Evaluation(False, with_weights).metrics()]


class Slices:
    """Collects scores and labels by the value of one field.

    Args:
        with_weights: whether `update` is given weights.
        most: values to keep apart.
    """

    def __init__(self, with_weights: bool = False, most: int = MOST_VALUES) -> None:
        self._with_weights = with_weights
        self._most = most
        self._parts: dict[int, Evaluation] = {}
        self._others: Evaluation | None = None

    def update(
        self,
        ids: np.ndarray,
        ctr: np.ndarray,
        cvr: np.ndarray,
        click: np.ndarray,
        conversion: np.ndarray,
        floor: float = 0.0,
        weights: np.ndarray | None = None,
    ) -> None:
        """Adds a batch: the field's id in each impression, int [impressions]; the rest as in `Evaluation.update`."""
        found = np.unique(ids)
        kept = sorted({*self._parts, *found.tolist()})[: self._most]
        for evicted in self._parts.keys() - set(kept):
            self._rest().merge(self._parts.pop(evicted))
        known = np.intersect1d(found, kept).tolist()
        for value in known:
            self._parts[value] = self._parts.get(value) or self._empty()
            _add(self._parts[value], ids == value, (ctr, cvr, click, conversion), floor, weights)
        if len(known) < len(found):
            _add(self._rest(), ~np.isin(ids, known), (ctr, cvr, click, conversion), floor, weights)

    def table(self) -> np.ndarray:
        """A row for each slice, by id, that of all others last: float64 [slices, len(columns(with_weights))]."""
        parts: list[tuple[int, Evaluation]] = sorted(self._parts.items(), key=lambda part: part[0])
        parts += [(OTHERS, self._others)] if self._others else []
        rows = [[value, *part.counts(), *part.metrics().values()] for value, part in parts]
        return np.array(rows, np.float64).reshape(-1, len(columns(self._with_weights)))

    def _rest(self) -> Evaluation:
        self._others = self._others or self._empty()
        return self._others

    def _empty(self) -> Evaluation:
        return Evaluation(with_users=False, with_weights=self._with_weights)


def _add(
    part: Evaluation, own: np.ndarray, scores: tuple[np.ndarray, ...], floor: float, weights: np.ndarray | None
) -> None:
    """Adds the impressions of a batch that are a part's own."""
    ctr, cvr, click, conversion = (column[own] for column in scores)
    part.update(ctr, cvr, click, conversion, floor, weights=None if weights is None else weights[own])
