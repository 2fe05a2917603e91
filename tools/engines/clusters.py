"""Clusters of processes on this machine, from the parts of the job servers: Flink stand-alone, Spark's local-cluster.

The engines' own distributions are in no package registry; their classes are, and these start the same ones as the
distributions' scripts do.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import job_servers

REPOSITORY = job_servers.HERE.parent.parent
# The settings that docs/clusters-preprocess.md recommends.
FLINK_CONF = REPOSITORY / "deploy" / "preprocess" / "flink_conf"
_JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
# What the scripts of the distribution would compute; small, since the rows of a test are few.
_SETTINGS = """
jobmanager.rpc.address: 127.0.0.1
jobmanager.rpc.port: {rpc}
jobmanager.memory.process.size: 1024m
rest.address: 127.0.0.1
rest.port: {rest}
taskmanager.host: 127.0.0.1
taskmanager.numberOfTaskSlots: 1
taskmanager.cpu.cores: 1.0
taskmanager.memory.task.heap.size: 384m
taskmanager.memory.task.off-heap.size: 0m
taskmanager.memory.network.min: 256m
taskmanager.memory.network.max: 256m
taskmanager.memory.managed.size: 128m
taskmanager.memory.framework.heap.size: 128m
taskmanager.memory.framework.off-heap.size: 128m
taskmanager.memory.jvm-metaspace.size: 256m
taskmanager.memory.jvm-overhead.min: 64m
taskmanager.memory.jvm-overhead.max: 64m
io.tmp.dirs: {folder}
# The job server's classes are on the cluster's own path.
classloader.resolve-order: parent-first
"""
_SECONDS = 60
# JVMs that live for a minute: a start that is short counts for more than speed.
QUICK_JAVA = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def flink(folder: pathlib.Path, cache: pathlib.Path, task_managers: int = 2) -> Iterator[str]:
    """A job manager and task managers, each a process; gives the address for --flink_master."""
    rest = free_port()
    settings = (FLINK_CONF / "config.yaml").read_text() + _SETTINGS
    (folder / "config.yaml").write_text(settings.format(rpc=free_port(), rest=rest, folder=folder))
    with contextlib.ExitStack() as stack:
        for number, main in enumerate((_JOB_MANAGER, *[_TASK_MANAGER] * task_managers)):
            command = ["java", "-Xmx640m", *_opened(), "-cp", f"{job_servers.parts_folder('flink', cache)}/*", main]
            command += ["--configDir", str(folder)]
            stack.enter_context(_process(command, folder / f"flink-{number}.log", QUICK_JAVA))
        _wait_for(rest)
        yield f"127.0.0.1:{rest}"


def spark_flags() -> list[str]:
    """Two executors that keep their Python workers; one whose worker dies is replaced, worker and all."""
    settings = {
        "enabled": "true",
        "killExcludedExecutors": "true",
        "task.maxTaskAttemptsPerExecutor": "1",
        "stage.maxFailedTasksPerExecutor": "1",
        "application.maxFailedTasksPerExecutor": "1",
    }
    properties = [f"--job_server_jvm_property=-Dspark.excludeOnFailure.{name}={to}" for name, to in settings.items()]
    return [*properties, "--spark_master_url=local-cluster[2,1,1024]", "--environment_cache_millis=60000"]


def spark_environment(folder: pathlib.Path, cache: pathlib.Path) -> dict[str, str]:
    """What the job server needs so that --spark_master_url=local-cluster[...] can start processes."""
    home = folder / "spark_home"
    home.mkdir()
    (home / "jars").symlink_to(job_servers.parts_folder("spark", cache))
    return {"SPARK_HOME": str(home), "SPARK_SCALA_VERSION": "2.12", "SPARK_LOCAL_IP": "127.0.0.1"} | QUICK_JAVA


def worker_flags(folder: pathlib.Path) -> list[str]:
    """Python workers that each process of the engine starts for itself; `workers` finds them.

    A pool (EXTERNAL) that several of them share would mistake one's worker for another's: they number theirs alike.
    """
    (folder / "workers").mkdir()
    script = folder / "worker"
    lines = ["#!/bin/sh", f"touch {folder}/workers/$$", f"export PYTHONPATH={REPOSITORY}"]
    lines.append(f'exec {sys.executable} {job_servers.HERE / "worker.py"} "$@"')
    script.write_text("\n".join(lines) + "\n")
    script.chmod(0o755)
    return ["--environment_type=PROCESS", f"--environment_config={json.dumps({'command': str(script)})}"]


def workers(folder: pathlib.Path) -> list[int]:
    """Ids of the worker processes that were started, dead ones among them."""
    return [int(path.name) for path in (folder / "workers").iterdir()]


@contextlib.contextmanager
def _process(
    command: list[str], log: pathlib.Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as printed:
        process = subprocess.Popen(
            command, stdout=printed, stderr=printed, cwd=log.parent, env=os.environ | (environment or {})
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def _opened() -> list[str]:
    return [f"--add-opens={name}=ALL-UNNAMED" for name in job_servers.OPENED]


def _wait_for(port: int) -> None:
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.2)
    raise TimeoutError(f"nothing listens on port {port} after {_SECONDS} s")
