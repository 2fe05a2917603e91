"""The way through the engine: a task's parts are elements of its shuffle, grouped by key before the next step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from preprocess.columns import segments
from preprocess.columns.segments import Arrays
from preprocess.exchange import mail
from preprocess.exchange.spool import Spool, SpooledPart

# An element's value: sender's place among the steps, task, number of the part, and the part itself.
Letter = tuple[int, int, int, bytes]


class EngineOutbox:
    """The outbox of a task: what it sent is kept on this machine until the task is done."""

    def __init__(self) -> None:
        self._spool = Spool()
        self._sent: list[tuple[str, int, int, int]] = []

    def send(self, channel: str, key: int, arrays: Arrays) -> None:
        """See `mail.Outbox`."""
        if mail.has_entries(arrays):
            self._sent.append((channel, key, *self._spool.add(segments.encode(arrays))))

    def letters(self, step: int, task: int) -> Iterator[tuple[str, tuple[int, Letter]]]:
        """Channel, key and value of each element."""
        for number, (channel, key, begin, end) in enumerate(self._sent):
            yield channel, (key, (step, task, number, self._spool.read(begin, end)))

    def close(self) -> None:
        """Frees what was kept."""
        self._spool.close()


class EngineInbox:
    """The inbox of a task: the grouped elements of its key, in order."""

    def __init__(self) -> None:
        self._spool = Spool()
        self._parts: dict[str, list[tuple[tuple[int, int, int], SpooledPart]]] = {}

    def add(self, channel: str, letter: Letter) -> None:
        """Takes an element."""
        *order, payload = letter
        part = SpooledPart(self._spool, *self._spool.add([payload]))
        self._parts.setdefault(channel, []).append((tuple(order), part))  # type: ignore[arg-type]

    def parts(self, channel: str) -> list[SpooledPart]:
        """See `mail.Inbox`."""
        return [part for _, part in sorted(self._parts.get(channel, []), key=lambda pair: pair[0])]

    def close(self) -> None:
        """Frees what was kept."""
        self._spool.close()


@contextlib.contextmanager
def delivered(grouped: Iterable[tuple[str, Any]], task_channel: str) -> Iterator[tuple[list[Any], EngineInbox]]:
    """Sorts the values of a key: the task, if it has one, and its inbox."""
    tasks: list[Any] = []
    with contextlib.closing(EngineInbox()) as inbox:
        for channel, value in grouped:
            if channel == task_channel:
                tasks.append(value)
            else:
                inbox.add(channel, value)
        yield tasks, inbox
