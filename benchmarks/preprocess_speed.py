"""Speed and memory of the preprocess job, side by side with the same work in Polars, and against the row-by-row way.

    python -m simulate --output_dir=LOG --requests=8000
    python benchmarks/preprocess_speed.py LOG [--rounds=3] [--beam=--direct_running_mode=multi_processing]

Prints, for each, MB of raw log a second (median of the rounds), peak memory of all processes together, and ratios.
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("log")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beam", default="--direct_running_mode=multi_threading")
    parser.add_argument("--without", default="", help="names of systems to leave out, comma-separated")
    arguments = parser.parse_args()
    files = [os.path.join(arguments.log, name(names.TRAIN)) for name in (names.common_file, names.skeleton_file)]
    size = sum(os.path.getsize(path) for path in files) / 1e6
    with tempfile.TemporaryDirectory(dir=arguments.log) as folder:
        out = os.path.join(folder, "out")
        ours = [f"--input_dir={arguments.log}", f"--output_dir={out}", "--splits=train", "--overwrite", arguments.beam]
        commands = {
            "preprocess": [sys.executable, "-m", "preprocess", *ours],
            "polars": [
                sys.executable,
                os.path.join(HERE, "preprocess_polars.py"),
                arguments.log,
                f"{folder}/out.parquet",
            ],
        }
        commands = {name: command for name, command in commands.items() if name not in arguments.without.split(",")}
        found: dict[str, list[tuple[float, float, int]]] = {name: [] for name in commands}
        for _ in range(arguments.rounds):
            for name, command in commands.items():
                shutil.rmtree(out, ignore_errors=True)
                found[name].append(measure(command))
    speed = {name: size / statistics.median(seconds for seconds, _, _ in runs) for name, runs in found.items()}
    print(f"{size:.0f} MB of raw log")
    for name, runs in found.items():
        peak, cpu = max(peak for _, _, peak in runs) / 2**30, statistics.median(cpu for _, cpu, _ in runs)
        print(f"{name}: {speed[name]:.1f} MB/s, {size / cpu:.1f} MB per CPU second, peak {peak:.2f} GiB")
    if "polars" in speed:
        print(f"preprocess / polars: {speed['preprocess'] / speed['polars']:.2f}")
    if "rows" not in arguments.without.split(","):
        by_rows = preprocess_by_rows.megabytes_a_second(*files, ROW_BY_ROW_IMPRESSIONS)
        print(f"row by row, one core, part of the log: {by_rows:.3f} MB/s")
        print(f"preprocess / row by row: {speed['preprocess'] / by_rows:.0f}")


if __name__ == "__main__":
    main()
