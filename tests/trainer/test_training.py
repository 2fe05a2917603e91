import dataclasses
import json
import os
import re
import shutil
import xml.etree.ElementTree

import numpy as np
import pytest
import tensorflow as tf
from record_examples import random_requests, small_schema, write_data_dir, write_records

from features import names
from model_fn.hyperparameters import Hyperparameters
from storage import lock, ownership, process
from trainer import data_dir, early_stopping, evaluations, event_files, exporting, model_dir, running, scoring, training
from trainer.nan_guard import DivergedError
from trainer.options import Options
from trainer.progress import duration

pytestmark = pytest.mark.commands

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


def runs(folder):
    """The history of a model_dir."""
    with open(os.path.join(folder, "history.jsonl"), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def rewrite_first_shard(data):
    """Other records under the same names: a new day."""
    write_records(
        os.path.join(data, "train", "part-00000-of-00002.tfrecord.gz"), SCHEMA, random_requests(SCHEMA, 200, 20, 5)
    )


def counts(requests):
    """What the job's report tells of a split."""
    labels = [(request.click, request.conversion) for request in requests]
    clicks, conversions = (int(sum(map(sum, column))) for column in zip(*labels, strict=True))
    return {"impressions": impressions(requests), "clicks": clicks, "conversions": conversions}


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
    assert runs(tmp_path / "model")[-1]["hyperparameters"]["decay_steps"] == 12
    # Going on in the same passes, the schedule is that of them all.
    train(log[0], tmp_path / "model", falling, {"decay": "linear", "decay_steps": 0}, max_steps=14)
    assert step(tmp_path / "model") == 14
    assert runs(tmp_path / "model")[-1]["hyperparameters"]["decay_steps"] == 14
    data = str(tmp_path / "data")
    shutil.copytree(log[0], data)
    os.makedirs(os.path.join(data, names.REPORT_DIR))
    with open(os.path.join(data, names.REPORT_DIR, names.REPORT_JSON), "w", encoding="utf-8") as file:
        json.dump({"splits": {names.TRAIN: counts(log[1][names.TRAIN])}}, file)
    train(data, tmp_path / "reported", falling, num_epochs=2)
    # The biases began at the log's rates, and the steps are too few and small to lead there from 0.
    found, made = counts(log[1][names.TRAIN]), weights(tmp_path / "reported")
    for tower, part, whole in (("ctr", "clicks", "impressions"), ("cvr", "conversions", "clicks")):
        odds = found[part] / (found[whole] - found[part])
        assert made[f"model/towers/{tower}/logit/bias"][0] == pytest.approx(np.log(odds), abs=0.1)
        assert abs(np.log(odds)) > 0.3
    planned = runs(tmp_path / "reported")[-1]["hyperparameters"]["decay_steps"]
    assert abs(planned - step(tmp_path / "reported")) < 3
    # Other files are another phase: its schedule begins at the step at hand.
    ended = step(tmp_path / "reported")
    rewrite_first_shard(data)
    train(data, tmp_path / "reported", falling)
    assert runs(tmp_path / "reported")[-1]["phase"]["first_step"] == ended
    with pytest.raises(ValueError, match=r"--warmup_steps=500: the run has about \d+ steps"):
        train(data, tmp_path / "long", dataclasses.replace(falling, warmup_steps=500))
    assert not os.path.exists(tmp_path / "long" / "checkpoint")


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
    assert f"on {2 * total:,} impressions" in printed
    assert runs(folder)[-1]["phase"]["epochs"] == 1 and runs(folder)[-1]["from_step"] == step(trained)


def test_a_run_that_stopped_goes_on_in_its_order_and_behind_its_last_batch(log, tmp_path, capsys):
    folder = str(tmp_path / "model")
    train(log[0], folder, max_steps=6)
    first = trained_on(capsys)
    for name, value in (("seed", 2), ("shuffle_buffer", 7)):
        with pytest.raises(
            ValueError, match=rf"--{name} is {value}, but the checkpoint stopped in the middle of a pass"
        ):
            train(log[0], folder, **{name: value})
    capsys.readouterr()
    train(log[0], folder)
    assert first + trained_on(capsys) == impressions(log[1][names.TRAIN])
    # All passes are over: the next ones may be in any order.
    train(log[0], folder, seed=2, num_epochs=2)
    assert trained_on(capsys) == impressions(log[1][names.TRAIN])


def trained_on(capsys):
    found = re.search(r"trained [\d,]+ steps on ([\d,]+) impressions", capsys.readouterr().out)
    return int(found.group(1).replace(",", ""))


def test_what_no_variable_depends_on_may_change_and_is_said_and_noted(log, tmp_path, capsys):
    folder = str(tmp_path / "model")
    train(log[0], folder, max_steps=3)
    capsys.readouterr()
    train(log[0], folder, given={"learning_rate": 0.01, "clip_norm": 1.0}, max_steps=5)
    assert "from here on: --learning_rate=0.01, before 0.0" in capsys.readouterr().out
    assert model_dir.saved_hyperparameters(folder).learning_rate == 0.01
    assert [run["hyperparameters"]["clip_norm"] for run in runs(folder)] == [0.0, 1.0]


def test_flags_that_the_model_does_not_read_are_named(log, tmp_path, capsys):
    train(log[0], tmp_path / "model", given={"num_experts": 8, "deep_layers": (8,)}, max_steps=1)
    printed = capsys.readouterr().out
    assert "--num_experts=8 has no effect here: it is read with --backbone=mmoe or --behind_crosses=mmoe" in printed
    assert printed.count("has no effect") == 1


def test_tensorboard_gets_rates_norms_speed_scores_and_a_profile(log, tmp_path, capsys):
    folder = str(tmp_path / "model")
    train(log[0], folder, max_steps=8, log_steps=2, profile_steps="2,4", eval_splits="")
    assert "wrote a profile of steps 3 to 4" in capsys.readouterr().out
    assert tf.io.gfile.glob(os.path.join(folder, "plugins", "profile", "*", "*.xplane.pb"))
    found = event_files.read(folder).curves
    for tag in ("rate/dense", "rate/table", "gradient_norm/all", "gradient_norm/table", "speed/impressions_per_second"):
        assert len(found[tag].steps) >= 2 and (found[tag].values > 0).all(), tag
    assert found["rate/dense"].values[0] == pytest.approx(0.001)
    (path,) = tf.io.gfile.glob(os.path.join(folder, "events.*"))
    tags = {value.tag for event in tf.compat.v1.train.summary_iterator(path) for value in event.summary.value}
    assert {"scores/pctr", "scores/pcvr", "scores/pctcvr"} <= tags


def test_without_a_test_split_all_is_trained_and_nothing_evaluated(log, tmp_path, capsys):
    data = str(tmp_path / "data")
    shutil.copytree(log[0], data)
    shutil.rmtree(os.path.join(data, names.TEST))
    for flags in ({"exporters": "best"}, {"early_stopping_evals": 1}):
        with pytest.raises(ValueError, match=r"needs evaluations, and .* has no records of --eval_splits=test"):
            train(data, tmp_path / "model", **flags)
    train(data, tmp_path / "model", exporters="final")
    assert "has no records of the split test" in capsys.readouterr().out
    assert os.listdir(tmp_path / "model" / "export") == ["final"]
    assert not os.path.exists(tmp_path / "model" / "eval.json")
    with pytest.raises(ValueError, match="needs evaluations"):
        train(data, tmp_path / "model", exporters="best", clear_existing_model=True)
    assert step(tmp_path / "model") > 0


def test_the_best_checkpoint_is_kept_and_early_stopping_goes_back_to_it(log, tmp_path, capsys):
    folder = str(tmp_path / "model")
    falling = dataclasses.replace(SMALL, learning_rate=1e-6)
    train(log[0], folder, falling, max_steps=5, metric="ctr_logloss")
    assert os.path.basename(evaluations.best(folder)) == "model.ckpt-5"
    # Ruins the model: the second evaluation is worse.
    ruin = {"learning_rate": 3.0}
    train(log[0], folder, falling, ruin, max_steps=20, metric="ctr_logloss", early_stopping_evals=1)
    assert "the best checkpoint is the latest one again: model.ckpt-5" in capsys.readouterr().out
    assert step(folder) == 5
    scoring.evaluate(options(log[0], folder), {})
    train(log[0], folder, falling, max_steps=30, metric="ctr_logloss", early_stopping_evals=1)
    assert "early stopping ended this model's training before" in capsys.readouterr().out


def test_weights_that_are_no_numbers_are_neither_saved_nor_used(log, tmp_path):
    folder = str(tmp_path / "model")
    train(log[0], folder, max_steps=2)
    with pytest.raises(DivergedError, match=r"became NaN or infinite, so no checkpoint is written|the loss is"):
        train(log[0], folder, given={"learning_rate": 1e38, "clip_norm": 0.0}, max_steps=4)
    assert step(folder) == 2
    ruin_checkpoint(folder, 2)
    for use in (
        lambda: scoring.infer(options(log[0], folder, task_type="infer", predictions=str(tmp_path / "p.csv")), {}),
        lambda: exporting.export(options(log[0], folder, task_type="export", export_dir=str(tmp_path / "e")), {}),
    ):
        with pytest.raises(ValueError, match=r"no number|NaN or infinite"):
            use()
    assert not os.path.exists(tmp_path / "p.csv") and not os.path.exists(tmp_path / "e")


def ruin_checkpoint(folder, number):
    """Puts NaN into a bias of the last checkpoint."""
    found = weights(folder)
    with tf.Graph().as_default():
        for name, value in found.items():
            ruined = np.full_like(value, np.nan) if name.endswith("ctr/logit/bias") else value
            tf.compat.v1.get_variable(name, initializer=tf.constant(ruined))
        with tf.compat.v1.Session() as session:
            session.run(tf.compat.v1.global_variables_initializer())
            tf.compat.v1.train.Saver().save(session, os.path.join(folder, f"model.ckpt-{number}"))


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
        train(tmp_path / "data", tmp_path / "model")


def test_clearing_deletes_what_trainings_made_and_nothing_else(log, trained, tmp_path, capsys):
    folder = tmp_path / "model"
    shutil.copytree(trained, folder)
    (folder / "letter.txt").write_text("dear")
    (folder / "export").mkdir()
    (folder / "export" / "mine").mkdir()
    (folder / "export" / "mine" / "saved_model.pb").write_text("mine")
    train(log[0], folder, clear_existing_model=True, max_steps=1)
    assert "left alone what no training made: export/mine/saved_model.pb, letter.txt" in capsys.readouterr().out
    assert (folder / "letter.txt").exists() and step(folder) == 1
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    for clear in (True, False):
        with pytest.raises(ValueError, match="holds files that no run of this command made"):
            train(log[0], tmp_path / "home", clear_existing_model=clear)
    assert os.listdir(tmp_path / "home") == ["letter.txt"]


def test_a_run_that_is_refused_leaves_the_model_that_it_was_to_clear(log, trained, tmp_path):
    folder, damaged = tmp_path / "model", tmp_path / "data"
    shutil.copytree(trained, folder)
    shutil.copytree(log[0], damaged)
    before = sorted(os.listdir(folder))
    for path in (damaged / "train").iterdir():
        path.write_bytes(b"no record")
    with pytest.raises(ValueError, match="the learning rate would never be reached"):
        train(log[0], folder, dataclasses.replace(SMALL, warmup_steps=9), clear_existing_model=True, max_steps=5)
    with pytest.raises(ValueError, match="copy or preprocess the file again"):
        train(damaged, folder, clear_existing_model=True)
    assert set(before) <= set(os.listdir(folder)) and step(folder) == step(trained)


def test_a_model_of_before_the_mark_is_gone_on_with_and_what_killed_trainings_left_half_written_goes(
    log, trained, tmp_path
):
    folder = tmp_path / "model"
    shutil.copytree(trained, folder)
    (folder / ownership.MARK_FILE).unlink()
    cut_short = [
        f"data.json.{32 * 'a'}.tmp",
        "model.ckpt-9.data-00000-of-00001.tempstate123",
        f"checkpoint.tmp{32 * 'a'}",
    ]
    train(log[0], folder, max_steps=1)
    assert ownership.maker(str(folder)).command == model_dir.COMMAND
    for name in cut_short:
        (folder / name).write_text("half")
    train(log[0], folder, max_steps=1)
    assert not set(cut_short) & set(os.listdir(folder))


def test_a_model_that_is_to_be_started_from_is_not_cleared(log, trained, tmp_path):
    folder = str(tmp_path / "model")
    shutil.copytree(trained, folder)
    with pytest.raises(ValueError, match="warm_start_from"):
        train(log[0], folder, warm_start_from=folder, clear_existing_model=True)
    assert step(folder) == step(trained)


def test_nothing_is_kept_of_data_that_the_job_replaces_while_they_are_read(log, trained, tmp_path, monkeypatch):
    data = str(shutil.copytree(log[0], tmp_path / "data"))
    ownership.mark(data, process.this("python -m preprocess"))
    real = running.training_input

    def replaced(plan):
        ownership.mark(data, process.this("python -m preprocess"))
        return real(plan)

    monkeypatch.setattr(running, "training_input", replaced)
    folder = str(shutil.copytree(trained, tmp_path / "model"))
    with pytest.raises(data_dir.ReplacedError, match="another run of the job has replaced it"):
        train(data, folder, num_epochs=2)
    assert step(folder) == step(trained)


def test_a_second_trainer_of_a_model_dir_is_refused(log, trained):
    with (
        lock.held(trained, model_dir.COMMAND, "model_dir"),
        pytest.raises(ValueError, match="in use by python -m trainer"),
    ):
        train(log[0], trained, num_epochs=2)


def test_a_model_with_another_loss_starts_from_what_both_have(log, trained, tmp_path, capsys):
    dr = dataclasses.replace(SMALL, model="escm2_dr", learning_rate=1e-12)
    train(log[0], tmp_path / "model", dr, warm_start_from=trained, max_steps=1)
    printed = capsys.readouterr().out
    assert re.search(r"taken \(\d+\): model/embedding_table, .*model/towers/ctr/logit/kernel", printed)
    assert re.search(r"new here \(\d+\): .*model/towers/imputation/logit/kernel", printed)
    np.testing.assert_allclose(
        weights(tmp_path / "model")["model/towers/ctr/logit/kernel"], weights(trained)["model/towers/ctr/logit/kernel"]
    )


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


@pytest.mark.parametrize("log_steps", [1, 100])
def test_a_loss_that_is_no_number_stops_with_step_files_and_sample_ids(log, tmp_path, log_steps):
    """Also in a step that writes summaries."""
    wild = Hyperparameters(deep_layers=(8,), embedding_size=4, optimizer="SGD", learning_rate=1e30)
    with pytest.raises(DivergedError, match=r"step \d+: the loss is (nan|inf).* sample_id \d+, .* of part-0000\d-of"):
        train(log[0], tmp_path, wild, log_steps=log_steps)


def test_a_bad_record_stops_training_with_its_file_whatever_an_earlier_failure_left(tmp_path):
    write_data_dir(str(tmp_path / "data"), SCHEMA, train=20, test=5)
    bad = tmp_path / "data" / "train" / "part-00001-of-00002.tfrecord.gz"
    write_records(str(bad), SCHEMA, random_requests(SCHEMA, 5000, 10))
    # Settings of a run that ended before its first checkpoint do not bind.
    folder = str(tmp_path / "model")
    ownership.claim(folder, model_dir.COMMAND, "model_dir")
    model_dir.save(folder, Hyperparameters(embedding_size=64), data_dir.load(str(tmp_path / "data")))
    with pytest.raises(ValueError, match=r"part-00001-of-00002.tfrecord.gz: field .* the vocabulary has 0 to 199"):
        train(tmp_path / "data", folder, given={"embedding_size": 4})
    assert model_dir.saved_hyperparameters(folder) == SMALL


def test_metrics_that_nothing_determines_are_absent(tmp_path):
    write_data_dir(str(tmp_path / "data"), SCHEMA, train=20, test=5)
    unclicked = random_requests(SCHEMA, 200, 10, click_rate=0.0)
    write_records(str(tmp_path / "data" / "test" / "part-00000-of-00001.tfrecord.gz"), SCHEMA, unclicked)
    train(tmp_path / "data", tmp_path / "model")
    with open(tmp_path / "model" / "eval.json", encoding="utf-8") as file:
        report = json.load(file, parse_constant=lambda name: pytest.fail(f"{name} in eval.json"))
    assert "cvr_mean_all" in report
    assert not [name for name in report if name.endswith(("_auc", "_gauc", "_logloss"))]


def evaluated(values):
    return [evaluations.Evaluated(number, 10, 1, {"ctcvr_auc": value}) for number, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "expected"), [([], 0), ([0.6], 0), ([0.5, 0.6, 0.6, float("nan"), 0.55], 2), ([0.7, 0.6, 0.8], 0)]
)
def test_evaluations_without_gain_are_counted(values, expected):
    assert evaluations.without_gain(evaluated(values), "ctcvr_auc") == expected


