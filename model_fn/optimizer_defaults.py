"""Learning rates and accumulators that each optimizer begins with unless settings name others.

A loss is a mean over a batch, so the gradient of a table's row is some 1e-5 and that of a dense weight 1e-3. Adam's
step does not depend on that. Adagrad's and Ftrl's do until the sum of squares has outgrown what it began with: at the
0.1 that TensorFlow begins with the table never moves. Plain gradient descent needs a rate that undoes the mean.
"""

from __future__ import annotations

from typing import NamedTuple


class Defaults(NamedTuple):
    """Learning rate, and what sums of squared gradients begin with (0: the optimizer has none)."""

    rate: float
    accumulator: float = 0.0


ADAM = "Adam"
LAZY_ADAM = "LazyAdam"
ADAGRAD = "Adagrad"
MOMENTUM = "Momentum"
FTRL = "Ftrl"
SGD = "SGD"

# Of the dense weights and of the embedding table, chosen by trainings on a simulated log; the dense rates of Momentum
# and SGD lie between two that were tried, and dense Ftrl has Adagrad's. make test-optimizers holds all to Adam.
DENSE = {
    ADAM: Defaults(0.001),
    LAZY_ADAM: Defaults(0.001),
    ADAGRAD: Defaults(0.02, 1e-3),
    MOMENTUM: Defaults(0.05),
    FTRL: Defaults(0.02, 1e-3),
    SGD: Defaults(0.5),
}
TABLE = {
    ADAM: Defaults(0.001),
    LAZY_ADAM: Defaults(0.001),
    ADAGRAD: Defaults(0.02, 1e-7),
    MOMENTUM: Defaults(2.0),
    FTRL: Defaults(0.02, 1e-7),
    SGD: Defaults(20.0),
}
