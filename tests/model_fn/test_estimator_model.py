"""The model in an Estimator: trains, evaluates, predicts; metrics that it reports."""

import math

import numpy as np
import pytest
import tensorflow as tf
from model_batches import SCHEMA, VOCABULARY_SIZE, input_fn, requests, small

from features import names
from model_fn import estimator as tf_estimator
from model_fn import metric_ops
from model_fn.estimator_model import model_fn
from model_fn.evaluation import TASKS, present

TRAIN = requests(24, seed=1)
TEST = requests(9, seed=2)


def estimator(settings, model_dir):
    config = tf_estimator.RunConfig(
        tf_random_seed=1, save_summary_steps=5, log_step_count_steps=10**6, save_checkpoints_secs=10**6
    )
    params = {"schema": SCHEMA, "vocabulary_size": VOCABULARY_SIZE, "hyperparameters": settings}
    return tf_estimator.Estimator(model_fn, str(model_dir), config, params)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    made = estimator(small(model="escm2_ips", learning_rate=0.02), tmp_path_factory.mktemp("model"))
    before = made.train(input_fn(TRAIN), steps=1).evaluate(input_fn(TRAIN))
    made.train(input_fn(TRAIN, epochs=15))
    return made, before


def test_training_lowers_the_loss(trained):
    made, before = trained
    after = made.evaluate(input_fn(TRAIN))
    assert after["loss"] < 0.7 * before["loss"]
    assert after["ctr_auc"] > 0.9


def test_evaluation_reports_what_predictions_say(trained):
    made, _ = trained
    found = made.evaluate(input_fn(TEST))
    scores = {key: np.array([row[key] for row in made.predict(input_fn(TEST))]) for key in names.SCORES}
    click = np.array([label for request in TEST for label in request.click])
    conversion = np.array([label for request in TEST for label in request.conversion])
    assert found["ctr_calibration"] == pytest.approx(scores["pctr"].sum() / click.sum(), rel=1e-4)
    assert found["cvr_mean_clicked"] == pytest.approx(scores["pcvr"][click == 1].mean(), rel=1e-4)
    assert found["cvr_calibration"] == pytest.approx(scores["pcvr"][click == 1].sum() / conversion.sum(), rel=1e-4)
    log_loss = -np.mean(np.where(conversion == 1, np.log(scores["pctcvr"]), np.log1p(-scores["pctcvr"])))
    assert found["ctcvr_logloss"] == pytest.approx(log_loss, rel=1e-3)
    for task in TASKS:
        table = found[metric_ops.calibration_table_name(task)]
        assert table.shape == (10, 3)
    assert found["ctr_calibration_table"][:, 0].sum() == len(click)
    assert found["cvr_calibration_table"][:, 0].sum() == click.sum()


def test_evaluating_again_counts_nothing_twice(trained):
    made, _ = trained
    first, second = (made.evaluate(input_fn(TEST)) for _ in range(2))
    np.testing.assert_array_equal(first["ctr_calibration_table"], second["ctr_calibration_table"])


def test_a_session_that_starts_anew_counts_nothing_twice():
    params = {"schema": SCHEMA, "vocabulary_size": VOCABULARY_SIZE, "hyperparameters": small()}
    with tf.Graph().as_default():
        data = tf.compat.v1.data.make_initializable_iterator(input_fn(TEST, batch=100)())
        spec = model_fn(*data.get_next(), tf_estimator.ModeKeys.EVAL, params)
        table, update = spec.eval_metric_ops["ctr_calibration_table"]
        counts = []
        for _ in range(2):
            with tf.compat.v1.Session() as session:
                session.run([tf.compat.v1.global_variables_initializer(), tf.compat.v1.tables_initializer()])
                session.run(data.initializer)
                session.run(update)
                counts.append(session.run(table)[:, 0].sum())
    assert counts == [sum(len(request.sample_id) for request in TEST)] * 2


def test_predictions_name_every_impression_once(trained):
    made, _ = trained
    found = list(made.predict(input_fn(TEST)))
    assert [row[names.SAMPLE_ID] for row in found] == [one for request in TEST for one in request.sample_id]
    for row in found:
        assert set(row) == {names.SAMPLE_ID, *names.SCORES}
        assert row["pctcvr"] == pytest.approx(row["pctr"] * row["pcvr"], rel=1e-4)


def test_tensorboard_gets_each_task_and_the_propensities(trained):
    made, _ = trained
    tags = set()
    for path in tf.io.gfile.glob(f"{made.model_dir}/events*"):
        for event in tf.compat.v1.train.summary_iterator(path):
            tags |= {value.tag for value in event.summary.value}
    assert {"loss/ctr", "loss/ctcvr", "loss/ips"} <= tags
    assert {"propensity/clipped_share", "propensity/max_weight", "propensity/ess", "propensity/floor"} <= tags


def test_metrics_without_clicks_are_absent(trained):
    made, _ = trained
    found = made.evaluate(input_fn(requests(5, seed=3, click_rate=0.0)))
    scalars = {name: value for name, value in found.items() if np.ndim(value) == 0}
    assert math.isnan(found["ctr_auc"])
    assert not {"ctr_auc", "cvr_auc", "ctcvr_auc", "ctr_gauc", "cvr_logloss"} & set(present(scalars))
    assert "cvr_mean_all" in present(scalars)


@pytest.mark.parametrize("changes", [{"precision": "bfloat16"}, {"precision": "float16"}])
def test_lower_precision_learns_the_same(changes, tmp_path):
    found = {}
    for name, settings in (("plain", small()), ("changed", small(**changes))):
        made = estimator(settings, tmp_path / name).train(input_fn(TRAIN, batch=100, epochs=8))
        found[name] = [row["pctcvr"] for row in made.predict(input_fn(TEST, batch=100))]
    np.testing.assert_allclose(found["changed"], found["plain"], rtol=0.1)
    assert np.std(found["plain"]) > 0
