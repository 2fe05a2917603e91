"""What one TensorFlow wrote, another reads: checkpoints and exports, in both directions.

OTHER_PYTHON names the interpreter of an environment with another TensorFlow, as `make test-matrix` does.
"""

import base64
import csv
import os
import subprocess
import sys

import local_server_examples
import numpy as np
import pytest
import tensorflow as tf
from local_server_examples import running_server
from record_examples import small_schema, write_data_dir

OTHER = os.environ.get("OTHER_PYTHON", "")
REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SMALL = ["--batch_size=32", "--deep_layers=8", "--embedding_size=4", "--num_threads=1"]
SCORES = ("pctr", "pcvr", "pctcvr")
EQUAL = 1e-6

pytestmark = pytest.mark.skipif(not OTHER, reason="OTHER_PYTHON names no environment with another TensorFlow")


def trainer(python, data_dir, model_dir, task_type, *flags):
    command = [
        python,
        "-m",
        "trainer",
        f"--task_type={task_type}",
        f"--data_dir={data_dir}",
        f"--model_dir={model_dir}",
    ]
    done = subprocess.run([*command, *flags], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def scores(python, data_dir, model_dir, path):
    trainer(python, data_dir, model_dir, "infer", f"--predictions={path}", "--ordered")
    with open(path, encoding="utf-8") as file:
        return {row["sample_id"]: [float(row[name]) for name in SCORES] for row in csv.DictReader(file)}


def serialized_examples(count):
    rng = np.random.default_rng(5)
    for _ in range(count):
        example = tf.train.Example()
        for field in small_schema().fields:
            many = int(rng.integers(1, 4)) if field.is_many else 1
            example.features.feature[field.name].int64_list.value.extend(rng.integers(1000, 1250, many).tolist())
            if field.weighted:
                example.features.feature[field.weight_key].float_list.value.extend(rng.uniform(0.5, 2, many).tolist())
        yield example.SerializeToString()


def served_scores(python, export_dir, monkeypatch):
    monkeypatch.setattr(local_server_examples.sys, "executable", python)
    instances = [{"b64": base64.b64encode(one).decode()} for one in serialized_examples(20)]
    with running_server(f"--model_base_path={export_dir}", "--model_name=m") as server:
        body = {"signature_name": "examples", "instances": instances}
        status, answer = server.json("POST", "/v1/models/m:predict", body)
    assert status == 200, answer
    return np.array([[row[name] for name in SCORES] for row in answer["predictions"]])


@pytest.mark.parametrize("writer", ["this", "other"])
def test_checkpoints_and_exports_cross_versions(tmp_path, monkeypatch, writer):
    first, second = (sys.executable, OTHER) if writer == "this" else (OTHER, sys.executable)
    data_dir, model_dir, export_dir = (str(tmp_path / name) for name in ("data", "model", "export"))
    write_data_dir(data_dir, small_schema(), train=200, test=30)
    trainer(first, data_dir, model_dir, "train", *SMALL, "--max_steps=20")
    trainer(first, data_dir, model_dir, "export", f"--export_dir={export_dir}")

    written = scores(first, data_dir, model_dir, str(tmp_path / "first.csv"))
    read = scores(second, data_dir, model_dir, str(tmp_path / "second.csv"))
    assert written.keys() == read.keys()
    assert max(np.abs(np.subtract(written[key], read[key])).max() for key in written) <= EQUAL

    served = [served_scores(python, export_dir, monkeypatch) for python in (first, second)]
    assert np.abs(served[0] - served[1]).max() <= EQUAL

    assert "going on behind" in trainer(second, data_dir, model_dir, "train", *SMALL, "--max_steps=30")
    assert int(tf.train.load_variable(model_dir, "global_step")) == 30
