"""Ids carried from one day's vocabulary to the next: seconds, and memory beside the mapped files.

python benchmarks/carry_ids.py [--ids=100000000] [--day=2000000] [--folder=DIR]
"""

import argparse
import os
import tempfile
import time

import numpy as np
import psutil

from features import schema_file, vocabulary
from features.vocabulary import Vocabulary
from preprocess.generations import history, next_vocabulary
from preprocess.generations.history import Counted
from preprocess.job import Job
from preprocess.options import Options

LARGEST_GAP = 1 << 30


def counted(random, keys, fields):
    counts = random.integers(1, 100, len(keys), np.int32).astype(np.float32)
    return Counted(keys, counts, random.integers(0, fields, len(keys), np.int32).astype(np.uint16))


def write_history(folder, schema, count, random):
    """A vocabulary of so many ids, with a history; its keys."""
    keys = np.cumsum(random.integers(1, LARGEST_GAP, count))
    ids = np.arange(schema.reserved_ids, schema.reserved_ids + count, dtype=np.int32)
    Vocabulary(schema, keys, ids, statistics={"min_count": 20}).save(folder)
    known = counted(random, keys, len(schema.fields))
    history.write(folder, {history.COUNTS: [known.counts], history.FIELDS: [known.fields]})
    return keys


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ids", type=int, default=100_000_000)
    parser.add_argument("--day", type=int, default=2_000_000, help="different keys of the day, half of them new")
    parser.add_argument("--folder", default=None, help="where to write some 20 bytes an id, twice")
    arguments = parser.parse_args()
    random = np.random.default_rng(1)
    schema = schema_file.load("aliccp")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as parent:
        folder = os.path.join(parent, "vocabulary")
        keys = write_history(folder, schema, arguments.ids, random)
        known = keys[random.integers(0, len(keys), arguments.day // 2)]
        new = random.integers(0, keys[-1], arguments.day // 2)
        day = counted(random, np.unique(np.concatenate([known, new])), len(schema.fields))
        del keys, known, new
        options = Options("log", os.path.join(parent, "out"), previous_vocabulary=folder, evict_below=2.0)
        job = Job(options, schema, (), None, os.path.join(parent, "job"))
        process = psutil.Process()
        before, began, cpu = process.memory_full_info().uss, time.perf_counter(), time.process_time()
        next_vocabulary.save(job, day, {}, {})
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        grown = process.memory_full_info().uss - before
        made = vocabulary.load(job.vocabulary_dir)
    told = made.generation
    print(
        f"{told['carried']:,} ids carried, {told['added']:,} added and {told['evicted']:,} evicted "
        f"by a day of {len(day.keys):,} keys in {seconds:.1f} s ({cpu:.1f} s of CPU); "
        f"{grown / 2**20:,.0f} MiB of memory of its own more than before"
    )


if __name__ == "__main__":
    main()
