"""Every term that a model's loss may have, and the towers that it trains: the gradient table of docs/models.md.

Notation as in `model_fn.losses`, and p = sigmoid(a) the propensity. A term sees the logits of a tower that it does not
train as constants, so no term needs a `stop_gradient` of its own. Why a tower is held is said in its row of `TERMS`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from model_fn import losses
from model_fn.hyperparameters import SELF, Hyperparameters
from model_fn.losses import Labels, Logits, cross_entropy
from model_fn.models import COUNTERFACTUAL, CTR, CVR, IMPUTATION, MODELS, TEACHER
from model_fn.representation import Requests

# DCMT's weight of |1 - r^ - r*| within its counterfactual risk (the paper's lambda).
_AGREEMENT_WGT = 1e-3


class Scored(NamedTuple):
    """A batch that the model has scored: what a term of the loss may look at.

    Attributes:
        labels: float32 [n] each.
        logits: of the towers, float32 [n] each.
        floor: smallest probability that a weight divides by.
        settings: of the model.
        requests: which request an impression belongs to; needed by terms within requests only.
        known_propensity: chances of a click from elsewhere, float32 [n], in place of the CTR tower's.
        over: of which impressions a mean is: those of the batch, or of all batches of an evaluation.
    """

    labels: Labels
    logits: Logits
    floor: tf.Tensor | float
    settings: Hyperparameters
    requests: Requests | None = None
    known_propensity: tf.Tensor | None = None
    over: losses.Over = losses.of_batch

    @property
    def propensity(self) -> tf.Tensor:
        """Chance of a click that weights divide by, before the floor: [n]."""
        return tf.sigmoid(self.logits.ctr) if self.known_propensity is None else self.known_propensity

    @property
    def clicked_weights(self) -> tf.Tensor:
        """Inverse propensities of clicked impressions, 0 elsewhere: [n]."""
        return losses.propensity_weights(self.labels, self.propensity, self.floor, self.settings.propensity_power)

    @property
    def unclicked_weights(self) -> tf.Tensor:
        """Inverse chances of no click of the other impressions, 0 on clicked ones: [n].

        The floor is that of the propensities: a chance of no click is small only where a tower is wrong.
        """
        known = self.known_propensity
        others = tf.sigmoid(-self.logits.ctr) if known is None else 1.0 - known
        return (1.0 - self.labels.click) / tf.maximum(others, self.floor)

    def mean(self, values: tf.Tensor) -> tf.Tensor:
        """Over the impressions, each counting for its weight in the log: scalar."""
        return losses.mean(values, self.labels.weight, self.over)

    def weighted(self, weights: tf.Tensor, values: tf.Tensor, normalize: str) -> tf.Tensor:
        """Likewise of weights * values: scalar; see `losses.weighted`."""
        return losses.weighted(weights, values, normalize, self.labels.weight, self.over)

    def held(self, *trained: str) -> Scored:
        """The same with the logits of all other towers as constants."""
        kept = {
            tower: logit if tower in trained else tf.stop_gradient(logit)
            for tower, logit in self.logits.by_tower().items()
        }
        return self._replace(logits=Logits.of_towers(kept))


@dataclasses.dataclass(frozen=True)
class Term:
    """A part of a loss.

    Attributes:
        loss: its value, a scalar mean over impressions.
        trains: towers that its gradient reaches; the embedding and shared layers come with each.
    """

    loss: Callable[[Scored], tf.Tensor]
    trains: tuple[str, ...]

    def of(self, scored: Scored) -> tf.Tensor:
        """The term of a batch, the towers that it does not train held."""
        return self.loss(scored.held(*self.trains))


def _ctr(scored: Scored) -> tf.Tensor:
    return losses.ctr_loss(scored.labels, scored.logits.ctr, scored.over)


def _ctcvr(scored: Scored) -> tf.Tensor:
    return losses.ctcvr_loss(scored.labels, scored.logits.ctr, scored.logits.cvr, scored.over)


def _cvr(scored: Scored) -> tf.Tensor:
    return losses.clicked_cvr_loss(scored.labels, scored.logits.cvr, scored.over)


def _errors(scored: Scored) -> tf.Tensor:
    """BCE(r, r^), written d below: [n]; meaningful on clicked impressions."""
    return cross_entropy(scored.labels.conversion, scored.logits.cvr)


def _imputed_errors(scored: Scored) -> tf.Tensor:
    """BCE(g, r^), written d^ below, with the imputed label g, so that unclicked impressions train r^ as well: [n]."""
    return cross_entropy(tf.sigmoid(scored.logits.more[IMPUTATION]), scored.logits.cvr)


def _ips(scored: Scored) -> tf.Tensor:
    """R_IPS = 1/|D| sum_D w d (arXiv 2204.05125, equation 15); SNIPS divides by sum w."""
    return scored.weighted(scored.clicked_weights, _errors(scored), scored.settings.propensity_normalize)


def _dr_error(scored: Scored, normalize: str | None = None) -> tf.Tensor:
    """R_err = 1/|D| sum_D [d^ + w (d - d^)] (arXiv 2204.05125, equation 22)."""
    imputed = _imputed_errors(scored)
    corrections = scored.weighted(
        scored.clicked_weights, _errors(scored) - imputed, normalize or scored.settings.propensity_normalize
    )
    return scored.mean(imputed) + corrections


def _stable_error(scored: Scored) -> tf.Tensor:
    """R_err with its weights normalized: at most the largest error, however small a propensity (ICLR 2023)."""
    return _dr_error(scored, SELF)


def _imputation_errors(scored: Scored) -> tf.Tensor:
    return tf.math.squared_difference(_errors(scored), _imputed_errors(scored))


def _dr_imputation(scored: Scored) -> tf.Tensor:
    """R_imp = 1/|D| sum_D w (d - d^)^2 (arXiv 2204.05125, equation 23)."""
    return scored.weighted(scored.clicked_weights, _imputation_errors(scored), scored.settings.propensity_normalize)


def _mrdr_imputation(scored: Scored) -> tf.Tensor:
    """R_imp with o (1-p) / p^2 in place of o / p: the variance of the DR estimate itself (SIGIR 2021, equation 9)."""
    weights = scored.clicked_weights
    # As w (w - 1), of the floored propensity, which is the one that the estimate uses.
    return scored.weighted(
        weights * (tf.maximum(weights, 1.0) - 1.0), _imputation_errors(scored), scored.settings.propensity_normalize
    )


def _signs(scored: Scored) -> tf.Tensor:
    """o/p - (1-o)/(1-p): [n]; its mean with any values is 0 where the propensities make both sides look alike."""
    return scored.clicked_weights - scored.unclicked_weights


def _balance(scored: Scored) -> tf.Tensor:
    """( 1/|D| sum_D [o/p - (1-o)/(1-p)] r^ )^2: of the predicted CVR (ICML 2023, equation 8)."""
    return tf.square(scored.mean(_signs(scored) * tf.sigmoid(scored.logits.cvr)))


def _imputation_balance(scored: Scored) -> tf.Tensor:
    """The same of imputed errors less their mean (ICLR 2023, equation 7).

    The mean is taken out behind the sum: so it is one of whatever impressions the sum is over.
    """
    signs, imputed = _signs(scored), _imputed_errors(scored)
    return tf.square(scored.mean(signs * imputed) - scored.mean(signs) * scored.mean(imputed))


def _counterfactual(scored: Scored) -> tf.Tensor:
    """1/|D| sum_D (1-o)/(1-p) BCE(1 - r, r*): the third tower takes each unclicked impression as not converting."""
    missed = cross_entropy(1.0 - scored.labels.conversion, scored.logits.more[COUNTERFACTUAL])
    return scored.mean(scored.unclicked_weights * missed)


def _agreement(scored: Scored) -> tf.Tensor:
    """1e-3 * 1/|D| sum_D |1 - r^ - r*| (ICDE 2023)."""
    both = tf.sigmoid(scored.logits.cvr) + tf.sigmoid(scored.logits.more[COUNTERFACTUAL])
    return _AGREEMENT_WGT * scored.mean(tf.abs(1.0 - both))


def _teacher(scored: Scored) -> tf.Tensor:
    """1/|D| sum_O BCE(r, t)."""
    return scored.mean(scored.labels.click * cross_entropy(scored.labels.conversion, scored.logits.more[TEACHER]))


def _taught_clicked(scored: Scored) -> tf.Tensor:
    """SNIPS on O of BCE(min(1, r + t), r^): soft labels of the teacher beside the hard ones (SIGIR 2024).

    Written so that it is linear in r, which may be a chance (`losses.Labels.expected`).
    """
    conversion = scored.labels.conversion
    soft = conversion + (1.0 - conversion) * tf.sigmoid(scored.logits.more[TEACHER])
    return scored.weighted(scored.clicked_weights, cross_entropy(soft, scored.logits.cvr), SELF)


def _taught_unclicked(scored: Scored) -> tf.Tensor:
    """SNIPS on N, with 1/(1-p), of BCE(t, r^)."""
    soft = tf.sigmoid(scored.logits.more[TEACHER])
    return scored.weighted(scored.unclicked_weights, cross_entropy(soft, scored.logits.cvr), SELF)


def _in_request_ctr(scored: Scored) -> tf.Tensor:
    assert scored.requests is not None
    labels = scored.labels
    return losses.in_request_loss(labels.click, scored.logits.ctr, scored.requests, labels.weight, scored.over)


def _in_request_ctcvr(scored: Scored) -> tf.Tensor:
    """Of log pCTCVR: its order within a request is that of the product."""
    assert scored.requests is not None
    log_p = losses.log_sigmoid(scored.logits.ctr) + losses.log_sigmoid(scored.logits.cvr)
    both = scored.labels.click * scored.labels.conversion
    return losses.in_request_loss(both, log_p, scored.requests, scored.labels.weight, scored.over)


TERMS: dict[str, Term] = {
    "ctr": Term(_ctr, (CTR,)),
    "ctcvr": Term(_ctcvr, (CTR, CVR)),
    "cvr": Term(_cvr, (CVR,)),
    # CTR is held wherever it weighs: a propensity that a weighted error could move would grow, not get right.
    "ips": Term(_ips, (CVR,)),
    # The imputation is held here, or it would learn to make this term small instead of its own error.
    "dr_error": Term(_dr_error, (CVR,)),
    "stable_error": Term(_stable_error, (CVR,)),
    # The CVR tower is held here, or it would move towards errors that are easily imputed.
    "dr_imputation": Term(_dr_imputation, (IMPUTATION,)),
    "mrdr_imputation": Term(_mrdr_imputation, (IMPUTATION,)),
    # Balance is a property of propensities: CVR and imputation are what is balanced, and must not help by shrinking.
    "balance": Term(_balance, (CTR,)),
    "imputation_balance": Term(_imputation_balance, (CTR,)),
    "counterfactual": Term(_counterfactual, (COUNTERFACTUAL,)),
    "agreement": Term(_agreement, (CVR, COUNTERFACTUAL)),
    # A teacher learns from labels alone: with the gradient of its pupil's loss it would teach what is easy to follow.
    "teacher": Term(_teacher, (TEACHER,)),
    "taught_clicked": Term(_taught_clicked, (CVR,)),
    "taught_unclicked": Term(_taught_unclicked, (CVR,)),
    "in_request_ctr": Term(_in_request_ctr, (CTR,)),
    # Held CTR: clicks within a request have a term of their own.
    "in_request_ctcvr": Term(_in_request_ctcvr, (CVR,)),
}


def factors(settings: Hyperparameters) -> dict[str, float]:
    """Each term of the model's loss with all that it is multiplied with."""
    rest = (1.0 - settings.ctr_task_wgt) * settings.cvr_tower_wgt
    found = {"ctr": settings.ctr_task_wgt * settings.ctr_tower_wgt}
    for name, factor in MODELS[settings.model].terms.items():
        found[name] = rest * (getattr(settings, factor) if isinstance(factor, str) else factor)
    if settings.in_request_wgt:
        found["in_request_ctr"] = found["ctr"] * settings.in_request_wgt
        found["in_request_ctcvr"] = rest * settings.in_request_wgt
    return found


def task_losses(scored: Scored) -> dict[str, tf.Tensor]:
    """The terms of the model's loss by name, each with its factor still to come: scalars."""
    return {name: TERMS[name].of(scored) for name in factors(scored.settings)}


def total_loss(terms: dict[str, tf.Tensor], settings: Hyperparameters) -> tf.Tensor:
    """w*L_CTR + (1-w)*(the rest), the rest weighted as the model has it (docs/models.md): scalar."""
    return tf.add_n([factor * terms[name] for name, factor in factors(settings).items()])
