"""Losses of entire-space models, from logits (docs/models.md). Pure functions; [n] is impressions.

Notation: a, b logits of click (o) and conversion (r); D all impressions, O the clicked ones; BCE binary cross entropy.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from model_fn import hyperparameters
from model_fn.hyperparameters import Hyperparameters

_LN_2 = math.log(2.0)
# Where both probabilities round to 1, log(1 - p) is taken as the log of this.
_LEAST_COMPLEMENT = 1e-35


class Labels(NamedTuple):
    """Labels of impressions: float32 [n], 0 or 1; a conversion is one of a click."""

    click: tf.Tensor
    conversion: tf.Tensor


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


def ctr_loss(labels: Labels, ctr: tf.Tensor) -> tf.Tensor:
    """L_CTR = 1/|D| sum_D BCE(o, sigmoid(a)): scalar."""
    return _mean(cross_entropy(labels.click, ctr))


def ctcvr_loss(labels: Labels, ctr: tf.Tensor, cvr: tf.Tensor) -> tf.Tensor:
    """L_CTCVR = 1/|D| sum_D BCE(o*r, sigmoid(a)*sigmoid(b)) (arXiv 1804.07931, equation 3): scalar."""
    log_p = log_sigmoid(ctr) + log_sigmoid(cvr)
    both = labels.click * labels.conversion
    return -_mean(both * log_p + (1.0 - both) * log_complement(log_p))


def clicked_cvr_loss(labels: Labels, cvr: tf.Tensor) -> tf.Tensor:
    """1/|O| sum_O BCE(r, sigmoid(b)), 0 without clicks: scalar."""
    return _over(labels.click * cross_entropy(labels.conversion, cvr), tf.reduce_sum(labels.click))


def propensity_weights(labels: Labels, ctr: tf.Tensor, floor: tf.Tensor | float) -> tf.Tensor:
    """Weights o / sg(max(sigmoid(a), floor)): [n], no gradient."""
    return labels.click / tf.stop_gradient(tf.maximum(tf.sigmoid(ctr), floor))


def ips_risk(labels: Labels, cvr: tf.Tensor, weights: tf.Tensor, normalize: str) -> tf.Tensor:
    """R_IPS = 1/|D| sum_D w * BCE(r, sigmoid(b)) (arXiv 2204.05125, equation 15); SNIPS divides by sum w: scalar."""
    return _weighted(weights, cross_entropy(labels.conversion, cvr), normalize)


def dr_error_risk(
    labels: Labels, cvr: tf.Tensor, imputation: tf.Tensor, weights: tf.Tensor, normalize: str
) -> tf.Tensor:
    """R_err = 1/|D| sum_D [d^ + w*(d - d^)] (equation 22), the imputation tower detached: scalar.

    d = BCE(r, sigmoid(b)); d^ = BCE(g, sigmoid(b)) with the imputed label g, so unclicked impressions train b as well.
    """
    imputed = cross_entropy(tf.stop_gradient(tf.sigmoid(imputation)), cvr)
    return _mean(imputed) + _weighted(weights, cross_entropy(labels.conversion, cvr) - imputed, normalize)


def dr_imputation_risk(
    labels: Labels, cvr: tf.Tensor, imputation: tf.Tensor, weights: tf.Tensor, normalize: str
) -> tf.Tensor:
    """R_imp = 1/|D| sum_D w*(sg(d) - d^)^2 (equation 23), the CVR tower detached: scalar."""
    fixed = tf.stop_gradient(cvr)
    imputed = cross_entropy(tf.sigmoid(imputation), fixed)
    return _weighted(weights, tf.math.squared_difference(cross_entropy(labels.conversion, fixed), imputed), normalize)


def task_losses(
    labels: Labels,
    ctr: tf.Tensor,
    cvr: tf.Tensor,
    imputation: tf.Tensor | None,
    floor: tf.Tensor | float,
    settings: Hyperparameters,
) -> dict[str, tf.Tensor]:
    """The terms of a model's loss by name, each with its weight still to come."""
    found = {"ctr": ctr_loss(labels, ctr)}
    if settings.model == hyperparameters.NAIVE_CVR:
        return found | {"cvr": clicked_cvr_loss(labels, cvr)}
    found["ctcvr"] = ctcvr_loss(labels, ctr, cvr)
    if settings.model == hyperparameters.ESMM:
        return found
    weights = propensity_weights(labels, ctr, floor)
    normalize = settings.propensity_normalize
    if settings.model == hyperparameters.ESCM2_IPS:
        return found | {"ips": ips_risk(labels, cvr, weights, normalize)}
    return found | {
        "dr_error": dr_error_risk(labels, cvr, imputation, weights, normalize),
        "dr_imputation": dr_imputation_risk(labels, cvr, imputation, weights, normalize),
    }


def total_loss(terms: dict[str, tf.Tensor], settings: Hyperparameters) -> tf.Tensor:
    """w*L_CTR + (1-w)*(the rest), the rest weighted as the model has it (docs/models.md): scalar."""
    counterfactual = settings.counterfactual_wgt
    factors = {"cvr": 1.0, "ips": counterfactual, "dr_error": counterfactual, "dr_imputation": counterfactual}
    factors["ctcvr"] = 1.0 if settings.model == hyperparameters.ESMM else settings.global_wgt
    rest = tf.add_n([factors[name] * term for name, term in terms.items() if name != "ctr"])
    w = settings.ctr_task_wgt
    return w * settings.ctr_tower_wgt * terms["ctr"] + (1.0 - w) * settings.cvr_tower_wgt * rest


def _mean(values: tf.Tensor) -> tf.Tensor:
    return _over(values, tf.cast(tf.size(values), tf.float32))


def _weighted(weights: tf.Tensor, values: tf.Tensor, normalize: str) -> tf.Tensor:
    count = tf.cast(tf.size(values), tf.float32)
    return _over(weights * values, tf.reduce_sum(weights) if normalize == hyperparameters.SELF else count)


def _over(values: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    return tf.math.divide_no_nan(tf.reduce_sum(values), count)


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
