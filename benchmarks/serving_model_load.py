"""How long a server takes to load a model of Ali-CCP's size, and how much memory the model takes.

python benchmarks/serving_model_load.py --folder=OUT [--ids=4500000] [--runs=5]

Each run is a process of its own: TensorFlow is imported, then the clock starts. The files are in the page cache, as
those of a version that was just written are.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import psutil
import serving_model
import tensorflow as tf

from serving.local_server.servable import Servable

LIMIT_SECONDS = 5.0


def load_once(path: str) -> None:
    """Prints seconds of loading, warm-up included, and MB that the process grew by."""
    before = psutil.Process().memory_info().rss
    start = time.perf_counter()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.saved_model.loader.load(session, [tf.saved_model.SERVING], path)
        loaded = time.perf_counter() - start
        grown = psutil.Process().memory_info().rss - before
    start = time.perf_counter()
    Servable("model", 1, path)
    print(loaded, time.perf_counter() - start, grown / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="keeps the model")
    parser.add_argument("--ids", type=int, default=4_500_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--load", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.load:
        load_once(arguments.load)
        return
    path = serving_model.version_dir(arguments.folder, arguments.ids)
    command = [sys.executable, os.path.abspath(__file__), "--folder=", f"--load={path}"]
    runs = [
        [float(part) for part in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()]
        for _ in range(arguments.runs)
    ]
    loading, with_warm_up, grown = (statistics.median(column) for column in zip(*runs, strict=True))
    print(f"{arguments.ids:,} ids, median of {arguments.runs}: loaded in {loading:.2f} s, by {grown:.0f} MB")
    print(f"by the local server, warm-up included: {with_warm_up:.2f} s")
    shares = " and ".join(f"{seconds / LIMIT_SECONDS:.2f}" for seconds in (loading, with_warm_up))
    print(f"shares of the limit of {LIMIT_SECONDS:.0f} s: {shares}")


if __name__ == "__main__":
    main()
