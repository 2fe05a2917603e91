"""The two ends of an exchange, as a step sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from preprocess.columns.segments import Arrays


class Part(Protocol):
    """What one task sent to a key. Reading it anew is allowed, so that nobody has to hold it."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def read(self) -> Iterator[Arrays]:
        """The arrays of each `Outbox.send`, in order."""
        ...


class Inbox(Protocol):
    """What was sent to the key of a task."""

    def parts(self, channel: str) -> Sequence[Part]:
        """All parts, in order of the sending tasks' numbers and then of sending, however the runner ran them."""
        ...


class Outbox(Protocol):
    """Where a task puts what later steps need."""

    def send(self, channel: str, key: int, arrays: Arrays) -> None:
        """Sends arrays to the task of that number in the step that receives the channel. Without entries: nothing."""
        ...


def has_entries(arrays: Arrays) -> bool:
    """Whether there is anything to send."""
    return any(len(array) for array in arrays.values())


def all_arrays(parts: Sequence[Part]) -> Iterator[Arrays]:
    """The arrays of all parts, one after another."""
    for part in parts:
        yield from part.read()
