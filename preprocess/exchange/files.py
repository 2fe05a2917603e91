"""The way through files: a task writes a file for each channel, sorted by key; an index tells each key its places.

A channel of at most `FAN_OUT` keys is read straight from the files of the senders. A wider one is first cut into
`FAN_OUT` buckets of neighbouring keys, and then, bucket by bucket, into keys (`regroup`). So a file has at most
`FAN_OUT` places to read from, and what is read and remembered grows with the log, not with its square.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np

import storage
from preprocess.columns import segments
from preprocess.columns.segments import Arrays, Buffer
from preprocess.exchange import mail
from preprocess.job import Job

FAN_OUT = 256
_FOLDER = "exchange"
_REGROUPED = "regrouped"
# Bytes of a bucket that a regrouping task reads at a time.
_BYTES_PER_REGROUP = 64 << 20
# Before each part of a bucket: its key and its bytes, two int64.
_LABEL = np.dtype([("key", "<i8"), ("size", "<i8")])


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the keys of a channel are cut into buckets.

    Attributes:
        keys: number of keys.
        width: keys of a bucket.
    """

    keys: int
    width: int

    @property
    def is_wide(self) -> bool:
        """Whether a bucket holds several keys."""
        return self.width > 1

    @property
    def buckets(self) -> int:
        """Number of buckets."""
        return math.ceil(self.keys / self.width)

    def keys_of(self, bucket: int) -> int:
        """Number of keys of a bucket: the last may have fewer."""
        return min(self.width, self.keys - bucket * self.width)


def layout(job: Job, channel: str) -> Layout:
    """The layout of a channel of a run."""
    keys = job.key_count(channel)
    return Layout(keys, max(1, math.ceil(keys / FAN_OUT)))


@dataclasses.dataclass(frozen=True)
class Run:
    """A written file: neighbouring cells (buckets, or keys where a bucket has one), one after another.

    Attributes:
        channel: of the file.
        sender: name of the step that wrote it.
        task: number of the task that wrote it.
        number: among the files that the task wrote for the channel.
        first_cell: cell of the first range.
        edges: of the cells' ranges in the file, int64 [cells + 1].
    """

    channel: str
    sender: str
    task: int
    number: int
    first_cell: int
    edges: np.ndarray


def run_folder(channel: str, sender: str) -> str:
    """Where the files of a step's tasks are, below the run's folder."""
    return storage.join(_FOLDER, channel, sender)


def _run_path(job: Job, channel: str, sender: str, task: int, number: int) -> str:
    return job.path(run_folder(channel, sender), f"{task:07d}-{number:05d}")


class FileOutbox:
    """The outbox of a task; `runs` lists its files once the block is left."""

    def __init__(self, job: Job, sender: str, task: int) -> None:
        self._job = job
        self._sender = sender
        self._task = task
        self._open: dict[str, _OpenRun] = {}
        self.runs: list[Run] = []

    def __enter__(self) -> FileOutbox:
        return self

    def __exit__(self, *error: object) -> None:
        for run in self._open.values():
            if error[0] is None:
                self.runs.append(run.close())
            else:
                run.give_up()

    def send(self, channel: str, key: int, arrays: Arrays) -> None:
        """See `mail.Outbox`."""
        if not mail.has_entries(arrays):
            return
        run = self._open.get(channel)
        if run is None or key <= run.last_key:
            # A key has one part in a file, so that its part is a range.
            number = 0
            if run is not None:
                self.runs.append(run.close())
                number = run.number + 1
            run = self._open[channel] = _OpenRun(self._job, channel, self._sender, self._task, number)
        run.add(key, arrays)


