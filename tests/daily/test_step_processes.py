"""Commands of a day: their status, signals that are passed on, and that none outlives the run."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing import forkserver

import pytest

from daily import processes

PYTHON = [sys.executable, "-m"]
ROOT = os.path.join(os.path.dirname(__file__), "..", "..")


@pytest.fixture(autouse=True)
def nothing_is_loaded(monkeypatch):
    """Loading TensorFlow is not what is tested here. What is forked writes to where the server's first test wrote."""
    forkserver._forkserver._stop()
    monkeypatch.setattr(processes, "_LOADED", ())
    processes._context.cache_clear()
    yield
    processes._context.cache_clear()
    forkserver._forkserver._stop()


def module(folder, text, monkeypatch):
    """Command that runs a module with such a text."""
    (folder / "a_command.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    return [*PYTHON, "a_command", "--one=1", "two"]


@pytest.mark.parametrize("fork", [True, False])
@pytest.mark.parametrize(
    ("ending", "status"),
    [("", 0), ("sys.exit(3)", 3), ("sys.exit('said')", 1), ("os._exit(4)", 4), ("os.kill(os.getpid(), 9)", 137)],
)
def test_a_command_sees_its_flags_and_its_status_comes_back(tmp_path, monkeypatch, capfd, fork, ending, status):
    text = f"import os, sys\nprint(__name__, sys.argv[1:], flush=True)\n{ending}\n"
    command = module(tmp_path, text, monkeypatch)
    if not fork:
        monkeypatch.setattr(sys, "platform", "darwin")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert processes.run(command) == status
    told = capfd.readouterr()
    assert told.out == "__main__ ['--one=1', 'two']\n" and ("said" in told.err) == ("said" in ending)


# A run whose command writes its process id, and then works.
RUN = """
import sys
from daily import processes
processes._LOADED = ()
if __name__ == "__main__":
    try:
        processes.run([sys.executable, "-m", "worker"])
    except processes.StoppedError as error:
        sys.exit(error.status)
"""
WORKER = """
import os, signal, sys, time
def told(number, frame):
    time.sleep(0.3)
    open("told", "w").write(str(number))
    sys.exit(1)
signal.signal(signal.SIGTERM, told)
open("pid", "w").write(str(os.getpid()))
time.sleep(60)
"""


@pytest.fixture
def started(tmp_path):
    """A run, and the process id of its command."""
    (tmp_path / "a_run.py").write_text(RUN)
    (tmp_path / "worker.py").write_text(WORKER)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([ROOT, str(tmp_path)])}
    process = subprocess.Popen([sys.executable, "-m", "a_run"], cwd=tmp_path, env=environment)
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert process.poll() is None
        time.sleep(0.02)
    yield process, int((tmp_path / "pid").read_text())
    process.kill()
    process.wait()


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_signal_is_passed_on_and_the_command_ends_first(started, tmp_path):
    process, pid = started
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 128 + signal.SIGTERM
    assert (tmp_path / "told").read_text() == str(int(signal.SIGTERM)) and not is_alive(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="commands are forked on Linux alone")
def test_a_killed_run_leaves_no_command_behind(started):
    process, pid = started
    process.kill()
    process.wait()
    until = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < until
        time.sleep(0.02)
