"""Where the commands may write: never over or among files of others."""

import contextlib
import os
import pathlib
import subprocess
import sys
import uuid

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from pyarrow import parquet

import storage
import trainer
from features import names
from model_fn.hyperparameters import Hyperparameters
from storage import lock, ownership
from trainer import exporting, predictions, reporting, same_step, training
from trainer.options import FORMATS, PARQUET, REPORT, Options

ROOT = pathlib.Path(trainer.__file__).parent.parent


def test_an_export_goes_to_a_new_folder_or_one_of_versions(tmp_path):
    for name in ("new", "versions"):
        (tmp_path / name).mkdir()
    (tmp_path / "versions" / "1700000000").mkdir()
    for folder in map(str, (tmp_path / "new", tmp_path / "versions", tmp_path / "absent")):
        exporting._claim(folder)
        exporting._claim(folder)
        assert ownership.MARK_FILE in os.listdir(folder)


def test_an_export_does_not_go_among_files_of_others(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ownership.OwnershipError, match=r"--export_dir=.*thesis.txt"):
        exporting._claim(str(tmp_path))
    assert os.listdir(tmp_path) == ["thesis.txt"]


@pytest.mark.parametrize("place", ["raw/scores.csv", "raw/log.csv", "mine.csv"])
def test_scores_of_a_server_do_not_go_over_or_beside_the_log(tmp_path, place):
    (tmp_path / "raw").mkdir()
    for name in ("raw/log.csv", "mine.csv"):
        (tmp_path / name).write_text("id,click\n")
    flags = ["--server=http://127.0.0.1:1", f"--input_dir={tmp_path}/raw", f"--predictions={tmp_path}/{place}"]
    command = [sys.executable, "-m", "serving.predict", *flags]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 1 and made.stderr.startswith(f"serving.predict: --predictions={tmp_path}/{place}")
    assert (tmp_path / "raw" / "log.csv").read_text() == (tmp_path / "mine.csv").read_text() == "id,click\n"
    assert os.listdir(tmp_path / "raw") == ["log.csv"]


def test_exports_to_one_folder_come_one_after_the_other_and_clear_up_behind_killed_ones(tmp_path):
    folder = str(tmp_path)
    killed = tmp_path / f"temp-{uuid.uuid4().hex}"
    for place in (killed, tmp_path / "1700000000", tmp_path / "temp-of-mine"):
        place.mkdir()
        (place / "saved_model.pb").write_text("graph")
    with exporting._claimed(folder):
        assert not killed.exists()
        with pytest.raises(lock.LockedError, match=r"--export_dir=.*in use"), exporting._claimed(folder):
            pass
    assert sorted(os.listdir(folder)) == ["1700000000", ownership.MARK_FILE, "temp-of-mine"]


def test_a_report_does_not_go_over_other_files(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("id,click\n")
    with pytest.raises(ownership.OwnershipError, match=r"--report=.*log.csv: is there and is no file of this command"):
        reporting.make(Options(task_type=REPORT, model_dir=str(tmp_path), report=str(log)))
    assert log.read_text() == "id,click\n"


@pytest.mark.parametrize("form", FORMATS)
def test_predictions_go_over_predictions_only(tmp_path, form):
    path, log = str(tmp_path / "scores"), str(tmp_path / "log")
    scores = {name: np.zeros(2, np.float32) for name in names.SCORES}
    for _ in range(2):
        predictions.refuse_foreign(path, form)
        predictions.write(path, [{names.SAMPLE_ID: np.arange(2), **scores}], form)
    if form == PARQUET:
        parquet.write_table(pa.table({names.SAMPLE_ID: [1], "click": [0]}), log)
    else:
        pathlib.Path(log).write_text(f"{names.SAMPLE_ID},click\n1,0\n")
    with pytest.raises(ownership.OwnershipError, match=r"--predictions=.*log: is there"):
        predictions.refuse_foreign(log, form)


@pytest.mark.parametrize("place", ["data", "data/model", "."])
def test_a_model_is_not_trained_among_its_records(tmp_path, place):
    with pytest.raises(storage.OverlapError, match=r"--model_dir=.*--data_dir="):
        training.train(Options(data_dir=f"{tmp_path}/data", model_dir=f"{tmp_path}/{place}"), Hyperparameters(), {})


def test_a_kill_while_a_checkpoint_is_replaced_by_one_of_the_same_step_leaves_one_to_go_on_from(tmp_path):
    folder = str(tmp_path)

    def save(value):
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            tf.compat.v1.train.get_or_create_global_step()
            session.run(tf.compat.v1.global_variables_initializer())
            variable = tf.compat.v1.get_variable("value", initializer=float(value))
            session.run(variable.initializer)
            tf.compat.v1.train.Saver(save_relative_paths=True).save(session, f"{folder}/model.ckpt", 7)

    save(1)
    with contextlib.suppress(KeyboardInterrupt), same_step.kept(folder, 7):
        for name in os.listdir(folder):
            if name.startswith("model.ckpt-7."):
                if ".data-" in name:  # as TensorFlow does: renamed into its place
                    (tmp_path / name).unlink()
                (tmp_path / name).write_bytes(b"half")
        raise KeyboardInterrupt
    assert tf.train.load_variable(folder, "value") == 1
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    folder = str(moved)
    same_step.restore(folder)
    assert tf.train.latest_checkpoint(folder) == f"{folder}/model.ckpt-7"
    assert tf.train.load_variable(folder, "value") == 1
    with same_step.kept(folder, 7):
        save(2)
    assert tf.train.load_variable(folder, "value") == 2 and "kept" not in os.listdir(folder)
