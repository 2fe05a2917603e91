"""A trial: the training command in a process of its own, with a model_dir as any other."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from storage import lock
from trainer import evaluations
from trainer.evaluations import Evaluated
from trainer.model_dir import COMMAND

_LOG_ENDING = ".log"
_LAST_BYTES = 4096
_PATIENCE_SECONDS = 60.0
# linux/prctl.h
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def _end_with_parent() -> None:
    """Lets the kernel ask a training to end when the search is killed; else it would hold its folder on its own."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_until_free(folder: str) -> None:
    """Until the training of a search that was killed has left its folder, or for so long that it never may."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while _is_held(folder) and time.monotonic() < deadline:
        time.sleep(0.5)


def _is_held(folder: str) -> bool:
    try:
        with lock.held(folder, COMMAND, "model_dir"):
            return False
    except lock.LockedError:
        return True


class TrialProcess:
    """A training that was started, or goes on, with the settings of a trial.

    Args:
        folder: its model_dir; what it prints goes to a file beside.
        flags: of the command, the trial's own settings excepted.
        chosen: the trial's settings.
    """

    def __init__(self, folder: str, flags: Sequence[str], chosen: Mapping[str, Any]) -> None:
        self.folder = folder
        own = [f"--{name}={value}" for name, value in chosen.items()]
        command = [sys.executable, "-m", "trainer", *flags, *own, "--task_type=train", f"--model_dir={folder}"]
        _wait_until_free(folder)
        with open(folder + _LOG_ENDING, "ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, preexec_fn=_end_with_parent
            )

    def status(self) -> int | None:
        """Of the process; None while it runs."""
        return self._process.poll()

    def evaluated(self) -> list[Evaluated]:
        """What its evaluations have found so far."""
        return evaluations.read(self.folder)

    def stop(self) -> None:
        """Asks it to save and to end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Until it has ended."""
        self._process.wait()

    def last_words(self) -> str:
        """The last line that it printed."""
        with open(self.folder + _LOG_ENDING, "rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - _LAST_BYTES))
            lines = log.read().decode("utf-8", "replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "")