def test_evaluations_on_other_test_sets_are_not_compared(tmp_path):
    folder = str(tmp_path)
    for number, (value, data) in enumerate([(0.9, 1), (0.5, 2), (0.6, 2)]):
        evaluations.add(folder, evaluations.Evaluated(number, 10, data, {"ctcvr_auc": value}))
    assert evaluations.is_best(evaluations.same_data(folder, 2), "ctcvr_auc")
    assert not evaluations.is_best(evaluations.read(folder), "ctcvr_auc")


def test_early_stopping_ends_training(capsys):
    hooks = [
        early_stopping.EarlyStopping(lambda: evaluated([0.9, 0.1]), "ctcvr_auc", patience, every)
        for patience, every in ((2, 1), (1, 2))
    ]
    with tf.Graph().as_default():
        count = tf.compat.v1.train.get_or_create_global_step()
        train_op = tf.compat.v1.assign_add(count, 1)
        with tf.compat.v1.train.MonitoredTrainingSession(hooks=hooks) as session:
            steps = 0
            while not session.should_stop() and steps < 10:
                steps = int(session.run(train_op))
    assert steps == 2
    assert "ctcvr_auc did not get better in 1 evaluations" in capsys.readouterr().out


def test_times_read_as_people_say_them():
    assert [duration(s) for s in (5, 89, 600, 12000)] == ["5 s", "89 s", "10 min", "3 h 20 min"]
