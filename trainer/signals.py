"""SIGTERM and SIGINT: training saves a checkpoint and ends, anything else ends at the next batch."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import tensorflow as tf

from model_fn import estimator as tf_estimator
from trainer.terminal import StoppedError

_NOTICED = (signal.SIGTERM, signal.SIGINT)
_ASK_SECONDS = 0.5


class Request:
    """Whether the process was asked to end: by which signal, or 0."""

    def __init__(self) -> None:
        self.signal = 0


@contextlib.contextmanager
def noticed() -> Iterator[Request]:
    """Notes signals instead of dying of them; a second one of a kind acts as it always does."""
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        request.signal = number
        signal.signal(number, before[number])

    before: dict[int, Any] = {number: signal.signal(number, note) for number in _NOTICED}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StopHook(tf_estimator.SessionRunHook):
    """Ends training behind the step at hand; the saver saves then.

    Args:
        is_due: whether to end; asked twice a second at most.
    """

    def __init__(self, is_due: Callable[[], bool]) -> None:
        self._is_due = is_due
        self._asked = 0.0

    def after_run(self, run_context: tf_estimator.SessionRunContext, run_values: tf_estimator.SessionRunValues) -> None:
        """Asks for the end where it is due."""
        now = time.monotonic()
        if now - self._asked < _ASK_SECONDS:
            return
        self._asked = now
        if self._is_due():
            run_context.request_stop()


class BreakHook(tf_estimator.SessionRunHook):
    """Ends an evaluation before its result is kept: what it has counted is of no use.

    Args:
        asked: by which signal to end, or 0; called twice a second at most, and at the end.
    """

    def __init__(self, asked: Callable[[], int]) -> None:
        self._asked = asked
        self._last = 0.0

    def after_run(self, run_context: tf_estimator.SessionRunContext, run_values: tf_estimator.SessionRunValues) -> None:
        """Raises StoppedError where it is due."""
        now = time.monotonic()
        if now - self._last >= _ASK_SECONDS:
            self._last = now
            self._break()

    def end(self, session: tf.compat.v1.Session) -> None:
        """Likewise behind the last batch."""
        self._break()

    def _break(self) -> None:
        if number := self._asked():
            raise StoppedError("stopped during an evaluation; the checkpoint is saved", number)
