"""How long the job takes on Flink, Spark and Dask, against the local runner: one log, one machine, two workers each.

python benchmarks/preprocess_engines.py --folder=DIR [--requests=2000] [--engines=local,dask,flink,spark]

Flink is a job manager and two task managers, Spark two executors, both with Python workers of a pool; Dask is a
scheduler and two worker processes. Needs Java and Maven, but for local and dask. Seconds are those of the command, the
start of job server, context and workers included; a second log of a tenth tells how many of them are for the start.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import pathlib
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
    jar = job_servers.jar("flink")
    with clusters.flink(folder, job_servers.CACHE) as address, clusters.worker_pool(folder) as (pool, _):
        flags = [
            "--runner=FlinkRunner",
            f"--flink_master={address}",
            f"--flink_job_server_jar={jar}",
            "--parallelism=2",
        ]
        yield [*flags, "--environment_type=EXTERNAL", f"--environment_config={pool}"], {}


@contextlib.contextmanager
def spark(folder: pathlib.Path) -> Iterator[Flags]:
    """Two executors."""
    jar = job_servers.jar("spark")
    with clusters.worker_pool(folder) as (pool, _):
        flags = ["--runner=SparkRunner", *clusters.spark_flags(), f"--spark_job_server_jar={jar}"]
        yield [*flags, *_workers_of(pool)], clusters.spark_environment(folder, job_servers.CACHE)


def _workers_of(pool: str) -> list[str]:
    return ["--environment_type=EXTERNAL", f"--environment_config={pool}"]


ENGINES = {"local": local, "dask": dask, "flink": flink, "spark": spark}


def run(engine: str, log: str) -> tuple[float, str]:
    """Seconds of the command, and a digest of the records and the vocabulary."""
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
        return seconds, _digest(pathlib.Path(out))


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
    parser.add_argument("--folder", required=True, help="keeps the logs")
    parser.add_argument("--requests", type=int, default=2000, help="of the larger log")
    parser.add_argument("--engines", default=",".join(ENGINES))
    arguments = parser.parse_args()
    shop = Workshop(arguments.folder)
    sizes = [arguments.requests // 10, arguments.requests]
    logs = [shop.log(f"--requests={size}", f"--test_requests={size // 10}", "--seed=1") for size in sizes]
    small, large = (size_of(log) for log in logs)
    print(f"| engine | {small:.0f} MB | {large:.0f} MB | times the local runner's | a further MB | the same bytes |")
    print("|---|---|---|---|---|---|")
    first: list[tuple[float, str]] = []
    for engine in arguments.engines.split(","):
        found = [run(engine, log) for log in logs]
        first = first or found
        (little, _), (much, digest) = found
        further = (much - little) / (large - small)
        ratio, same = much / first[1][0], "yes" if digest == first[1][1] else "NO"
        print(f"| {engine} | {little:.1f} s | {much:.1f} s | {ratio:.1f} | {further:.3f} s | {same} |", flush=True)


if __name__ == "__main__":
    main()
