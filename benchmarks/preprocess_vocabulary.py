"""The vocabulary at 100 million ids: bytes an id, time to load, look-ups a second.

python benchmarks/preprocess_vocabulary.py [--ids=100000000]
"""

import argparse
import os
import tempfile
import time

import numpy as np

from features import schema_file, vocabulary
from features.vocabulary import Vocabulary

QUERIES = 1_000_000
LARGEST_GAP = 1 << 32


def seconds(function, *arguments):
    begin = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ids", type=int, default=100_000_000)
    count = parser.parse_args().ids
    random = np.random.default_rng(1)
    schema = schema_file.load("aliccp")
    keys = np.cumsum(random.integers(1, LARGEST_GAP, count))
    ids = random.permutation(np.arange(schema.reserved_ids, schema.reserved_ids + count, dtype=np.int32))
    with tempfile.TemporaryDirectory() as parent:
        folder = os.path.join(parent, "vocabulary")
        saving = seconds(Vocabulary(schema, keys, ids).save, folder)
        size = sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder))
        loading = min(seconds(vocabulary.load, folder) for _ in range(3))
        loaded = vocabulary.load(folder)
        places = random.integers(0, count, QUERIES)
        shuffled, ascending = keys[places], keys[np.sort(places)]
        if not np.array_equal(loaded.lookup(shuffled), ids[places]):
            raise SystemExit("wrong ids")
        speeds = {
            "shuffled": QUERIES / min(seconds(loaded.lookup, shuffled) for _ in range(3)),
            "ascending": QUERIES / min(seconds(loaded.lookup, ascending) for _ in range(3)),
        }
    print(f"{count:,} ids: {size / count:.2f} bytes an id, saved in {saving:.1f} s, loaded in {loading * 1e3:.1f} ms")
    print("look-ups a second: " + ", ".join(f"{name} {speed / 1e6:.2f} million" for name, speed in speeds.items()))


if __name__ == "__main__":
    main()
