"""SIGTERM and SIGINT end a run as a failure does: what it wrote is cleared up, and a line says so."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

_NOTICED = (signal.SIGTERM, signal.SIGINT)
# What shells add to a signal's number.
_SIGNALLED = 128


class StoppedError(BaseException):
    """The run was asked to end. No Exception: Beam takes those for a task's, and wraps them.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


@contextlib.contextmanager
def on_signals() -> Iterator[None]:
    """Raises StoppedError in the block when a signal comes; a second one ends the process at once."""
    before = {number: signal.signal(number, _stop) for number in _NOTICED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    signal.signal(number, signal.SIG_DFL)
    raise StoppedError(number)


def leave(line: str, number: int) -> NoReturn:
    """Ends the process without waiting for threads of the runner, which know nothing of the signal."""
    print(line, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_SIGNALLED + number)
