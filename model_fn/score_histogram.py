"""Scores and labels of any number of impressions in bounded memory: AUC, log loss and calibration read from it.

Scores are counted in bins of equal width in the logit. Bins of equal width in the probability, as `tf.metrics.auc` has
them, put nearly all scores of a rare event into one: 200 of them read an AUC of 0.50 where the exact one is 0.76.
"""

from __future__ import annotations

import numpy as np

# Probabilities beyond exp(-40) count as that one. A bin is 0.0012 wide: also a model whose logits differ by some
# hundredths only, as after a few steps, fills hundreds.
LARGEST_LOGIT = 40.0
BINS = 1 << 16
DECILES = 10
ABSENT = float("nan")

# Columns of a calibration table.
IMPRESSIONS, MEAN_PREDICTION, MEAN_LABEL = range(3)


class ScoreHistogram:
    """Counts of labels and sums of predictions in bins of the logit, and the sum of log losses.

    With weights an impression counts for its weight: two of weight 1 are as one of weight 2.
    """

    def __init__(self) -> None:
        # By label. Whole numbers up to 2^53 are exact.
        self._count = np.zeros((2, BINS), np.float64)
        self._prediction = np.zeros(BINS, np.float64)
        self._log_loss = 0.0

    def merge(self, other: ScoreHistogram) -> None:
        """Adds the impressions of another histogram."""
        self._count += other._count
        self._prediction += other._prediction
        self._log_loss += other._log_loss

    def update(self, logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Adds impressions: logits float [n], labels [n] of 0 and 1, weights float [n] of at least 0 (None: 1 each).

        Raises:
            ValueError: a logit is NaN.
        """
        logits = np.asarray(logits, np.float64)
        if np.isnan(logits).any():
            raise ValueError("the model's logits are NaN: training has diverged; use an earlier checkpoint")
        labels = np.asarray(labels).astype(np.int64)
        place = np.clip((logits + LARGEST_LOGIT) * (BINS / (2 * LARGEST_LOGIT)), 0, BINS - 1).astype(np.int64)
        predictions = np.exp(-np.logaddexp(0.0, -logits))
        log_losses = np.logaddexp(0.0, logits) - labels * logits
        counted: float | np.ndarray = 1.0
        if weights is not None:
            counted = np.asarray(weights, np.float64)
            predictions, log_losses = counted * predictions, counted * log_losses
        # Into their places, and not by a histogram of all bins for each batch: a slice of one has few impressions.
        np.add.at(self._count.reshape(-1), labels * BINS + place, counted)
        np.add.at(self._prediction, place, predictions)
        self._log_loss += float(np.sum(log_losses))

    @property
    def impressions(self) -> float:
        """Number of impressions, or the sum of their weights."""
        return float(self._count.sum())

    @property
    def positives(self) -> float:
        """Number of labels that are 1, or the sum of their weights."""
        return float(self._count[1].sum())

    @property
    def negatives(self) -> float:
        """Number of labels that are 0, or the sum of their weights."""
        return float(self._count[0].sum())

    def bins(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Logit, negatives and positives of each bin that has any, ascending: float64 [bins]."""
        filled = np.flatnonzero(self._count.sum(0))
        logits = (filled + 0.5) * (2 * LARGEST_LOGIT / BINS) - LARGEST_LOGIT
        return logits, self._count[0, filled], self._count[1, filled]

    def auc(self) -> float:
        """Area under the ROC curve, scores of a bin counted as ties; absent without positives or negatives."""
        negatives, positives = self._count
        below = np.cumsum(negatives) - negatives
        pairs = float(negatives.sum()) * float(positives.sum())
        return float(np.dot(positives, below + negatives / 2)) / pairs if pairs else ABSENT

    def log_loss(self) -> float:
        """Mean log loss; absent without positives, as is all that follows."""
        return self._log_loss / self.impressions if self.positives else ABSENT

    def normalized_entropy(self) -> float:
        """Log loss over that of the constant mean label (He et al. 2014); absent also where all labels are 1."""
        rate = self.positives / self.impressions if self.impressions else 0.0
        if not 0 < rate < 1:
            return ABSENT
        return self.log_loss() / -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate))

    def mean_prediction(self) -> float:
        """Mean of the predicted probabilities; absent without impressions."""
        return float(self._prediction.sum()) / self.impressions if self.impressions else ABSENT

    def calibration(self) -> float:
        """Sum of predictions over sum of labels."""
        return float(self._prediction.sum()) / self.positives if self.positives else ABSENT

    def calibration_table(self) -> np.ndarray:
        """By decile of the score, lowest first: impressions, mean prediction, mean label: float64 [10, 3].

        Deciles are cut between bins; one without impressions has absent means.
        """
        count = self._count.sum(0)
        middle = np.cumsum(count) - count / 2
        share = middle / self.impressions if self.impressions else middle
        decile = np.minimum((share * DECILES).astype(np.int64), DECILES - 1)
        impressions, prediction, label = (
            np.bincount(decile, values, DECILES) for values in (count, self._prediction, self._count[1])
        )
        with np.errstate(invalid="ignore"):
            return np.stack([impressions, prediction / impressions, label / impressions], 1)

    def expected_calibration_error(self) -> float:
        """Mean over impressions of |mean prediction - mean label| of their decile."""
        if not self.positives:
            return ABSENT
        table = self.calibration_table()
        weight = table[:, IMPRESSIONS] / self.impressions
        return float(np.nansum(weight * np.abs(table[:, MEAN_PREDICTION] - table[:, MEAN_LABEL])))
