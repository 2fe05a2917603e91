"""The loss of an evaluation is that of all its impressions: every term, in batches of unequal size."""

import numpy as np
import pytest
import tensorflow as tf
from test_losses import CLICK, CONVERSION, CTR, CVR, FLOOR, THIRD, model_with

from model_fn import losses, models, terms
from model_fn.hyperparameters import Hyperparameters
from model_fn.representation import requests_of_splits
from model_fn.whole_loss import WholeSet

COLUMNS = (CLICK, CONVERSION, CTR, CVR, THIRD)
# First impressions of requests of 2, 1 and 3.
REQUESTS = [0, 2, 3, 6]
v1 = tf.compat.v1


@pytest.fixture(scope="module", params=["none", "self"])
def found(request):
    """Each term, over batches and of all impressions together."""
    with tf.Graph().as_default():
        columns = [v1.placeholder(tf.float32, [None]) for _ in COLUMNS] + [v1.placeholder(tf.int64, [None])]
        whole = WholeSet()
        pairs = {}
        for name, term in terms.TERMS.items():
            scored = scored_by(columns, Hyperparameters(model=model_with(name), propensity_normalize=request.param))
            pairs[name] = term.of(scored._replace(over=whole.over)), term.of(scored)
        # A graph that runs three times is not worth optimizing.
        config = v1.ConfigProto()
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        with v1.Session(config=config) as session:
            session.run(v1.local_variables_initializer())
            for part in (REQUESTS[:2], REQUESTS[1:]):
                session.run(whole.updates, dict(zip(columns, batch(part), strict=True)))
            return session.run(pairs, dict(zip(columns, batch(REQUESTS), strict=True)))


def scored_by(columns, settings):
    click, conversion, ctr, cvr, third, splits = columns
    logits = losses.Logits(ctr, cvr, {name: third for name in models.MODELS[settings.model].more_towers})
    return terms.Scored(losses.Labels(click, conversion), logits, FLOOR, settings, requests_of_splits(splits))


def batch(splits):
    """Values of the placeholders for the impressions of some requests."""
    return [column[splits[0] : splits[-1]] for column in COLUMNS] + [np.array(splits) - splits[0]]


@pytest.mark.parametrize("term", terms.TERMS)
def test_a_term_over_batches_is_that_of_their_impressions_together(term, found):
    over_batches, together = found[term]
    assert over_batches == pytest.approx(together, rel=1e-6)
