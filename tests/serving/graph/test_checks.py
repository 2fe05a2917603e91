"""Of requirements that do not hold, the first one speaks."""

import pytest
import tensorflow as tf

from serving.graph import checks
from serving.graph.checks import Requirement

NAMES = ["a", "b", "c"]


def refusal(broken):
    """What a graph of ten requirements says when those in `broken` do not hold for inputs a and c."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        fed = [tf.compat.v1.placeholder(tf.bool, [3]) for _ in range(10)]
        made = checks.require_in_order([Requirement(f"<{i}>", NAMES, holds) for i, holds in enumerate(fed)])
        values = {holds: [i not in broken, True, i not in broken] for i, holds in enumerate(fed)}
        session.run(made, values)


def test_what_holds_passes():
    refusal(broken=())


@pytest.mark.parametrize("first", [0, 4, 9])
def test_the_first_that_does_not_hold_speaks(first):
    # Side by side, chance would have to choose right each time.
    for _ in range(10):
        with pytest.raises(tf.errors.InvalidArgumentError, match=rf"\[<{first}>\] \[a c\]"):
            refusal(broken=range(first, 10))
