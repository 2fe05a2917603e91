"""Memory of the preprocess job: on logs that grow, and on Parquet files that are small and hold much.

python benchmarks/preprocess_memory.py --folder=DIR [--gigabytes=2,20] [--workers=2] [--parquet]

A log is one simulated gigabyte, written again and again with other sample ids and other keys of contexts. Prints the
resident memory of all the job's processes as it goes, the peak, what it takes on the disk, and seconds.
Needs some three times the largest log on the disk. With --only_log the log is made and kept for the next call.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Requests of the simulated log that make a gigabyte.
_REQUESTS = 36_000
_CONTEXTS, _IMPRESSIONS = "common_features_train.csv", "sample_skeleton_train.csv"
_SECONDS = 0.5
_SECONDS_PER_LINE = 20
_SCHEMA = """name: lists
columns: {request: user, sample_id: sample_id, click: click, conversion: conversion}
fields:
  - {name: items, group: user, side: context, kind: many, type: id}
  - {name: item, group: item, side: impression, kind: one, type: id}
"""


def make_log(folder: str, gigabytes: float) -> str:
    """Writes copies of one simulated log below a folder, each of a thousand requests and more; gives their glob."""
    base = os.path.join(folder, f"base-{min(gigabytes, 1):g}")
    if not os.path.exists(os.path.join(base, _IMPRESSIONS)):
        requests = int(_REQUESTS * min(gigabytes, 1))
        command = ["simulate", f"--output_dir={base}", f"--requests={requests}", "--test_requests=0", "--seed=1"]
        subprocess.run([sys.executable, "-m", *command], check=True, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    log = os.path.join(folder, f"log-{gigabytes:g}")
    if os.path.exists(log):
        return os.path.join(log, "*")
    unfinished = log + ".unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    size = sum(os.path.getsize(os.path.join(base, name)) for name in (_CONTEXTS, _IMPRESSIONS))
    for copy in range(max(1, round(gigabytes * 1e9 / size))):
        part = os.path.join(unfinished, f"{copy:03d}")
        os.makedirs(part)
        # Two digits before each sample id and key: none is in two copies.
        mark = b"%02d" % (copy + 10)
        _copy(base, part, _CONTEXTS, [(b"\n", b"\n" + mark)], mark)
        labels = [(b",%s," % label, b",%s,%s" % (label, mark)) for label in (b"0,0", b"1,0", b"1,1")]
        _copy(base, part, _IMPRESSIONS, [*labels, (b"\n", b"\n" + mark)], mark)
    os.rename(unfinished, log)
    return os.path.join(log, "*")


def _copy(base: str, part: str, name: str, changes: list[tuple[bytes, bytes]], mark: bytes) -> None:
    with open(os.path.join(base, name), "rb") as source, open(os.path.join(part, name), "wb") as target:
        target.write(mark)
        for lines in _pieces(source):
            for old, new in changes:
                lines = lines.replace(old, new)
            target.write(lines)
        # The last line end stands before no line.
        target.seek(-len(mark), os.SEEK_CUR)
        target.truncate()


def _pieces(source) -> Iterator[bytes]:
    while data := source.read(1 << 24):
        yield data + source.readline()


def make_parquet(folder: str, gigabytes: float) -> str:
    """Writes one Parquet file whose lists repeat, so that it is a thousandth of what it holds; gives its folder."""
    log = os.path.join(folder, "log")
    shutil.rmtree(log, ignore_errors=True)
    os.makedirs(log)
    width = 200
    rows = int(gigabytes * 1e9 / 8 / width)
    number = np.arange(rows)
    lists = pa.ListArray.from_arrays(
        pa.array(np.arange(rows + 1, dtype=np.int32) * width),
        pa.array(np.repeat(number // 1000 % 50, width)),
    )
    click = (number % 7 == 0).astype(np.int64)
    columns = {"user": number // 10, "sample_id": number, "click": click, "conversion": click * (number % 3 == 0)}
    table = pa.table({**columns, "items": lists, "item": number % 100})
    pyarrow.parquet.write_table(table, os.path.join(log, "train.parquet"), compression="zstd", row_group_size=rows)
    with open(os.path.join(log, "schema.yaml"), "w", encoding="utf-8") as file:
        file.write(_SCHEMA)
    return log


def run(folder: str, log: str, workers: int, *more: str) -> None:
    """Runs the job and prints what it took."""
    out = os.path.join(folder, "out")
    shutil.rmtree(out, ignore_errors=True)
    free = shutil.disk_usage(folder).free
    command = [sys.executable, "-m", "preprocess", f"--input_dir={log}", f"--output_dir={out}", "--splits=train"]
    command += [f"--direct_num_workers={workers}", *more]
    begin, peak, disk = time.time(), 0, 0
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL) as process:
        told, since = begin, 0
        while process.poll() is None:
            since = max(since, _resident(process.pid))
            disk = max(disk, free - shutil.disk_usage(folder).free)
            if time.time() - told > _SECONDS_PER_LINE:
                print(f"  {time.time() - begin:4.0f} s  {since / 1e9:.2f} GB at most since the line before", flush=True)
                told, peak, since = time.time(), max(peak, since), 0
            time.sleep(_SECONDS)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}")
    shutil.rmtree(out)
    peak = max(peak, since)
    print(f"  done in {time.time() - begin:.0f} s, peak {peak / 1e9:.2f} GB, most disk {disk / 1e9:.1f} GB", flush=True)


def _resident(process_id: int) -> int:
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(process_id)
        for each in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                total += each.memory_info().rss
    return total


def _bytes_below(folder: str) -> int:
    return sum(os.path.getsize(os.path.join(at, name)) for at, _, files in os.walk(folder) for name in files)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="where the logs and the outputs are made")
    parser.add_argument("--gigabytes", default="2,20", help="sizes of the log")
    parser.add_argument("--workers", type=int, default=2, help="of the job")
    parser.add_argument("--parquet", action="store_true", help="Parquet files of 1, 2 and 3 GB in memory instead")
    parser.add_argument("--only_log", action="store_true", help="make the logs, and run nothing")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    folder, workers = os.path.abspath(arguments.folder), arguments.workers
    os.makedirs(folder, exist_ok=True)
    if arguments.parquet:
        for gigabytes in (1, 2, 3):
            log = make_parquet(folder, gigabytes)
            megabytes = _bytes_below(log) / 1e6
            print(f"{gigabytes} GB in memory, Parquet of {megabytes:.1f} MB, {workers} workers", flush=True)
            run(folder, log, workers, "--input_format=parquet", f"--schema={log}/schema.yaml", "--min_count=1")
            shutil.rmtree(log)
        return
    for gigabytes in map(float, arguments.gigabytes.split(",")):
        log = make_log(folder, gigabytes)
        if not arguments.only_log:
            print(f"log of {_bytes_below(os.path.dirname(log)) / 1e9:.2f} GB, {workers} workers", flush=True)
            run(folder, log, workers)
            shutil.rmtree(os.path.dirname(log))


if __name__ == "__main__":
    main()
