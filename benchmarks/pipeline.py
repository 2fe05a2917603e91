"""The project's commands, run with their results kept: what the quality benchmarks are made of.

A finished result is kept under a name made of everything that it was made with, so an interrupted benchmark goes on
where it was and two benchmarks share what both need.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import multiprocessing
import os
import re
import resource
import runpy
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

# What is trained, where a benchmark does not say otherwise.
RECIPE = "--flagfile=configs/recommended.flags"

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Workshop:
    """Logs, records, models and judgements in one folder.

    Args:
        folder: keeps them.
        threads: of each training and scoring; 0: one a core.
    """

    def __init__(self, folder: str, threads: int = 0) -> None:
        self._folder = os.path.abspath(folder)
        self._threads = threads
        os.makedirs(self._folder, exist_ok=True)

    def log(self, *flags: str) -> str:
        """A simulated log."""
        return self._made("log", flags, lambda out: _run("simulate", f"--output_dir={out}", *flags))

    def records(self, log: str, *flags: str) -> str:
        """The log's TFRecords."""
        return self._made(
            "records",
            (log, *flags),
            lambda out: _run("preprocess", f"--input_dir={log}", f"--output_dir={out}", *flags),
        )

    def judgement(self, log: str, records: str, *flags: str) -> dict:
        """Trains by the recommended recipe and the flags, scores the test split and judges the scores.

        Also gives impressions/s of training.
        """
        flags = (RECIPE, *flags)
        making = lambda made: _train_and_judge(made, log, records, flags, self._threads)  # noqa: E731
        return _judged(self._made("model", (log, records, *flags), making))

    def finished_judgement(self, log: str, records: str, *flags: str) -> dict | None:
        """The same where it is there already; nothing is trained."""
        out = self._path("model", (log, records, RECIPE, *flags))
        return _judged(out) if os.path.exists(out) else None

    def _path(self, kind: str, flags: Sequence[str]) -> str:
        return os.path.join(self._folder, f"{kind}-{hashlib.sha256(chr(10).join(flags).encode()).hexdigest()[:12]}")

    def _made(self, kind: str, flags: Sequence[str], make: Callable[[str], None]) -> str:
        out = self._path(kind, flags)
        if not os.path.exists(out):
            unfinished = out + ".unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            make(unfinished)
            os.rename(unfinished, out)
        return out


def _judged(out: str) -> dict:
    with open(os.path.join(out, "judged.json"), encoding="utf-8") as file:
        figures = json.load(file)
    with open(os.path.join(out, "speed.json"), encoding="utf-8") as file:
        return figures | json.load(file)


def _train_and_judge(out: str, log: str, records: str, flags: Sequence[str], threads: int) -> None:
    model, predictions = os.path.join(out, "model"), os.path.join(out, "predictions.csv")
    os.makedirs(out)
    where = (f"--data_dir={records}", f"--model_dir={model}", f"--num_threads={threads}")
    # The judge reads the scores of all impressions, so that no evaluation is needed on the way.
    printed = _run("trainer", "--task_type=train", *where, "--eval_splits=", *flags)
    _run("trainer", "--task_type=infer", *where, f"--predictions={predictions}")
    _run("simulate.judge", f"--input_dir={log}", f"--predictions={predictions}", f"--output={out}/judged.json")
    with open(os.path.join(out, "speed.json"), "w", encoding="utf-8") as file:
        json.dump({"impressions_per_second": _median_speed(printed)}, file)
    shutil.rmtree(model)
    os.remove(predictions)


def _median_speed(printed: str) -> float | None:
    """Median of the training's own progress lines, which leave out start-up and evaluation."""
    found = [float(number.replace(",", "")) for number in re.findall(r"([\d,]+) impressions/s", printed)]
    return statistics.median(found[1:] or found) if found else None


def _run(module: str, *flags: str) -> str:
    return run_forked(module, *flags).printed


class Done(NamedTuple):
    """A command that ended well."""

    printed: str
    cpu_seconds: float


def run_forked(module: str, *flags: str) -> Done:
    """Runs `python -m module flags` in a fork of a process that has loaded Beam and TensorFlow, which takes longer than
    a small log's training.

    Raises:
        SystemExit: the command failed; with the end of what it printed.
    """
    with tempfile.NamedTemporaryFile("r", encoding="utf-8", errors="replace") as printed:
        receive, send = _FORKS.Pipe(duplex=False)
        process = _FORKS.Process(target=_become, args=(module, flags, printed.name, send))
        process.start()
        send.close()
        process.join()
        if process.exitcode:
            end = printed.read()[-3000:]
            sys.exit(f"python -m {module} {' '.join(flags)}\nended with status {process.exitcode}:\n{end}")
        return Done(printed.read(), receive.recv())


_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["daily.loaded"])


def _become(module: str, flags: Sequence[str], printed: str, send: Connection) -> None:
    """Turns this fork into a command; sends the CPU seconds that it used."""
    with open(printed, "w", encoding="utf-8") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    os.chdir(REPOSITORY)
    sys.argv = [module, *flags]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        used = resource.getrusage(resource.RUSAGE_SELF)
        send.send(used.ru_utime + used.ru_stime)


def mean_and_spread(values: Iterable[float]) -> str:
    """Mean and standard deviation over seeds, as text."""
    found = list(values)
    spread = statistics.stdev(found) if len(found) > 1 else math.nan
    return f"{statistics.mean(found):.4f} ± {spread:.4f}"


def write_table(path: str, rows: list[dict]) -> None:
    """Keeps a benchmark's rows as CSV."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
