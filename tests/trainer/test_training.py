import dataclasses
import json
import os
import shutil
import xml.etree.ElementTree

import numpy as np
import pytest
import tensorflow as tf
from record_examples import random_requests, small_schema, write_data_dir, write_records

from features import names
from input_fn import files
from model_fn.hyperparameters import Hyperparameters
from trainer import data_dir, early_stopping, model_dir, scoring, training, training_graph
from trainer.nan_guard import DivergedError
from trainer.options import Options
from trainer.progress import duration

SCHEMA = small_schema()
SMALL = Hyperparameters(deep_layers=(8,), embedding_size=4)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("data"))
    return folder, write_data_dir(folder, SCHEMA, train=100, test=30)


@pytest.fixture(scope="module")
def trained(log, tmp_path_factory):
    """A model_dir after one epoch; tests must not change it."""
    folder = str(tmp_path_factory.mktemp("trained") / "model")
    train(log[0], folder)
    return folder


def options(data, folder, **changes):
    settings = {"batch_size": 32, "num_threads": 1, "log_steps": 5} | changes
    return Options(data_dir=str(data), model_dir=str(folder), **settings)


def train(data, folder, hyperparameters=SMALL, given=None, **changes):
    training.train(options(data, folder, **changes), hyperparameters, given or {})


def step(folder):
    return int(tf.train.load_variable(str(folder), "global_step"))


def impressions(requests):
    return sum(len(request.sample_id) for request in requests)


def weights(folder):
    reader = tf.train.load_checkpoint(str(folder))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def test_an_epoch_leaves_checkpoint_settings_and_report(log, trained):
    assert abs(step(trained) - impressions(log[1][names.TRAIN]) / 32) < 1.5
    assert model_dir.saved_hyperparameters(trained) == SMALL
    with open(os.path.join(trained, "eval.json"), encoding="utf-8") as file:
        report = json.load(file)
    assert report["impressions"] == impressions(log[1][names.TEST])
    assert report["global_step"] == step(trained) and 0 < report["ctr_auc"] < 1
    for task in ("ctr", "cvr", "ctcvr"):
        assert len(report["calibration"][task]) > 2
        picture = os.path.join(trained, f"calibration_{task}.svg")
        assert xml.etree.ElementTree.parse(picture).getroot().tag.endswith("svg")


def test_a_decay_without_steps_falls_over_the_whole_run(log, tmp_path):
    falling = dataclasses.replace(SMALL, decay="linear")
    with pytest.raises(ValueError, match=r"no report/report\.json that tells"):
        train(log[0], tmp_path / "unknown", falling)
    train(log[0], tmp_path / "model", falling, max_steps=12)
    assert model_dir.saved_hyperparameters(str(tmp_path / "model")).decay_steps == 12
    train(log[0], tmp_path / "model", falling, {"decay": "linear", "decay_steps": 0}, max_steps=14)
    assert step(tmp_path / "model") == 14
    assert model_dir.saved_hyperparameters(str(tmp_path / "model")).decay_steps == 12
    with pytest.raises(ValueError, match="decay_steps"):
        train(log[0], tmp_path / "model", falling, {"decay_steps": 5}, max_steps=16)
    data = str(tmp_path / "data")
    shutil.copytree(log[0], data)
    os.makedirs(os.path.join(data, names.REPORT_DIR))
    with open(os.path.join(data, names.REPORT_DIR, names.REPORT_JSON), "w", encoding="utf-8") as file:
        json.dump({"splits": {names.TRAIN: {"impressions": impressions(log[1][names.TRAIN])}}}, file)
    train(data, tmp_path / "reported", falling, num_epochs=2)
    planned = model_dir.saved_hyperparameters(str(tmp_path / "reported")).decay_steps
    assert abs(planned - step(tmp_path / "reported")) < 3


