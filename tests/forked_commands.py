"""The project's commands in processes of their own, forked from one that has loaded Beam and TensorFlow.

Loading them is most of a short command; a test that runs dozens would take minutes of it. The process that is forked
has done nothing else, so a command finds the state in which `python -m` starts it.
"""

import multiprocessing
import os
import runpy
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


def _run(module, flags, environment, log):
    os.environ.clear()
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    for number in (1, 2):
        os.dup2(descriptor, number)
    sys.argv = [module, *flags]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
