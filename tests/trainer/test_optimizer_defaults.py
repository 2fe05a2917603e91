"""Every optimizer at its defaults learns a simulated log: make test-optimizers."""

import json
import subprocess
import sys

import pytest
from trainer_processes import REPOSITORY

from model_fn.hyperparameters import OPTIMIZERS, Hyperparameters
from model_fn.optimizer_defaults import ADAM, LAZY_ADAM
from trainer import training
from trainer.options import Options

pytestmark = pytest.mark.optimizers

LOG = ["--requests=1500", "--test_requests=500", "--history_scale=0.05", "--click_rate=0.2", "--conversion_rate=0.3"]
METRICS = ("ctr_auc", "cvr_auc", "ctcvr_auc")
# By how much an AUC may be below that of Adam.
LESS = 0.01


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    for command in (
        ["simulate", f"--output_dir={folder}/log", "--seed=5", *LOG],
        ["preprocess", f"--input_dir={folder}/log", f"--output_dir={folder}/data", "--min_count=2"],
    ):
        subprocess.run([sys.executable, "-m", *command], cwd=REPOSITORY, check=True, capture_output=True)
    return str(folder / "data")


@pytest.fixture(scope="module")
def aucs(data_dir, tmp_path_factory):
    """Makes AUCs on the test split of a model that two optimizers have trained, by name."""
    made = {}

    def train(dense, table):
        if (dense, table) not in made:
            folder = str(tmp_path_factory.mktemp("model") / "model")
            options = Options(data_dir=data_dir, model_dir=folder, batch_size=256, num_epochs=2)
            small = {"embedding_size": 8, "deep_layers": (32, 16)}
            training.train(options, Hyperparameters(optimizer=dense, embedding_optimizer=table, **small), {})
            with open(f"{folder}/eval.json", encoding="utf-8") as file:
                found = json.load(file)
            made[dense, table] = [found[metric] for metric in METRICS]
            print(
                f"{dense:<9}on dense weights, {table:<9}on the table:",
                *(f"{value:.4f}" for value in made[dense, table]),
            )
        return made[dense, table]

    return train


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in (ADAM, LAZY_ADAM)])
@pytest.mark.parametrize("part", ["table", "dense weights"])
def test_an_optimizer_at_its_defaults_learns_as_much_as_adam(name, part, aucs):
    found = aucs(ADAM, name) if part == "table" else aucs(name, LAZY_ADAM)
    for metric, value, adams in zip(METRICS, found, aucs(ADAM, LAZY_ADAM), strict=True):
        assert value > adams - LESS, metric


def test_adam_on_all_rows_learns_as_much_as_on_those_of_the_batch(aucs):
    for value, lazy in zip(aucs(ADAM, ADAM), aucs(ADAM, LAZY_ADAM), strict=True):
        assert value > lazy - LESS
