"""How far a run is, on a terminal: counts files that its tasks have written, so that any runner will do."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

import storage
from preprocess import steps
from preprocess.exchange import channels, files
from preprocess.job import Job

_SECONDS = 0.5
_SECONDS_ON_ENGINE = 2.0


@contextlib.contextmanager
def shown(job: Job, engine: str) -> Iterator[None]:
    """Shows how far the run is, for as long as the block runs.

    Args:
        job: the run.
        engine: where it runs, if not on this machine alone. Then a line tells of each step that is done; else, on a
            terminal and with local output, one line counts tasks.
    """
    if engine:
        print(f"preprocess: running on {engine}", file=sys.stderr)
        with _telling(_tell_steps, job):
            yield
    elif sys.stderr.isatty() and storage.is_local(job.folder):
        with _telling(_count_tasks, job):
            yield
        print("\r\033[K", end="", file=sys.stderr)
    else:
        yield


@contextlib.contextmanager
def _telling(tell: Callable[[Job, threading.Event, TextIO], None], job: Job) -> Iterator[None]:
    done = threading.Event()
    # The stream itself: while Beam runs, its name stands for another.
    thread = threading.Thread(target=tell, args=(job, done, sys.stderr), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _tell_steps(job: Job, done: threading.Event, terminal: TextIO) -> None:
    started, told = time.time(), 0
    ended = False
    while not ended:
        # Once more when the run is over, for the steps that ended last.
        ended = done.wait(_SECONDS_ON_ENGINE)
        while told < len(steps.STEPS) and storage.exists(job.path(steps.done_at(steps.STEPS[told]))):
            seconds = time.time() - started
            label = steps.STEPS[told].label
            told += 1
            print(f"preprocess: {told}/{len(steps.STEPS)} {label} done after {seconds:.0f} s", file=terminal)


def _count_tasks(job: Job, done: threading.Event, terminal: TextIO) -> None:
    totals = _totals(job)
    while not done.wait(_SECONDS):
        parts = (f"{name} {_finished(job, groups)}/{total}" for name, (groups, total) in totals.items())
        print("\r\033[K" + ", ".join(parts), end="", file=terminal, flush=True)


def _totals(job: Job) -> dict[str, tuple[list[tuple[str, ...]], int]]:
    """Folders of each step's files, together where a task may write into several, and how many tasks there are."""
    shards = job.partitions.shards
    parsed = tuple(files.run_folder(side, steps.PARSE.label) for side in (channels.CONTEXTS, channels.IMPRESSIONS))
    return {
        "blocks parsed": ([parsed], len(steps.first_tasks(job))),
        "partitions joined": ([(files.run_folder(channels.PIECES, steps.JOIN.label),)], job.partitions.count),
        "files written": ([(job.records_dir(split),) for split in shards], sum(shards.values())),
    }


def _finished(job: Job, groups: list[tuple[str, ...]]) -> int:
    """Tasks that have written a file there."""
    return sum(len(set().union(*(_tasks_in(job.path(folder)) for folder in group))) for group in groups)


def _tasks_in(folder: str) -> set[str]:
    """What the names of a folder's files begin with: the task's number or name, before the file's own number."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return set()
    return {name.rpartition("-")[0] for name in names if not name.endswith(storage.TEMPORARY_SUFFIX)}
