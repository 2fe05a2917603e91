"""Runs public commands, one after the other, each in a process of its own that does not outlive this one.

On Linux it is forked from a process that has loaded Beam and TensorFlow, which takes longer than the work of a small
day; that process does nothing else, so a command finds what `python -m` gives it. Elsewhere it is started afresh.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import connection
from multiprocessing.context import ForkServerContext
from types import FrameType

# What the commands of a day import: once for all of them.
_LOADED = ("daily.loaded",)
_MODULE_FLAG = "-m"
_PASSED_ON = (signal.SIGTERM, signal.SIGINT)
# What shells add to a signal's number.
_SIGNALLED = 128
_WAKE_SECONDS = 0.5


class StoppedError(Exception):
    """A signal came while a command ran, which was told of it and has ended.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number

    @property
    def status(self) -> int:
        """What a process that it ends gives."""
        return _SIGNALLED + self.number


def run(command: Sequence[str]) -> int:
    """Runs a command to its end; returns its status, that of shells where a signal ended it.

    Args:
        command: PYTHON -m MODULE and flags.

    Raises:
        StoppedError: a signal came meanwhile.
    """
    is_forked = sys.platform == "linux" and command[1] == _MODULE_FLAG
    status = _forked(command[2], list(command[3:])) if is_forked else _fresh(command)
    return status if status >= 0 else _SIGNALLED - status


def _forked(module: str, arguments: list[str]) -> int:
    process = _context().Process(target=_become, args=(module, arguments))
    process.start()
    assert process.pid is not None
    with _passing_on(process.pid):
        # A signal that comes just before a wait is seen behind it.
        while process.exitcode is None:
            process.join(_WAKE_SECONDS)
    assert process.exitcode is not None
    return process.exitcode


def _fresh(command: Sequence[str]) -> int:
    process = subprocess.Popen(command)
    with _passing_on(process.pid):
        return process.wait()


@functools.cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_LOADED))
    return context


@contextmanager
def _passing_on(pid: int) -> Iterator[None]:
    """Passes signals on to a process, and raises StoppedError at the end of the block if there was one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        del frame
        came.append(number)
        os.kill(pid, number)

    before = {number: signal.signal(number, pass_on) for number in _PASSED_ON}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise StoppedError(came[0])


def _become(module: str, arguments: list[str]) -> None:
    """Turns this fork into a command."""
    # The terminal's Ctrl-C goes to the run, which passes it on: twice would be once too often.
    os.setpgid(0, 0)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with_parent() -> None:
    """A run that was killed leaves no command behind, which would hold the folders that the next run needs."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)
