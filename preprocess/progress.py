"""How far a run is, on a terminal: counts the files that its tasks have written, so that any runner will do."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import TextIO

import storage
from preprocess import pipeline
from preprocess.job import Job

_SECONDS = 0.5


@contextlib.contextmanager
def shown(job: Job) -> Iterator[None]:
    """Shows a line on the terminal, if there is one and the output is local, for as long as the block runs."""
    if not sys.stderr.isatty() or not storage.is_local(job.folder):
        yield
        return
    done = threading.Event()
    # The stream itself: while Beam runs, its name stands for another.
    thread = threading.Thread(target=_show, args=(job, done, sys.stderr), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        print("\r\033[K", end="", file=sys.stderr)


def _show(job: Job, done: threading.Event, terminal: TextIO) -> None:
    totals = _totals(job)
    while not done.wait(_SECONDS):
        parts = (f"{name} {_finished(job, folders)}/{total}" for name, (folders, total) in totals.items())
        print("\r\033[K" + ", ".join(parts), end="", file=terminal, flush=True)


def _totals(job: Job) -> dict[str, tuple[tuple[str, ...], int]]:
    """Folders of each step's files and how many of them there will be."""
    shards = job.partitions.shards
    return {
        "blocks parsed": (("parsed",), len(pipeline.first_tasks(job))),
        "partitions joined": (("joined",), job.partitions.count),
        "files written": (tuple(map(job.records_dir, shards)), sum(shards.values())),
    }


def _finished(job: Job, folders: tuple[str, ...]) -> int:
    found = 0
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):
            found += sum(not name.endswith(storage.TEMPORARY_SUFFIX) for name in os.listdir(job.path(folder)))
    return found
