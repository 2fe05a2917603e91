"""The command in processes of its own: silence, a kill, two devices, a cluster."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
import tensorflow as tf
from record_examples import small_schema, write_data_dir

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SMALL = ["--batch_size=32", "--deep_layers=8", "--embedding_size=4", "--num_threads=1"]
TWO_DEVICES = """
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
from trainer.__main__ import main
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
main()
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("data"))
    write_data_dir(folder, small_schema(), train=200, test=30)
    return folder


def start(data_dir, model_dir, *flags, code=None, **environment):
    program = ["-c", code] if code else ["-m", "trainer"]
    # Without what conftest.py sets: the command itself has to be silent.
    kept = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.Popen(
        [sys.executable, *program, f"--data_dir={data_dir}", f"--model_dir={model_dir}", *SMALL, *flags],
        cwd=REPOSITORY,
        env=kept | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    printed, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert errors == ""
    return printed


def global_step(model_dir):
    return int(tf.train.load_variable(str(model_dir), "global_step"))


def wait_for(condition, process):
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_killed_run_goes_on_behind_its_last_checkpoint_and_the_terminal_stays_clean(data_dir, tmp_path):
    """How many steps the whole training has does not depend on the kill, but for the block that is done twice."""
    flags = ["--num_epochs=400", "--save_checkpoints_secs=1", "--log_steps=50"]
    first = start(data_dir, tmp_path, *flags)
    wait_for(lambda: tf.train.latest_checkpoint(tmp_path) and global_step(tmp_path) > 100, first)
    first.send_signal(signal.SIGKILL)
    printed, errors = first.communicate()
    assert errors == ""
    at_kill = int(re.findall(r"step ([\d,]+)", printed)[-1].replace(",", ""))
    kept = global_step(tmp_path)
    read = int(tf.train.load_variable(str(tmp_path), "input/position_0"))
    assert at_kill - kept < 5 * 1000 and 0 < read < 400 * 200

    more = finish(start(data_dir, tmp_path, *flags, f"--max_steps={kept + 120}"))
    assert f"going on behind the {read:,} records" in more
    steps = [int(step.replace(",", "")) for step in re.findall(r"^step ([\d,]+)", more, re.MULTILINE)]
    assert steps == [kept + 50, kept + 100]
    assert global_step(tmp_path) == kept + 120
    assert re.search(r"step [\d,]+  loss 0\.\d+ \(ctr 0\.\d+, ctcvr 0\.\d+\)  [\d,]+ impressions/s  \d+ s left", more)


def test_two_devices_train_one_model(data_dir, tmp_path):
    printed = finish(start(data_dir, tmp_path, "--distribute=mirrored", "--log_steps=5", code=TWO_DEVICES))
    trained = int(re.search(r"trained ([\d,]+) steps", printed).group(1).replace(",", ""))
    batches = round(json_impressions(data_dir) / 32)
    assert abs(trained - batches // 2) <= 1
    assert global_step(tmp_path) == trained


def json_impressions(data_dir):
    """Impressions of the train split, counted in its records."""
    files = tf.io.gfile.glob(os.path.join(data_dir, "train", "*"))
    return sum(
        len(tf.train.Example.FromString(record).features.feature["sample_id"].int64_list.value)
        for record in tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator()
    )


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def test_a_cluster_of_chief_worker_and_two_parameter_servers_trains_one_model(data_dir, tmp_path):
    addresses = [f"127.0.0.1:{port}" for port in free_ports(4)]
    cluster = {"chief": addresses[:1], "worker": addresses[1:2], "ps": addresses[2:]}

    def part(role, index):
        config = json.dumps({"cluster": cluster, "task": {"type": role, "index": index}})
        return start(data_dir, tmp_path, "--num_epochs=20", "--log_steps=20", TF_CONFIG=config)

    servers = [part("ps", 0), part("ps", 1)]
    try:
        chief, worker = part("chief", 0), part("worker", 0)
        printed = [finish(chief), finish(worker)]
    finally:
        for server in servers:
            server.kill()
            server.communicate()
    trained = [int(re.search(r"trained [\d,]+ steps on ([\d,]+)", text).group(1).replace(",", "")) for text in printed]
    # The workers share the records; together they read every one in each epoch.
    assert sum(trained) == 20 * json_impressions(data_dir)
    assert min(trained) > 0
    assert global_step(tmp_path) > 0
    evaluated = finish(start(data_dir, tmp_path, "--task_type=eval", TF_CONFIG=json.dumps({"cluster": cluster})))
    assert "evaluated at step" in evaluated
