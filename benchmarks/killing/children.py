"""Commands as processes that can be killed: forked from this one, which has loaded their libraries, or really started.

Most of a short run is the loading of libraries. A forked child runs a command's module as `python -m` does, and finds
them there, so that its moments fall into its work.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import logging
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence

ROOT = pathlib.Path(__file__).resolve().parents[2]
_PR_SET_CHILD_SUBREAPER = 36
_LONGEST = 600.0


def load(modules: Sequence[str]) -> float:
    """Loads libraries for the children to come. Returns the seconds that it took."""
    begin = time.monotonic()
    # Beam's warns of each optional library that is not there.
    logging.disable(logging.WARNING)
    for module in modules:
        importlib.import_module(module)
    logging.disable(logging.NOTSET)
    return time.monotonic() - begin


def adopt_orphans() -> None:
    """Makes processes whose parent was killed children of this one, so that their end can be waited for."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Child:
    """A process in a group of its own; what it prints goes into a file.

    Args:
        pid: of the process, which leads its group.
        log: the file.
    """

    def __init__(self, pid: int, log: str) -> None:
        self.pid, self._log = pid, log
        self._status: int | None = None

    @classmethod
    def forked(cls, work: Callable[[], object], log: str) -> Child:
        """A copy of this process that does the work and ends."""
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            _become(work, log)
        # Here, not only there: a kill that comes before the child has run must find its group.
        _lead_group(pid)
        return cls(pid, log)

    @classmethod
    def command(
        cls, module: str, flags: Sequence[str], log: str, fresh: bool = False, first: Callable[[], None] | None = None
    ) -> Child:
        """A command of the project; a fresh one loads its libraries itself, a forked one does `first` first."""
        if not fresh:
            return cls.forked(lambda: _run_module(module, flags, first), log)
        arguments = [sys.executable, "-m", module, *flags]
        with open(log, "wb") as file:
            started = subprocess.Popen(arguments, cwd=ROOT, stdout=file, stderr=file, start_new_session=True)
        # Waited for here, so not by its finalizer.
        started.returncode = 0
        return cls(started.pid, log)

    def ended(self) -> bool:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status is not None

    def wait(self) -> int:
        """Status of the process at its end; those of its group are killed then."""
        limit = time.monotonic() + _LONGEST
        while not self.ended():
            if time.monotonic() > limit:
                self.kill()
                raise TimeoutError(f"a command ran longer than {_LONGEST} seconds:\n{self.text()}")
            time.sleep(0.005)
        self.kill()
        assert self._status is not None
        return self._status

    def kill(self, alone: bool = False) -> None:
        """SIGKILL to the group; or to the process alone, and returns when the others of its group have ended."""
        with contextlib.suppress(ProcessLookupError):
            if alone:
                os.kill(self.pid, signal.SIGKILL)
            else:
                os.killpg(self.pid, signal.SIGKILL)
        limit = time.monotonic() + _LONGEST
        while self._any_left():
            if time.monotonic() > limit:
                os.killpg(self.pid, signal.SIGKILL)
            time.sleep(0.002)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def text(self) -> str:
        """What it has printed."""
        return pathlib.Path(self._log).read_text(errors="replace")

    def _any_left(self) -> bool:
        with contextlib.suppress(ChildProcessError):
            pid, status = os.waitpid(-self.pid, os.WNOHANG)
            if pid == self.pid:
                self._status = os.waitstatus_to_exitcode(status)
            return True
        return False


def _lead_group(pid: int) -> None:
    """Gives a process a group of its own; parent and child both do, and whoever comes first has done it."""
    with contextlib.suppress(ProcessLookupError):
        os.setpgid(pid, pid)


def _run_module(module: str, flags: Sequence[str], first: Callable[[], None] | None = None) -> None:
    if first:
        first()
    sys.argv = [module, *flags]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _become(work: Callable[[], object], log: str) -> None:
    """Does the work in a forked process and ends it."""
    status = 1
    try:
        _lead_group(os.getpid())
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(descriptor, stream.fileno())
        work()
        status = 0
    except SystemExit as error:
        status = _status_of(error)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _status_of(error: SystemExit) -> int:
    """As Python ends a process with it."""
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    print(error.code, file=sys.stderr)
    return 1
