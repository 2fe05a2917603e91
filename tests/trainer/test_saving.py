"""What is asked of the weights before a checkpoint is written."""

import numpy as np
import pytest
import tensorflow as tf

from trainer.nan_guard import DivergedError
from trainer.saving import Saver


@pytest.mark.parametrize(
    ("value", "broken"), [(1.0, False), (3e38, False), (np.nan, True), (np.inf, True), (-np.inf, True)]
)
def test_a_weight_that_is_no_number_is_named_and_a_large_one_is_saved(tmp_path, value, broken):
    """Also one whose square is more than float32 can tell."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.train.create_global_step()
        weights = {name: tf.compat.v1.get_variable(name, [3], use_resource=True) for name in ("sound", "tried")}
        saver = tf.compat.v1.train.Saver()
        tf.compat.v1.add_to_collection(tf.compat.v1.GraphKeys.SAVERS, saver)
        hook = Saver(str(tmp_path), 600, 0, lambda: None)
        hook.begin()
        session.run(tf.compat.v1.global_variables_initializer())
        weights["tried"].load([0.0, value, 0.0], session)
        if broken:
            with pytest.raises(DivergedError, match="step 0: tried became NaN or infinite"):
                hook.after_create_session(session, None)
        else:
            hook.after_create_session(session, None)
    assert (tf.train.latest_checkpoint(str(tmp_path)) is None) == broken
