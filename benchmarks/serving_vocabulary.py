"""The id map in the serving graph: a search in the sorted arrays against a hash table made of them.

python benchmarks/serving_vocabulary.py --folder=OUT [--ids=4500000] [--keys=8000] [--calls=300]

8,000 keys are what a request of 600 history ids and 500 candidates asks for. Each way runs in a process of its own;
prints seconds to initialize, memory, p50 and p99 of a lookup of all keys, and ratios.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import psutil
import tensorflow as tf

from features.vocabulary import UNKNOWN

v1 = tf.compat.v1


def array(path: str, dtype: tf.DType) -> tf.Tensor:
    return tf.io.decode_raw(tf.io.read_file(path), dtype)


def search(keys_path: str, ids_path: str, count: int, asked: tf.Tensor) -> tf.Tensor:
    """Local variables of the arrays and a binary search."""
    keys, ids = (
        v1.get_variable(
            name,
            initializer=lambda path=path, dtype=dtype: tf.ensure_shape(array(path, dtype), [count]),
            trainable=False,
            collections=[v1.GraphKeys.LOCAL_VARIABLES],
            use_resource=True,
        ).read_value()
        for name, path, dtype in (("keys", keys_path, tf.int64), ("ids", ids_path, tf.int32))
    )
    places = tf.minimum(tf.searchsorted(keys, asked), count - 1)
    return tf.where(tf.equal(tf.gather(keys, places), asked), tf.gather(ids, places), UNKNOWN)


def table(keys_path: str, ids_path: str, count: int, asked: tf.Tensor) -> tf.Tensor:
    """As serving.graph.graph_vocabulary does."""
    ids = tf.cast(array(ids_path, tf.int32), tf.int64)
    entries = tf.lookup.KeyValueTensorInitializer(array(keys_path, tf.int64), ids)
    return tf.cast(tf.lookup.StaticHashTable(entries, UNKNOWN).lookup(asked), tf.int32)


WAYS = {"search": search, "table": table}


def measure(way: str, folder: str, arguments: argparse.Namespace) -> None:
    """Prints seconds to initialize, MB grown, p50 and p99 in ms."""
    paths = os.path.join(folder, "keys"), os.path.join(folder, "ids")
    keys = np.fromfile(paths[0], np.int64)
    rng = np.random.default_rng(1)
    calls = [rng.choice(keys, arguments.keys) + (rng.random(arguments.keys) < 0.05) for _ in range(arguments.calls)]
    before = psutil.Process().memory_info().rss
    with tf.Graph().as_default(), v1.Session() as session:
        asked = v1.placeholder(tf.int64, [None])
        found = WAYS[way](*paths, len(keys), asked)
        start = time.perf_counter()
        session.run([v1.local_variables_initializer(), v1.tables_initializer()])
        initialized = time.perf_counter() - start
        grown = psutil.Process().memory_info().rss - before
        look_up = session.make_callable(found, [asked])
        times = []
        for number, call in enumerate([*calls[:10], *calls]):
            start = time.perf_counter()
            result = look_up(call)
            if number >= 10:
                times.append(time.perf_counter() - start)
        # A key that is no multiple of 3 is unknown.
        assert ((result != UNKNOWN) == (call % 3 == 0)).all()
    p50, p99 = np.percentile(times, [50, 99]) * 1e3
    print(initialized, grown / 1e6, p50, p99)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="for the two arrays")
    parser.add_argument("--ids", type=int, default=4_500_000)
    parser.add_argument("--keys", type=int, default=8_000)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = os.path.join(arguments.folder, f"arrays-{arguments.ids}")
    if arguments.way:
        measure(arguments.way, folder, arguments)
        return
    os.makedirs(folder, exist_ok=True)
    (3 * np.arange(arguments.ids, dtype=np.int64)).tofile(os.path.join(folder, "keys"))
    np.random.default_rng(0).permutation(arguments.ids).astype(np.int32).tofile(os.path.join(folder, "ids"))
    figures = {}
    for way in WAYS:
        command = [sys.executable, os.path.abspath(__file__), *sys.argv[1:], f"--way={way}"]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        figures[way] = initialized, grown, p50, p99 = [float(part) for part in output.split()]
        print(f"{way:7} initialized in {initialized:.2f} s, {grown:4.0f} MB, p50 {p50:6.2f} ms, p99 {p99:6.2f} ms")
    names = ("time to initialize", "memory", "p50", "p99")
    for name, of_table, of_search in zip(names, figures["table"], figures["search"], strict=True):
        print(f"table / search, {name}: {of_table / of_search:.2f}")


if __name__ == "__main__":
    main()
