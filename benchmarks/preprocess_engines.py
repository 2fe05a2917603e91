"""How long the job takes on Flink, Spark and Dask, against the local runner: one log, one machine, two workers each.

python benchmarks/preprocess_engines.py --folder=DIR [--requests=1500] [--engines=local,dask,flink,spark]

Flink is a job manager and two task managers, Spark two executors, both with Python workers of their own; Dask is a
scheduler and two worker processes. Needs Java and Maven, but for local and dask. Seconds are those of the command, the
start of job server, context and workers included; behind them those until the first step was done, mostly such a start.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from pipeline import REPOSITORY, Workshop

sys.path.insert(0, os.path.join(REPOSITORY, "tools", "engines"))

import clusters
import job_servers

Flags = tuple[list[str], dict[str, str]]


@contextlib.contextmanager
def local(folder: pathlib.Path) -> Iterator[Flags]:
    """The local runner."""
    yield ["--direct_num_workers=2"], {}


@contextlib.contextmanager
def dask(folder: pathlib.Path) -> Iterator[Flags]:
    """A scheduler and two worker processes."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(folder)) as made:
        yield ["--runner=DaskRunner", f"--dask_client_address={made.scheduler_address}"], {}


@contextlib.contextmanager
def flink(folder: pathlib.Path) -> Iterator[Flags]:
    """A job manager and two task managers."""
    flags = ["--runner=FlinkRunner", f"--flink_job_server_jar={job_servers.jar('flink')}", "--parallelism=2"]
    with clusters.flink(folder, job_servers.CACHE) as address:
        yield [*flags, f"--flink_master={address}", *clusters.worker_flags(folder)], {}


@contextlib.contextmanager
def spark(folder: pathlib.Path) -> Iterator[Flags]:
    """Two executors."""
    flags = ["--runner=SparkRunner", *clusters.spark_flags(), f"--spark_job_server_jar={job_servers.jar('spark')}"]
    yield [*flags, *clusters.worker_flags(folder)], clusters.spark_environment(folder, job_servers.CACHE)


ENGINES = {"local": local, "dask": dask, "flink": flink, "spark": spark}


def run(engine: str, log: str) -> tuple[float, str, str]:
    """Seconds of the command, those until its first step was done, and a digest of the records and the vocabulary."""
    with tempfile.TemporaryDirectory() as folder, ENGINES[engine](pathlib.Path(folder)) as (flags, environment):
        out = os.path.join(folder, "out")
        command = [sys.executable, "-m", "preprocess", f"--input_dir={log}", f"--output_dir={out}", *flags]
        begin = time.time()
        done = subprocess.run(
            command, cwd=REPOSITORY, env=os.environ | environment, capture_output=True, text=True, check=False
        )
        seconds = time.time() - begin
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr[-2000:]}")
        started = re.search(r"1/\d+ \w+ done after (\d+) s", done.stderr)
        return seconds, started[1] if started else "", _digest(pathlib.Path(out))


def _digest(out: pathlib.Path) -> str:
    found = hashlib.sha256()
    for part in ("vocabulary", "train", "test"):
        for path in sorted((out / part).rglob("*")):
            if path.is_file():
                found.update(path.read_bytes())
    return found.hexdigest()


def size_of(log: str) -> float:
    """Megabytes of a log."""
    names = ("common_features_*.csv", "sample_skeleton_*.csv")
    return sum(path.stat().st_size for name in names for path in pathlib.Path(log).glob(name)) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="keeps the log")
    parser.add_argument("--requests", type=int, default=1500, help="of the log")
    parser.add_argument("--engines", default=",".join(ENGINES))
    arguments = parser.parse_args()
    shop = Workshop(arguments.folder)
    log = shop.log(f"--requests={arguments.requests}", f"--test_requests={arguments.requests // 10}", "--seed=1")
    size = f"log of {size_of(log):.0f} MB"
    print(f"| engine | {size} | first step done after | times the local runner's | the same bytes |")
    print("|---|---|---|---|---|")
    first: tuple[float, str, str] | None = None
    for engine in arguments.engines.split(","):
        seconds, started, digest = run(engine, log)
        first = first or (seconds, started, digest)
        same = "yes" if digest == first[2] else "NO"
        print(f"| {engine} | {seconds:.1f} s | {started} s | {seconds / first[0]:.1f} | {same} |", flush=True)


if __name__ == "__main__":
    main()
