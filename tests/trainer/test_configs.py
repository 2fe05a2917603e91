"""The flagfiles of configs/ parse and train."""

import glob
import os

import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver
from record_examples import small_schema, write_data_dir

from trainer import command_line, model_dir, training

pytestmark = pytest.mark.commands

CONFIGS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "configs")
FILES = sorted(glob.glob(os.path.join(CONFIGS, "*.flags")))

command_line.define()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("data"))
    write_data_dir(folder, small_schema(), train=20, test=5)
    return folder


def test_there_is_one_for_each_seed_and_a_recommendation():
    assert {os.path.basename(path) for path in FILES} == {
        "deepmtl.flags",
        "paddle_esmm.flags",
        "paddlerec_escm2_ipw.flags",
        "paddlerec_escm2_dr.flags",
        "easyrec_esmm.flags",
        "recommended.flags",
        "small.flags",
    }


@pytest.mark.parametrize("path", FILES, ids=os.path.basename)
def test_a_flagfile_trains(path, data_dir, tmp_path):
    with flagsaver.flagsaver():
        flags.FLAGS(
            ["trainer", f"--flagfile={path}", f"--data_dir={data_dir}", f"--model_dir={tmp_path}", "--max_steps=1"]
        )
        given, settings, options = (
            command_line.given_hyperparameters(),
            command_line.hyperparameters(),
            command_line.options(),
        )
    training.train(options, settings, given)
    kept = model_dir.saved_hyperparameters(str(tmp_path))
    assert given and all(getattr(kept, name) == value for name, value in given.items())
    assert int(tf.train.load_variable(str(tmp_path), "global_step")) == 1


def test_what_the_seeds_are_known_for():
    def settings(name):
        with flagsaver.flagsaver():
            flags.FLAGS(["trainer", f"--flagfile={os.path.join(CONFIGS, name)}"])
            return command_line.hyperparameters()

    deepmtl = settings("deepmtl.flags")
    assert (deepmtl.ctr_task_wgt, deepmtl.learning_rate, deepmtl.dropout) == (0.3, 1e-4, (0.2, 0.5))
    assert settings("paddle_esmm.flags").deep_layers == (256, 64)
    assert settings("paddlerec_escm2_dr.flags").model == "escm2_dr"
    assert settings("easyrec_esmm.flags").layers_of_group("combo") == (128, 96, 64, 32)
