"""Speed and memory of the preprocess job, side by side with the same work in Polars, and against the row-by-row way.

    python -m simulate --output_dir=LOG --requests=8000
    python -m simulate --output_dir=LOG10 --requests=80000
    python benchmarks/preprocess_speed.py LOG [LOG10] [--rounds=3] [--beam=--direct_running_mode=multi_processing]

Prints, for each, MB of raw log a second (median of the rounds), peak memory of all processes together, and ratios;
of two logs also how seconds and memory grow from the first to the last.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import preprocess_by_rows
import psutil

from features import names

HERE = os.path.dirname(os.path.abspath(__file__))
ROW_BY_ROW_IMPRESSIONS = 3000
PREPROCESS = "preprocess"
POLARS = "polars"


def resident(process: psutil.Process) -> int:
    """Bytes of a process and its children; pages that they share count once for each."""
    total = 0
    for each in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += each.memory_info().rss
    return total


def measure(command: list[str]) -> tuple[float, float, int]:
    """Seconds, CPU seconds and peak bytes of a command."""
    begin, cpu, peak = time.time(), 0.0, 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                peak = max(peak, resident(watched))
                cpu = max(cpu, sum(sum(p.cpu_times()[:2]) for p in [watched, *watched.children(recursive=True)]))
            except psutil.NoSuchProcess:
                break
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with status {process.returncode}")
    return time.time() - begin, cpu, peak


def commands(arguments: argparse.Namespace, log: str, folder: str) -> dict[str, list[str]]:
    """What is measured, by name; all write to `folder`."""
    ours = [f"--input_dir={log}", f"--output_dir={folder}/out", "--splits=train", "--overwrite", arguments.beam]
    polars = [os.path.join(HERE, "preprocess_polars.py"), log, f"{folder}/out.parquet"]
    every = {PREPROCESS: [sys.executable, "-m", "preprocess", *ours], POLARS: [sys.executable, *polars]}
    return {name: command for name, command in every.items() if name not in arguments.without.split(",")}


def input_files(log: str) -> list[str]:
    return [os.path.join(log, name(names.TRAIN)) for name in (names.common_file, names.skeleton_file)]


def measure_log(arguments: argparse.Namespace, log: str) -> dict[str, tuple[float, int]]:
    """Prints speed and memory of each system on a log. Seconds (median) and peak bytes by name."""
    size = sum(os.path.getsize(path) for path in input_files(log)) / 1e6
    found: dict[str, list[tuple[float, float, int]]] = {}
    # Beside the log: what is only read is never written into.
    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(log))) as folder:
        for _ in range(arguments.rounds):
            for name, command in commands(arguments, log, folder).items():
                shutil.rmtree(f"{folder}/out", ignore_errors=True)
                found.setdefault(name, []).append(measure(command))
    print(f"{size:.0f} MB of raw log")
    summary = {}
    for name, runs in found.items():
        seconds, cpu = (statistics.median(run[part] for run in runs) for part in (0, 1))
        summary[name] = seconds, max(run[2] for run in runs)
        speeds = f"{size / seconds:.1f} MB/s, {size / cpu:.1f} MB per CPU second"
        print(f"{name}: {seconds:.1f} s, {speeds}, peak {summary[name][1] / 2**30:.2f} GiB", flush=True)
    if POLARS in summary and PREPROCESS in summary:
        print(f"speed of {PREPROCESS} / {POLARS}: {summary[POLARS][0] / summary[PREPROCESS][0]:.2f}")
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beam", default="--direct_running_mode=multi_threading")
    parser.add_argument("--without", default="", help="names of systems to leave out, comma-separated")
    arguments = parser.parse_args()
    found = [measure_log(arguments, log) for log in arguments.logs]
    if "rows" not in arguments.without.split(","):
        size = sum(os.path.getsize(path) for path in input_files(arguments.logs[0])) / 1e6
        by_rows = preprocess_by_rows.megabytes_a_second(*input_files(arguments.logs[0]), ROW_BY_ROW_IMPRESSIONS)
        print(f"row by row, one core, part of the first log: {by_rows:.3f} MB/s")
        print(f"{PREPROCESS} / row by row: {size / found[0][PREPROCESS][0] / by_rows:.0f}")
    first, last = found[0][PREPROCESS], found[-1][PREPROCESS]
    seconds, memory = (later / earlier for earlier, later in zip(first, last, strict=True))
    print(f"{PREPROCESS}, last log / first: {seconds:.1f} times the seconds, {memory:.1f} times the memory")


if __name__ == "__main__":
    main()
