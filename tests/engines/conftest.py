"""Engines that run here, each with worker processes of its own; where Java or a jar is missing, the tests say so."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

import job_servers
import pytest
import worker_processes

HERE = pathlib.Path(__file__).parent
CACHE = pathlib.Path(os.environ.get("ENGINES_CACHE", HERE.parent.parent / ".engines"))


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.engines)


@pytest.fixture(scope="session")
def job_server():
    """Path of the job server of an engine."""
    if not (shutil.which("java") and shutil.which("mvn")):
        pytest.skip("needs Java 11 or 17 and Maven")

    def path(engine):
        try:
            return job_servers.jar(engine, CACHE)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"Maven cannot get {engine}'s jars: {error.stdout[-300:]}")

    return path


@pytest.fixture
def pool(tmp_path):
    """A pool that starts worker processes for the engine: its address and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]
    # The pool starts "python", whichever that is.
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": str(HERE.parent.parent), "PATH": path}
    with (tmp_path / "pool.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=tmp_path)
        try:
            _wait_for(port)
            yield f"127.0.0.1:{port}", process.pid
        finally:
            for worker in worker_processes.of(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, 9)
            process.kill()
            process.wait()


def _wait_for(port):
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.2)