def test_a_second_run_goes_on_where_the_first_ended(log, trained, tmp_path, capsys):
    folder = str(tmp_path / "model")
    shutil.copytree(trained, folder)
    train(log[0], folder)
    assert step(folder) == step(trained)
    assert "nothing was left to train" in capsys.readouterr().out
    train(log[0], folder, num_epochs=3)
    total = impressions(log[1][names.TRAIN])
    assert abs(step(folder) - 3 * total / 32) < 2
    printed = capsys.readouterr().out
    assert "going on behind the 100 records" in printed and f"on {2 * total:,} impressions" in printed


def test_how_far_was_read_counts_for_the_same_files_only(log, trained):
    checkpoint = tf.train.latest_checkpoint(trained)
    fingerprint = files.fingerprint(files.find(names.records_pattern(log[0], names.TRAIN)))
    assert training_graph.records_read(checkpoint, 0, fingerprint) == 100
    assert training_graph.records_read(checkpoint, 0, fingerprint + 1) == 0
    assert training_graph.records_read(checkpoint, 1, fingerprint) == 0
    assert training_graph.records_read(None, 0, fingerprint) == 0


def test_equal_seeds_on_one_thread_give_equal_weights(log, trained, tmp_path):
    train(log[0], tmp_path / "again")
    again = weights(tmp_path / "again")
    for name, value in weights(trained).items():
        np.testing.assert_array_equal(again[name], value, name)


def test_a_contradicting_flag_is_refused_with_both_values(log, trained):
    given = {"embedding_size": 32}
    for use in (
        lambda: train(log[0], trained, given=given),
        lambda: scoring.evaluate(options(log[0], trained), given),
    ):
        with pytest.raises(model_dir.ContradictionError, match=r"--embedding_size=32, .* made with 4 \(.*\.json\)"):
            use()
    with pytest.raises(model_dir.ContradictionError, match=r"--deep_layers=8,4, .* made with 8 "):
        train(log[0], trained, given={"deep_layers": (8, 4)})


def test_another_vocabulary_is_refused(trained, tmp_path):
    write_data_dir(str(tmp_path), SCHEMA, vocabulary_size=210, train=5, test=5)
    with pytest.raises(model_dir.ContradictionError, match=r"another vocabulary_size \(210, there 200\)"):
        scoring.evaluate(options(tmp_path, trained), {})


def test_a_model_dir_without_a_model_is_refused(log, tmp_path):
    with pytest.raises(ValueError, match="no trained model there; run --task_type=train first"):
        scoring.evaluate(options(log[0], tmp_path), {})


def test_an_unfinished_data_dir_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no _SUCCESS there.*run python -m preprocess"):
        train(tmp_path, tmp_path / "model")


