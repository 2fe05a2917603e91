"""The project's commands in processes of their own, forked from one that has loaded Beam and TensorFlow.

Loading them is most of a short command; a test that runs dozens would take minutes of it. The process that is forked
has done nothing else, so a command finds the state in which `python -m` starts it.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["preprocess.command", "preprocess.report.report", "trainer.training", "trainer.scoring", "trainer.exporting"]
)


def run_forked(module, *flags):
    """Status of a command, and what it printed on both streams together."""
    with tempfile.NamedTemporaryFile() as log:
        process = _FORKS.Process(target=_run, args=(module, flags, dict(os.environ), log.name))
        process.start()
        process.join()
        with open(log.name, encoding="utf-8", errors="replace") as printed:
            return process.exitcode, printed.read()


class Forked:
    """A command that goes on while a test looks at it: as much of `subprocess.Popen` as tests need.

    `stdout.readline` does not wait: it gives an empty string where nothing new is there.
    """

    def __init__(self, module, *flags, environment):
        self._logs = [tempfile.NamedTemporaryFile() for _ in range(2)]  # noqa: SIM115 closed with the object
        names = [log.name for log in self._logs]
        self._process = _FORKS.Process(target=_run, args=(module, flags, environment, *names), daemon=True)
        self._process.start()
        self.stdout, self._stderr = (open(name, encoding="utf-8", errors="replace") for name in names)  # noqa: SIM115

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self._process.exitcode

    def send_signal(self, number):
        os.kill(self._process.pid, number)

    def communicate(self, timeout=None):
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout)
        return self.stdout.read(), self._stderr.read()


def _run(module, flags, environment, *logs):
    os.environ.clear()
    os.environ.update(environment)
    for number, log in zip((1, 2), (logs[0], logs[-1]), strict=True):
        os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND), number)
    sys.argv = [module, *flags]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
