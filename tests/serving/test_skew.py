"""Served requests against training records, by command."""

import json
import os
import subprocess
import sys

import pytest
import record_examples
import tensorflow as tf
from served_model_examples import make_vocabulary, mixed_schema, random_raw_requests, record

from features import names
from serving import columnar, sample_request, saved_model_files, warm_up

pytestmark = pytest.mark.commands

SCHEMA = mixed_schema()
REQUESTS = random_raw_requests(SCHEMA, 300)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Records of requests as the job writes them, and its vocabulary."""
    folder = tmp_path_factory.mktemp("data")
    vocabulary = make_vocabulary(SCHEMA)
    vocabulary.save(str(folder / names.VOCABULARY_DIR))
    (folder / names.TRAIN).mkdir()
    with tf.io.TFRecordWriter(str(folder / names.TRAIN / "part-0.tfrecord")) as writer:
        for request in REQUESTS:
            example = record_examples.example(SCHEMA, record(request, vocabulary))
            writer.write(example.SerializeToString())
    return folder


def skew(log, data_dir, *flags):
    command = [sys.executable, "-m", "serving.skew", f"--log={log}", f"--data_dir={data_dir}", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def write_lines(path, requests):
    lines = [json.dumps({"inputs": columnar.columnar_inputs(request, SCHEMA)}) for request in requests]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_requests_of_training_are_not_apart(data_dir, tmp_path):
    done = skew(write_lines(tmp_path / "log.jsonl", REQUESTS), data_dir)
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines()[1:]}
    assert lines.keys() == {field.name for field in SCHEMA.fields}
    assert all(float(line.split()[-1]) < 0.05 for line in lines.values()), done.stdout


def test_a_field_that_callers_leave_out_or_fill_otherwise_is_named(data_dir, tmp_path):
    nothing = sample_request.without_values(SCHEMA)
    changed = [
        type(request)(request.sample_ids, request.context | {"user": []}, request.impressions) for request in REQUESTS
    ]
    done = skew(write_lines(tmp_path / "log.jsonl", changed), data_dir)
    assert done.returncode == 1 and done.stderr.strip().endswith("--max_psi=0.25: user")
    # The same by records, as TensorFlow Serving logs them.
    os.makedirs(tmp_path / saved_model_files.EXTRA_DIR)
    warm_up.write(str(tmp_path), nothing, SCHEMA)
    log = saved_model_files.extra_file(str(tmp_path), saved_model_files.WARM_UP_FILE)
    done = skew(log, data_dir)
    assert done.returncode == 1 and "item" in done.stderr and "user" in done.stderr


@pytest.mark.parametrize(
    ("text", "words"), [("{}\n", "log.jsonl, line 1"), ("nothing", "log.jsonl, line 1"), ("", "no columnar call")]
)
def test_a_log_that_is_none_is_said_in_a_line(data_dir, tmp_path, text, words):
    path = tmp_path / "log.jsonl"
    path.write_text(text)
    done = skew(path, data_dir)
    assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr
    assert "no file" in skew(tmp_path / "absent", data_dir).stderr
