"""All metrics of docs/metrics.md over any number of batches, in bounded memory and float64.

Metrics are computed on the host: a batch's logits and labels go there once, nothing comes back before the end. A
metric that the data do not determine (no clicks, no conversions, all users with one class) is *absent*: NaN here,
left out by `present`, never 0.5 or 0.

Where conversions are known without a click, as in a test that shows items at random, the metrics of CVR are there over
all impressions as well, under `known(name)`: what no other log can tell. Elsewhere these are absent.

Of a log whose impressions have weights every metric is there twice: over the impressions as they are, and, under
`weighted(name)`, each counting for its weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from model_fn.grouped_auc import UserSample, UserScores, grouped_auc
from model_fn.grouped_ndcg import PLACES, grouped_ndcg
from model_fn.score_histogram import ABSENT, ScoreHistogram

CTR = "ctr"
CVR = "cvr"
CTCVR = "ctcvr"
CVR_ALL = "cvr_all"
CVR_KNOWN = "cvr_known"
TASKS = (CTR, CVR, CTCVR)
# What mean pCVR is held against.
OBSERVED_RATE = "conversions_per_click"

# What is reported of each task, as TASK_NAME.
TASK_METRICS: dict[str, Callable[[ScoreHistogram], float]] = {
    "auc": ScoreHistogram.auc,
    "logloss": ScoreHistogram.log_loss,
    "normalized_entropy": ScoreHistogram.normalized_entropy,
    "calibration": ScoreHistogram.calibration,
    "ece": ScoreHistogram.expected_calibration_error,
}
_WEIGHTED = "_weighted"
_KNOWN = "_known"
NDCG = f"ndcg{PLACES}"


def weighted(metric: str) -> str:
    """Name of a metric where impressions count for their weights; sorted, it stands behind the metric itself."""
    return metric + _WEIGHTED


def known(metric: str) -> str:
    """Name of a metric of CVR over all impressions of a log that knows their conversions without a click."""
    return metric + _KNOWN


def standard_error(auc: float | None, positives: int, negatives: int) -> float | None:
    """Of an AUC, by its size and the numbers of both classes (Hanley and McNeil 1982, eq. 1); None without an AUC."""
    if auc is None or not positives or not negatives:
        return None
    one, other = auc / (2 - auc) - auc**2, 2 * auc**2 / (1 + auc) - auc**2
    variance = auc * (1 - auc) + (positives - 1) * one + (negatives - 1) * other
    return math.sqrt(max(variance, 0.0) / (positives * negatives))


def is_weighted(metric: str) -> bool:
    """Whether a name is one of `weighted`."""
    return metric.endswith(_WEIGHTED)


class Evaluation:
    """Collects scores and labels, batch by batch.

    Args:
        with_users: whether `update` is given users, for the metrics within each user.
        with_weights: whether it is given weights.
    """

    def __init__(self, with_users: bool, with_weights: bool = False) -> None:
        self._plain = _Tasks()
        self._weighted = _Tasks() if with_weights else None
        self._users = UserSample() if with_users else None
        self._propensity = _PropensityWeights()

    def update(
        self,
        ctr: np.ndarray,
        cvr: np.ndarray,
        click: np.ndarray,
        conversion: np.ndarray,
        floor: float = 0.0,
        users: np.ndarray | None = None,
        weights: np.ndarray | None = None,
    ) -> None:
        """Adds a batch.

        Args:
            ctr: logits of the click, float [impressions].
            cvr: logits of the conversion after a click, float [impressions].
            click: 0 or 1, [impressions].
            conversion: 0 or 1, [impressions]; 1 without a click where the log knows it.
            floor: smallest propensity that a weight divides by.
            users: integer that names the user, [impressions]; with_users needs it.
            weights: what each impression counts for, [impressions]; with_weights needs it.
        """
        _demand("users", users, self._users)
        _demand("weights", weights, self._weighted)
        self._plain.update(ctr, cvr, click, conversion)
        if self._weighted is not None:
            self._weighted.update(ctr, cvr, click, conversion, weights)
        self._propensity.update(ctr[click > 0], floor)
        if self._users is not None and users is not None:
            counted = np.ones(len(users)) if weights is None else weights
            self._users.update(UserScores(users, ctr, cvr, click, conversion, counted))

    def merge(self, other: Evaluation) -> None:
        """Adds the impressions of another Evaluation; neither has users, and both have weights or none."""
        if self._users is not None or other._users is not None:
            raise ValueError("an Evaluation with users cannot be merged")
        self._plain.merge(other._plain)
        if self._weighted is not None and other._weighted is not None:
            self._weighted.merge(other._weighted)
        self._propensity.merge(other._propensity)

    def counts(self) -> tuple[int, int, int]:
        """Impressions, clicks, conversions, each once."""
        return self._plain.counts()

    def metrics(self) -> dict[str, float]:
        """Every metric by name; absent ones are NaN. The names do not depend on the data."""
        found = self._plain.metrics() | self._propensity.metrics() | self._user_metrics()
        if self._weighted is not None:
            found |= {weighted(name): value for name, value in self._weighted.metrics().items()}
        return found

    def calibration_tables(self) -> dict[str, np.ndarray]:
        """For each task its table by decile: float64 [10, 3], as `score_histogram` has it. Without weights."""
        return self._plain.calibration_tables()

    def _user_metrics(self) -> dict[str, float]:
        if self._users is None:
            return {}
        kept = self._users.scores()
        both = kept.click * kept.conversion
        clicked = kept.click > 0
        by_task = {
            CTR: (kept.user, kept.ctr, kept.click, kept.weight),
            CVR: (kept.user[clicked], kept.cvr[clicked], kept.conversion[clicked], kept.weight[clicked]),
            CTCVR: (kept.user, ctcvr_logits(kept.ctr, kept.cvr), both, kept.weight),
        }
        found = {"gauc_user_share": self._users.share}
        for task, (users, scores, labels, weights) in by_task.items():
            found[f"{task}_gauc"], found[f"{task}_gauc_left_out"] = grouped_auc(users, scores, labels)
            found[f"{task}_{NDCG}"] = grouped_ndcg(users, scores, labels)
            if self._weighted is not None:
                found[weighted(f"{task}_gauc")] = grouped_auc(users, scores, labels, weights).auc
        knows_all = self._plain.knows_all
        of_all, gauc = (kept.user, kept.cvr, kept.conversion), known(f"{CVR}_gauc")
        found[gauc] = grouped_auc(*of_all).auc if knows_all else ABSENT
        found[known(f"{CVR}_{NDCG}")] = grouped_ndcg(*of_all) if knows_all else ABSENT
        if self._weighted is not None:
            found[weighted(gauc)] = grouped_auc(*of_all, kept.weight).auc if knows_all else ABSENT
        return found


def _demand(what: str, given: object, collects: object) -> None:
    if (given is None) != (collects is None):
        raise ValueError(f"{what} are given in every batch of an Evaluation with_{what}, and in none of another")


class _Tasks:
    """Scores of each task over its own impressions, each counting once or for its weight."""

    def __init__(self) -> None:
        self._histograms = {task: ScoreHistogram() for task in (*TASKS, CVR_ALL, CVR_KNOWN)}
        self._without_click = 0

    def update(
        self,
        ctr: np.ndarray,
        cvr: np.ndarray,
        click: np.ndarray,
        conversion: np.ndarray,
        weights: np.ndarray | None = None,
    ) -> None:
        """Adds a batch; see `Evaluation.update`."""
        both, clicked = click * conversion, click > 0
        of_clicks = None if weights is None else weights[clicked]
        self._histograms[CTR].update(ctr, click, weights)
        self._histograms[CVR].update(cvr[clicked], conversion[clicked], of_clicks)
        self._histograms[CTCVR].update(ctcvr_logits(ctr, cvr), both, weights)
        self._histograms[CVR_ALL].update(cvr, both, weights)
        self._histograms[CVR_KNOWN].update(cvr, conversion, weights)
        self._without_click += int(np.sum((np.asarray(conversion) > 0) & ~clicked))

    def merge(self, other: _Tasks) -> None:
        """Adds the impressions of another."""
        for task, histogram in self._histograms.items():
            histogram.merge(other._histograms[task])
        self._without_click += other._without_click

    def counts(self) -> tuple[int, int, int]:
        """Impressions, clicks, conversions."""
        clicks, both = self._histograms[CTR], self._histograms[CTCVR]
        return round(clicks.impressions), round(clicks.positives), round(both.positives)

    def metrics(self) -> dict[str, float]:
        """Every metric but those within users and those of the propensities."""
        found: dict[str, float] = {}
        for task in TASKS:
            found |= _task_metrics(task, self._histograms[task])
        found["cvr_auc_all"] = self._histograms[CVR_ALL].auc()
        known_ones = _task_metrics(CVR, self._histograms[CVR_KNOWN] if self.knows_all else ScoreHistogram())
        return found | {known(name): value for name, value in known_ones.items()} | self._bias_metrics()

    @property
    def knows_all(self) -> bool:
        """Whether conversions are known without a click: some impression has one."""
        return self._without_click > 0

    def calibration_tables(self) -> dict[str, np.ndarray]:
        """For each task its table by decile."""
        return {task: self._histograms[task].calibration_table() for task in TASKS}

    def _bias_metrics(self) -> dict[str, float]:
        """Mean pCVR over D, O and N against the conversion rate of clicks: inherent estimation bias."""
        everywhere, clicked = self._histograms[CVR_ALL], self._histograms[CVR]
        unclicked = self._histograms[CTR].negatives
        total = everywhere.mean_prediction() * everywhere.impressions
        on_clicks = clicked.mean_prediction() * clicked.impressions if clicked.impressions else 0.0
        return {
            "cvr_mean_all": everywhere.mean_prediction(),
            "cvr_mean_clicked": clicked.mean_prediction(),
            "cvr_mean_unclicked": (total - on_clicks) / unclicked if unclicked else ABSENT,
            OBSERVED_RATE: clicked.positives / clicked.impressions if clicked.impressions else ABSENT,
        }


class _PropensityWeights:
    """Inverse propensities of clicked impressions."""

    def __init__(self) -> None:
        self._clicks = self._clipped = 0
        self._largest = self._sum = self._sum_of_squares = 0.0

    def update(self, ctr: np.ndarray, floor: float) -> None:
        """Adds clicked impressions: logits of the click [n]."""
        propensity = np.exp(-np.logaddexp(0.0, -np.asarray(ctr, np.float64)))
        weights = 1.0 / np.maximum(propensity, floor)
        self._clicks += len(weights)
        self._clipped += int(np.sum(propensity < floor))
        self._largest = float(np.max(weights, initial=self._largest))
        self._sum += float(weights.sum())
        self._sum_of_squares += float(np.square(weights).sum())

    def merge(self, other: _PropensityWeights) -> None:
        """Adds the impressions of another."""
        self._clicks += other._clicks
        self._clipped += other._clipped
        self._largest = max(self._largest, other._largest)
        self._sum += other._sum
        self._sum_of_squares += other._sum_of_squares

    def metrics(self) -> dict[str, float]:
        """Share at the floor, largest weight, effective sample size (sum w)^2 / sum w^2."""
        known = self._clicks > 0
        return {
            "propensity_clipped_share": self._clipped / self._clicks if known else ABSENT,
            "propensity_max_weight": self._largest if known else ABSENT,
            "propensity_ess": self._sum**2 / self._sum_of_squares if known else ABSENT,
        }


def _task_metrics(task: str, histogram: ScoreHistogram) -> dict[str, float]:
    return {f"{task}_{name}": figure(histogram) for name, figure in TASK_METRICS.items()}


def ctcvr_logits(ctr: np.ndarray, cvr: np.ndarray) -> np.ndarray:
    """Logit of sigmoid(ctr) * sigmoid(cvr): float64 [n].

    1 - p*q = (e^-a + e^-b + e^-(a+b)) * p*q, so the logit is minus the log of that sum: exact at either end.
    """
    a, b = np.asarray(ctr, np.float64), np.asarray(cvr, np.float64)
    return -np.logaddexp(np.logaddexp(-a, -b), -(a + b))


def present(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that the data determine, in the order given."""
    return {name: value for name, value in metrics.items() if not math.isnan(value)}
