import numpy as np
import pytest
import tensorflow as tf
from model_batches import SCHEMA, VOCABULARY_SIZE, evaluate, input_fn, parsed, requests, small

from model_fn import estimator as tf_estimator
from model_fn import estimator_model, network
from model_fn.propensity_file import PropensityFile


def write(path, text):
    path.write_text(text)
    return str(path)


def test_chances_are_looked_up_by_sample_id(tmp_path):
    path = write(tmp_path / "p.csv", "sample_id,pctr,pcvr,pctcvr\n7,0.25,0.1,0.025\n-3,0.5,0,0\n9000000000,1e-3,0,0\n")
    found = PropensityFile(path).of(tf.constant([9000000000, 7, -3, 7], tf.int64))
    np.testing.assert_allclose(found.numpy(), [1e-3, 0.25, 0.5, 0.25])


def test_a_simulated_logs_truth_is_such_a_file(tmp_path):
    path = write(tmp_path / "p.csv", "sample_id,p_click,p_conversion,conversion_if_clicked\n1,0.25,0.1,0\n")
    assert PropensityFile(path).lookup(np.array([1])) == [0.25]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sample_id,score\n1,0.1\n", "sample_id and one of pctr, p_click"),
        ("sample_id,pctr\n", "0 rows"),
        ("sample_id,pctr\n1,0.1\n1,0.2\n", "sample_id 1 is there twice"),
        ("sample_id,pctr\n1,0.1\n5,1.5\n", "sample_id 5 has 1.5"),
        ("sample_id,pctr\n1,x\n", "p.csv: .*x"),
        ("", "p.csv: Empty CSV"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        PropensityFile(write(tmp_path / "p.csv", text))


def test_training_divides_by_the_files_chances(tmp_path):
    """One step from the same weights: the IPS term is that of the file, and evaluation does without it."""
    batch = requests(6)
    ids = [sample_id for request in batch for sample_id in request.sample_id]
    path = write(tmp_path / "p.csv", "sample_id,pctr\n" + "".join(f"{i},{0.1 + 0.8 * (i % 2)}\n" for i in ids))
    settings = small(model="escm2_ips", propensity_from=path, propensity_floor=0.01)
    params = {"schema": SCHEMA, "vocabulary_size": VOCABULARY_SIZE, "hyperparameters": settings}

    def term():
        features, labels = parsed(batch)
        estimator_model.model_fn(features, labels, tf_estimator.ModeKeys.TRAIN, params)
        summaries = tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.SUMMARIES)
        value = next(tensor.op.inputs[1] for tensor in summaries if tensor.op.name == "loss/ips")
        net = network.build(features, SCHEMA, VOCABULARY_SIZE, settings, training=True)
        return value, net.logits.cvr, labels["click"].values, labels["conversion"].values

    found, cvr, click, conversion = evaluate(term)
    chance = 0.1 + 0.8 * (np.array(ids) % 2)
    errors = np.logaddexp(0, cvr) - conversion * cvr
    np.testing.assert_allclose(found, (click * errors / chance).mean(), rtol=1e-4)
    estimator = tf_estimator.Estimator(estimator_model.model_fn, str(tmp_path / "model"), params=params)
    estimator.train(input_fn(batch))
    assert np.isfinite(estimator.evaluate(input_fn(requests(4, seed=9)))["loss"])


def test_an_impression_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"p\.csv: no sample_id 2, which the log has"):
        PropensityFile(write(tmp_path / "p.csv", "sample_id,pctr\n1,0.1\n")).lookup(np.array([1, 2]))
