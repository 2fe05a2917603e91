"""What losses of entire-space models are made of, from logits (docs/models.md). Pure functions; [n] is impressions.

Notation: a, b logits of click (o) and conversion (r); D all impressions, O the clicked ones; BCE binary cross entropy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from model_fn import hyperparameters
from model_fn.hyperparameters import Hyperparameters
from model_fn.models import CTR, CVR
from model_fn.representation import Requests

# How a sum and what it is divided by, both of the batch at hand, become a mean: of that batch, or of all of them.
Over = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

_LN_2 = math.log(2.0)
# Where both probabilities round to 1, log(1 - p) is taken as the log of this.
_LEAST_COMPLEMENT = 1e-35


class Logits(NamedTuple):
    """Logits of the towers: float32 [n], in the order of the requests and their impressions.

    Attributes:
        ctr: of the click.
        cvr: of the conversion after a click.
        more: of the towers that training alone needs, by name.
    """

    ctr: tf.Tensor
    cvr: tf.Tensor
    more: dict[str, tf.Tensor]

    @classmethod
    def of_towers(cls, logits: Mapping[str, tf.Tensor]) -> Logits:
        """From the logits of every tower by its name."""
        return cls(logits[CTR], logits[CVR], {name: logits[name] for name in logits if name not in (CTR, CVR)})

    def by_tower(self) -> dict[str, tf.Tensor]:
        """Logits of every tower by its name."""
        return {CTR: self.ctr, CVR: self.cvr, **self.more}


class Labels(NamedTuple):
    """Labels of impressions: float32 [n], 0 or 1; a conversion is one of a click.

    `weight` is what each impression counts for, float32 [n]; None: all count once. `known_share` is, of clicks whose
    conversion may still come, the share of conversions that would have come already, float32 [n]; None: all are known.
    """

    click: tf.Tensor
    conversion: tf.Tensor
    weight: tf.Tensor | None = None
    known_share: tf.Tensor | None = None

    def expected(self, cvr: tf.Tensor) -> Labels:
        """Labels of training: a click without conversion so far counts as both, as one that converts by its chance.

        P(r = 1 | none so far) = sigmoid(b + log(1 - F)) with F the share that is known; its b is a constant. Whatever
        is linear in the label has the expectation, and so the gradient, that it has with all conversions known
        (docs/models.md). Nothing is divided by F, so no weight is large where F is small.

        Args:
            cvr: logits b of the conversion: [n].
        """
        if self.known_share is None:
            return self
        still_to_come = tf.sigmoid(tf.stop_gradient(cvr) + tf.math.log1p(-self.known_share))
        return self._replace(conversion=self.conversion + self.click * (1.0 - self.conversion) * still_to_come)


def log_sigmoid(logits: tf.Tensor) -> tf.Tensor:
    """log(sigmoid(logits)) without loss of digits at either end."""
    return -tf.math.softplus(-logits)


def log_complement(log_p: tf.Tensor) -> tf.Tensor:
    """log(1 - p) of log p < 0, with all digits for small p and for p near 1; gradients are finite.

    Each branch is given only arguments that it is good for: `tf.where` would turn an infinite gradient of the branch
    that was not taken into NaN.
    """
    near_one = tf.math.log(-tf.math.expm1(tf.clip_by_value(log_p, -_LN_2, -_LEAST_COMPLEMENT)))
    small = tf.math.log1p(-tf.exp(tf.minimum(log_p, -_LN_2)))
    return tf.where(log_p > -_LN_2, near_one, small)


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """BCE of each impression: [n]. Labels may be probabilities."""
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)


def of_batch(total: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """A mean over the batch at hand, 0 where it has nothing to be a mean of: scalar."""
    return tf.math.divide_no_nan(total, count)


def ctr_loss(labels: Labels, ctr: tf.Tensor, over: Over = of_batch) -> tf.Tensor:
    """L_CTR = 1/|D| sum_D BCE(o, sigmoid(a)): scalar."""
    return mean(cross_entropy(labels.click, ctr), labels.weight, over)


def ctcvr_loss(labels: Labels, ctr: tf.Tensor, cvr: tf.Tensor, over: Over = of_batch) -> tf.Tensor:
    """L_CTCVR = 1/|D| sum_D BCE(o*r, sigmoid(a)*sigmoid(b)) (arXiv 1804.07931, equation 3): scalar."""
    log_p = log_sigmoid(ctr) + log_sigmoid(cvr)
    both = labels.click * labels.conversion
    return -mean(both * log_p + (1.0 - both) * log_complement(log_p), labels.weight, over)


def clicked_cvr_loss(labels: Labels, cvr: tf.Tensor, over: Over = of_batch) -> tf.Tensor:
    """1/|O| sum_O BCE(r, sigmoid(b)), 0 without clicks: scalar."""
    clicks = labels.click if labels.weight is None else labels.click * labels.weight
    return over(tf.reduce_sum(clicks * cross_entropy(labels.conversion, cvr)), tf.reduce_sum(clicks))


def propensity_weights(
    labels: Labels, propensity: tf.Tensor, floor: tf.Tensor | float, power: float = 0.0
) -> tf.Tensor:
    """Weights o / max(p, floor): [n].

    The floor bounds what one impression can weigh: without it a few wrong propensities would be the whole loss.

    Args:
        labels: of the impressions.
        propensity: p, chance of a click.
        floor: smallest propensity to divide by.
        power: if not 0, the weights are o / log2(1 + p)^power, which grow more slowly as p falls: smooth where a
            floor cuts (D-IPS and D-DR, 2025).
    """
    propensity = tf.maximum(propensity, floor)
    if power:
        propensity = tf.pow(tf.math.log1p(propensity) / _LN_2, power)
    return labels.click / propensity


def in_request_loss(
    label: tf.Tensor,
    score: tf.Tensor,
    requests: Requests,
    weight: tf.Tensor | None = None,
    over: Over = of_batch,
) -> tf.Tensor:
    """1/|D| sum of -log softmax of the positives among the impressions of their request: scalar.

    In the spirit of the listwise part of JRC (Sheng et al., KDD 2023). In training a request is a piece of one.

    Args:
        label: [n], 1 for a positive.
        score: [n], log odds or log probability.
        requests: of the impressions.
        weight: what each impression counts for; None: once.
        over: of which impressions it is the mean.
    """
    # Constant: the softmax is the same whatever is taken off, so that its gradient would be a sum of rounding errors.
    top = tf.stop_gradient(requests.to_impressions(tf.math.unsorted_segment_max(score, *requests.segments())))
    total = tf.math.unsorted_segment_sum(tf.exp(score - top), *requests.segments())
    return mean(label * (requests.to_impressions(tf.math.log(total)) - (score - top)), weight, over)


def mean(values: tf.Tensor, weight: tf.Tensor | None = None, over: Over = of_batch) -> tf.Tensor:
    """Over all impressions, each counting for its weight: scalar."""
    if weight is None:
        return over(tf.reduce_sum(values), tf.cast(tf.size(values), tf.float32))
    return over(tf.reduce_sum(weight * values), tf.reduce_sum(weight))


def weighted(
    weights: tf.Tensor,
    values: tf.Tensor,
    normalize: str,
    weight: tf.Tensor | None = None,
    over: Over = of_batch,
) -> tf.Tensor:
    """Mean of weights * values over the impressions or, normalized (SNIPS), over the sum of weights: scalar."""
    if normalize != hyperparameters.SELF:
        return mean(weights * values, weight, over)
    weights = weights if weight is None else weights * weight
    return over(tf.reduce_sum(weights * values), tf.reduce_sum(weights))


def l2_penalty(looked_up: tf.Tensor, kernels: list[tf.Variable], settings: Hyperparameters) -> tf.Tensor:
    """embedding_l2_reg * sum of looked-up rows squared / 2 + l2_reg * the same of the weight matrices: scalar.

    On a row of the batch the gradient is that of an L2 over the whole table; other rows feel it once they are there.
    """
    penalty = tf.constant(0.0)
    if settings.embedding_l2_reg:
        penalty += settings.embedding_l2_reg * tf.nn.l2_loss(looked_up)
    if settings.l2_reg:
        penalty += settings.l2_reg * tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels])
    return penalty