def test_clearing_deletes_a_model_and_nothing_else(log, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "model")
    model_dir.clear(str(tmp_path / "model"))
    assert not (tmp_path / "model").exists()
    model_dir.clear(str(tmp_path / "model"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="may be no model"):
        train(log[0], tmp_path / "home", clear_existing_model=True)
    assert (tmp_path / "home" / "letter.txt").exists()


def test_a_warm_start_takes_the_weights_and_not_the_steps_and_clears_what_was_there(log, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "model")
    gentle = Hyperparameters(deep_layers=(8,), embedding_size=4, learning_rate=1e-12)
    train(log[0], tmp_path / "model", gentle, warm_start_from=trained, max_steps=1, clear_existing_model=True)
    assert step(tmp_path / "model") == 1
    old, new = weights(trained), weights(tmp_path / "model")
    kernels = [name for name in old if name.endswith("kernel")]
    assert kernels
    for name in kernels:
        np.testing.assert_allclose(new[name], old[name], atol=1e-9)


def test_a_loss_that_is_no_number_stops_with_step_files_and_sample_ids(log, tmp_path):
    wild = Hyperparameters(deep_layers=(8,), embedding_size=4, optimizer="SGD", learning_rate=1e30)
    with pytest.raises(DivergedError, match=r"step \d+: the loss is (nan|inf).* sample_id \d+, .* of part-0000\d-of"):
        train(log[0], tmp_path, wild)


def test_a_bad_record_stops_training_with_its_file_whatever_an_earlier_failure_left(tmp_path):
    write_data_dir(str(tmp_path), SCHEMA, train=20, test=5)
    bad = tmp_path / "train" / "part-00001-of-00002.tfrecord.gz"
    write_records(str(bad), SCHEMA, random_requests(SCHEMA, 5000, 10))
    # Settings of a run that ended before its first checkpoint do not bind.
    folder = str(tmp_path / "model")
    model_dir.save(folder, Hyperparameters(embedding_size=64), data_dir.load(str(tmp_path)))
    with pytest.raises(ValueError, match=r"part-00001-of-00002.tfrecord.gz: field .* the vocabulary has 0 to 199"):
        train(tmp_path, folder, given={"embedding_size": 4})
    assert model_dir.saved_hyperparameters(folder) == SMALL


def test_metrics_that_nothing_determines_are_absent(tmp_path):
    write_data_dir(str(tmp_path), SCHEMA, train=20, test=5)
    unclicked = random_requests(SCHEMA, 200, 10, click_rate=0.0)
    write_records(str(tmp_path / "test" / "part-00000-of-00001.tfrecord.gz"), SCHEMA, unclicked)
    train(tmp_path, tmp_path / "model")
    with open(tmp_path / "model" / "eval.json", encoding="utf-8") as file:
        report = json.load(file, parse_constant=lambda name: pytest.fail(f"{name} in eval.json"))
    assert "cvr_mean_all" in report
    assert not [name for name in report if name.endswith(("_auc", "_gauc", "_logloss"))]


def write_evaluations(folder, values):
    os.makedirs(folder)
    writer = tf.compat.v1.summary.FileWriterCache
    with tf.Graph().as_default():
        events = writer.get(str(folder))
        for number, value in enumerate(values):
            scalar = tf.compat.v1.Summary.Value(tag="ctcvr_auc", simple_value=value)
            events.add_summary(tf.compat.v1.Summary(value=[scalar]), number)
        events.flush()


@pytest.mark.parametrize(
    ("values", "expected"), [([], 0), ([0.6], 0), ([0.5, 0.6, 0.6, float("nan"), 0.55], 2), ([0.7, 0.6, 0.8], 0)]
)
def test_evaluations_without_gain_are_counted(tmp_path, values, expected):
    write_evaluations(tmp_path / "eval", values)
    assert early_stopping.evaluations_without_gain(str(tmp_path / "eval"), "ctcvr_auc") == expected


def test_early_stopping_ends_training(log, tmp_path, capsys):
    write_evaluations(tmp_path / "eval", [0.9, 0.1])
    hook = early_stopping.EarlyStopping(str(tmp_path / "eval"), "ctcvr_auc", 1, every_steps=2)
    patient = early_stopping.EarlyStopping(str(tmp_path / "eval"), "ctcvr_auc", 2, every_steps=1)
    with tf.Graph().as_default():
        count = tf.compat.v1.train.get_or_create_global_step()
        train_op = tf.compat.v1.assign_add(count, 1)
        with tf.compat.v1.train.MonitoredTrainingSession(hooks=[patient, hook]) as session:
            steps = 0
            while not session.should_stop() and steps < 10:
                steps = int(session.run(train_op))
    assert steps == 2
    assert "ctcvr_auc did not get better in 1 evaluations" in capsys.readouterr().out
    train(log[0], tmp_path, early_stopping_evals=1)
    assert "nothing to train: early stopping" in capsys.readouterr().out


def test_times_read_as_people_say_them():
    assert [duration(s) for s in (5, 89, 600, 12000)] == ["5 s", "89 s", "10 min", "3 h 20 min"]
