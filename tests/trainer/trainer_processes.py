"""Starts the command in processes of its own, alone or as the parts of a cluster."""

from __future__ import annotations

import functools
import json
import os
import re
import socket
import subprocess
import sys
import time

import tensorflow as tf
from forked_commands import Forked

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


def start(data_dir, model_dir, *flags, code=None, **environment):
    program = ["-c", code] if code else ["-m", "trainer"]
    return subprocess.Popen(
        [sys.executable, *program, *_flags(data_dir, model_dir, flags)],
        cwd=REPOSITORY,
        env=_environment(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def fork(data_dir, model_dir, *flags, **environment):
    """Likewise, but forked from a process that has loaded TensorFlow: in a cluster that would take most of the time."""
    return Forked("trainer", *_flags(data_dir, model_dir, flags), environment=_environment(environment))


def _flags(data_dir, model_dir, more):
    return [f"--data_dir={data_dir}", f"--model_dir={model_dir}", *SMALL, *more]


def _environment(more):
    # Without what conftest.py sets: the command itself has to be silent.
    return {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"} | more


def finish(process):
    printed, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert errors == ""
    return printed


def global_step(model_dir):
    checkpoint = tf.train.latest_checkpoint(str(model_dir))
    return int(tf.train.load_variable(checkpoint, "global_step")) if checkpoint else -1


def wait_for(condition, process):
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def trained_impressions(printed):
    """What a process says that it trained in its run."""
    found = re.search(r"trained [\d,]+ steps on ([\d,]+) impressions", printed)
    return int(found.group(1).replace(",", "")) if found else 0


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def impressions_of(data_dir):
    """Impressions of the train split, counted in its records."""
    files = tf.io.gfile.glob(os.path.join(data_dir, "train", "*"))
    return sum(
        len(tf.train.Example.FromString(record).features.feature["sample_id"].int64_list.value)
        for record in tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator()
    )


class Cluster:
    """The processes of one run: `roles` says how many of each; those that are absent are started by `join`."""

    def __init__(self, data_dir, model_dir, roles, *flags, absent=()):
        ports = iter(free_ports(sum(roles.values())))
        members = {role: count for role, count in roles.items() if role != "evaluator"}
        cluster = {role: [f"127.0.0.1:{next(ports)}" for _ in range(count)] for role, count in members.items()}
        self.processes = {}
        self._start = functools.partial(fork, data_dir, model_dir, *flags)
        self._cluster = cluster
        for title in (f"{role} {index}" for role, count in roles.items() for index in range(count)):
            if title not in absent:
                self.join(title)

    def join(self, title):
        """Starts one of the processes."""
        role, index = title.split()
        task = {"cluster": self._cluster, "task": {"type": role, "index": int(index)}}
        self.processes[title] = self._start(TF_CONFIG=json.dumps(task))

    def finish(self):
        """Waits for all; what each printed, and (status, errors) of each."""
        found = {title: process.communicate(timeout=600) for title, process in self.processes.items()}
        statuses = {title: process.returncode for title, process in self.processes.items()}
        return {title: out for title, (out, _) in found.items()}, statuses, {t: err for t, (_, err) in found.items()}
