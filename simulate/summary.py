"""What came out: rates, the bias of clicked impressions, and the AUC of an oracle that knows the truth."""

from __future__ import annotations

import numpy as np

from simulate.interest import PROBABILITY_UNITS, Truth

# Scores are sorted into bins by exponent and the first bits of the mantissa: a logarithmic scale of 1024 bins to a
# factor of two, so that AUC needs no list of scores. Two scores of one bin count as a tie.
MANTISSA_BITS = 10
LOWEST_EXPONENT = -62
BINS = -LOWEST_EXPONENT << MANTISSA_BITS


class Auc:
    """Area under the ROC curve of scores in (0, 1), in constant memory."""

    def __init__(self) -> None:
        self._negatives = np.zeros(BINS, np.int64)
        self._positives = np.zeros(BINS, np.int64)

    def add(self, scores: np.ndarray, labels: np.ndarray) -> None:
        """Takes in scores float64 [n] with labels bool [n]."""
        bins = (scores.view(np.int64) >> (52 - MANTISSA_BITS)) - ((1023 + LOWEST_EXPONENT) << MANTISSA_BITS)
        bins = np.clip(bins, 0, BINS - 1)
        self._positives += np.bincount(bins[labels], minlength=BINS)
        self._negatives += np.bincount(bins[~labels], minlength=BINS)

    def value(self) -> float | None:
        """The area; None where one class has no impression."""
        positives, negatives = int(self._positives.sum()), int(self._negatives.sum())
        if not positives or not negatives:
            return None
        below = np.cumsum(self._negatives) - self._negatives
        twice = int((self._positives * (2 * below + self._negatives)).sum())
        return round(twice / (2 * positives * negatives), 6)


class Summary:
    """Sums over the impressions of a split."""

    def __init__(self) -> None:
        self._requests = self._impressions = self._clicks = self._conversions = 0
        self._p_click = self._p_conversion = self._p_conversion_clicked = 0
        self._aucs = {"ctr": Auc(), "cvr": Auc(), "ctcvr": Auc()}

    @property
    def impressions(self) -> int:
        """Impressions so far."""
        return self._impressions

    def add(self, requests: int, truth: Truth) -> None:
        """Takes in the impressions of some requests."""
        click, conversion = truth.click, truth.conversion
        self._requests += requests
        self._impressions += len(click)
        self._clicks += int(click.sum())
        self._conversions += int(conversion.sum())
        self._p_click += int(truth.p_click.sum())
        self._p_conversion += int(truth.p_conversion.sum())
        self._p_conversion_clicked += int(truth.p_conversion[click].sum())
        p_click, p_conversion = truth.p_click / PROBABILITY_UNITS, truth.p_conversion / PROBABILITY_UNITS
        self._aucs["ctr"].add(p_click, click)
        self._aucs["cvr"].add(p_conversion[click], conversion[click])
        self._aucs["ctcvr"].add(p_click * p_conversion, conversion)

    def report(self) -> dict[str, object]:
        """Contents of simulation.json for a split; what nothing was observed of is null."""
        mean_all = _ratio(self._p_conversion, self._impressions * PROBABILITY_UNITS)
        mean_clicked = _ratio(self._p_conversion_clicked, self._clicks * PROBABILITY_UNITS)
        bias = round(mean_clicked / mean_all, 6) if mean_clicked and mean_all else None
        return {
            "requests": self._requests,
            "impressions": self._impressions,
            "clicks": self._clicks,
            "conversions": self._conversions,
            "click_rate": _ratio(self._clicks, self._impressions),
            "conversion_rate": _ratio(self._conversions, self._clicks),
            "mean_p_click": _ratio(self._p_click, self._impressions * PROBABILITY_UNITS),
            "mean_p_conversion": mean_all,
            "mean_p_conversion_clicked": mean_clicked,
            "bias_ratio": bias,
            "oracle_auc": {name: auc.value() for name, auc in self._aucs.items()},
        }


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 9) if whole else None