class _OpenRun:
    def __init__(self, job: Job, channel: str, sender: str, task: int, number: int) -> None:
        self._channel, self._sender, self._task = channel, sender, task
        self._layout = layout(job, channel)
        self._ends = np.zeros(self._layout.buckets + 1, np.int64)
        self._end = 0
        self._stack = contextlib.ExitStack()
        self._path = _run_path(job, channel, sender, task, number)
        self._file: BinaryIO = self._stack.enter_context(storage.writing(self._path))
        self.number = number
        self.last_key = -1

    def _write(self, buffer: Buffer) -> None:
        try:
            self._file.write(buffer)
        except OSError as error:
            raise storage.WriteError(f"writing {self._path}: {error}") from error

    def add(self, key: int, arrays: Arrays) -> None:
        buffers = list(segments.encode(arrays))
        if self._layout.is_wide:
            size = sum(memoryview(buffer).nbytes for buffer in buffers)
            buffers.insert(0, np.array((key, size), _LABEL).tobytes())
        for buffer in buffers:
            self._write(buffer)
            self._end += memoryview(buffer).nbytes
        self._ends[key // self._layout.width + 1] = self._end
        self.last_key = key

    def close(self) -> Run:
        self._stack.close()
        edges = np.maximum.accumulate(self._ends)
        return Run(self._channel, self._sender, self._task, self.number, 0, edges)

    def give_up(self) -> None:
        with contextlib.suppress(_GivenUp), self._stack:
            raise _GivenUp


class _GivenUp(Exception):
    """Makes an open file vanish."""


@dataclasses.dataclass(frozen=True)
class FilePart:
    """A part in a file."""

    path: str
    begin: int
    end: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.begin

    def read(self) -> Iterator[Arrays]:
        """The arrays sent."""
        return segments.parse_all(storage.read(self.path, self.begin, self.end))


class FileInbox:
    """The inbox of a task."""

    def __init__(self, job: Job, key: int, senders: dict[str, tuple[str, ...]]) -> None:
        self._job = job
        self._key = key
        self._senders = senders

    def parts(self, channel: str) -> list[FilePart]:
        """See `mail.Inbox`."""
        wide = layout(self._job, channel).is_wide
        parts: list[FilePart] = []
        for sender in self._senders[channel]:
            written_by = regrouped_sender(sender) if wide else sender
            parts += _places(self._job, channel, written_by, self._key)
        return parts


def _index_path(job: Job, channel: str, sender: str) -> str:
    return job.path(_FOLDER, channel, f"index-{sender}")


def save_index(job: Job, channel: str, sender: str, cells: int, runs: Sequence[Run]) -> None:
    """Writes where each cell's parts are: for every cell a segment with the files that have it, in order."""
    ordered = sorted(runs, key=lambda run: (run.first_cell, run.task, run.number))
    groups = [list(group) for _, group in itertools.groupby(ordered, key=lambda run: run.first_cell)]
    path = _index_path(job, channel, sender)
    edges = segments.write(path, _cells(groups, cells))
    job.save(_index_edges(channel, sender), edges)


def _index_edges(channel: str, sender: str) -> str:
    return f"{channel}-{sender}.index"


def _cells(groups: Sequence[Sequence[Run]], cells: int) -> Iterator[Arrays]:
    done = 0
    for group in groups:
        first, edges = group[0].first_cell, np.stack([run.edges for run in group])
        task, number = (np.array([getattr(run, name) for run in group], np.int64) for name in ("task", "number"))
        yield from ({} for _ in range(done, first))
        for cell in range(edges.shape[1] - 1):
            has = edges[:, cell + 1] > edges[:, cell]
            chosen = {"begin": edges[has, cell], "end": edges[has, cell + 1]}
            yield {"task": task[has], "number": number[has], **chosen}
        done = first + edges.shape[1] - 1
    yield from ({} for _ in range(done, cells))


def _cell(job: Job, channel: str, sender: str, cell: int) -> Arrays:
    """Task and number of the files that have a cell, in order, and begin and end of their ranges."""
    edges = job.load(_index_edges(channel, sender))
    begin, end = int(edges[cell]), int(edges[cell + 1])
    return segments.read(_index_path(job, channel, sender), begin, end) if begin < end else {}


def _places(job: Job, channel: str, sender: str, cell: int, first: int = 0, last: int | None = None) -> list[FilePart]:
    """The ranges of a cell, from the first to before the last."""
    found = _cell(job, channel, sender, cell)
    columns = (found[name][first:last].tolist() for name in ("task", "number", "begin", "end")) if found else ((),) * 4
    return [
        FilePart(_run_path(job, channel, sender, task, number), begin, end)
        for task, number, begin, end in zip(*columns, strict=True)
    ]


@dataclasses.dataclass(frozen=True)
class Regrouping:
    """A task: some files' ranges of a bucket, to be cut into keys.

    Attributes:
        channel: of the bucket.
        sender: name of the step whose files are read.
        bucket: its number.
        first: number of the first of the bucket's ranges.
        last: number behind the last.
    """

    channel: str
    sender: str
    bucket: int
    first: int
    last: int


def plan_regrouping(job: Job, channel: str, sender: str) -> list[Regrouping]:
    """Tasks: the buckets of a channel, each in slices that fit in memory."""
    tasks: list[Regrouping] = []
    for bucket in range(layout(job, channel).buckets):
        found = _cell(job, channel, sender, bucket)
        if not found:
            continue
        sizes = found["end"] - found["begin"]
        slices = (np.cumsum(sizes) - sizes) // _BYTES_PER_REGROUP
        edges = [*np.flatnonzero(np.diff(slices, prepend=-1)).tolist(), len(sizes)]
        tasks += [Regrouping(channel, sender, bucket, *pair) for pair in itertools.pairwise(edges)]
    return tasks


def regroup(job: Job, number: int, task: Regrouping) -> list[Run]:
    """Writes a slice of a bucket anew, its keys one after another."""
    plan = layout(job, task.channel)
    first_key = task.bucket * plan.width
    by_key: list[list[bytes]] = [[] for _ in range(plan.keys_of(task.bucket))]
    for part in _places(job, task.channel, task.sender, task.bucket, task.first, task.last):
        for key, payload in _labelled(storage.read(part.path, part.begin, part.end)):
            by_key[key - first_key].append(payload)
    edges = np.zeros(len(by_key) + 1, np.int64)
    np.cumsum([sum(map(len, payloads)) for payloads in by_key], out=edges[1:])
    sender = regrouped_sender(task.sender)
    storage.write(_run_path(job, task.channel, sender, number, 0), itertools.chain.from_iterable(by_key))
    return [Run(task.channel, sender, number, 0, first_key, edges)]


def _labelled(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place < len(data):
        label = np.frombuffer(data, _LABEL, 1, place)[0]
        place += _LABEL.itemsize
        yield int(label["key"]), data[place : place + int(label["size"])]
        place += int(label["size"])


def save_regrouped(job: Job, runs: Sequence[Run]) -> None:
    """Writes the indices of what was regrouped."""
    ordered = sorted(runs, key=lambda run: (run.channel, run.sender))
    for (channel, sender), mine in itertools.groupby(ordered, key=lambda run: (run.channel, run.sender)):
        save_index(job, channel, sender, layout(job, channel).keys, list(mine))


def regrouped_sender(sender: str) -> str:
    """Under which name the regrouped files of a step stand."""
    return f"{sender}-{_REGROUPED}"
