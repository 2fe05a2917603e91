"""How long to go on trying: an outage of minutes is waited for, a refused call is not."""

from __future__ import annotations

import dataclasses
import random
import threading
import time
from collections.abc import Callable

from serving.answers import Answer, CallError


class StoppedError(Exception):
    """The run ended while a call was waiting for its next attempt."""


@dataclasses.dataclass(frozen=True)
class Patience:
    """When to try again.

    Attributes:
        outage_seconds: a call is tried again until so long after its first failure.
        attempts: how often a call is tried that the server answers with a failure which may be the call's own.
        backoff_seconds: wait before the second attempt; doubles for each further one, up to `longest_seconds`.
        longest_seconds: longest wait, unless the server asks for more.
    """

    outage_seconds: float = 300.0
    attempts: int = 6
    backoff_seconds: float = 0.1
    longest_seconds: float = 5.0

    def answer(self, attempt: Callable[[], Answer], stop: threading.Event) -> Answer:
        """Tries until there is an answer.

        Raises:
            CallError: the last failure, where trying again is no use or has taken too long.
            StoppedError: `stop` was set.
        """
        tried, end = 0, 0.0
        while True:
            try:
                return attempt()
            except CallError as error:
                tried += 1
                end = end or time.monotonic() + self.outage_seconds
                wait = max(self.wait(tried), error.wait_seconds)
                if error.retried == CallError.NEVER:
                    raise
                if error.retried == CallError.SOMETIMES and tried >= self.attempts:
                    raise CallError(f"no scores in {tried} attempts; the last: {error}") from error
                if time.monotonic() + wait > end:
                    seconds = f"{self.outage_seconds:g} s (--max_outage_seconds)"
                    raise CallError(f"no scores in {tried} attempts within {seconds}; the last: {error}") from error
            if stop.wait(wait):
                raise StoppedError

    def wait(self, tried: int) -> float:
        """Seconds before the next attempt; by chance up to half less, so that clients do not keep step."""
        return min(self.backoff_seconds * 2 ** min(tried - 1, 30), self.longest_seconds) * random.uniform(0.5, 1)
