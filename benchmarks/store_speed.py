"""How fast files pass to and from a store: what training on s3:// or hdfs:// waits for before its first step.

python benchmarks/store_speed.py --store=s3://bucket/folder [--megabytes=256] [--files=16]
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time

import storage
from storage import files, staging


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, help="folder that is made and removed")
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--files", type=int, default=16)
    given = parser.parse_args()
    local, remote = tempfile.mkdtemp(), given.store.rstrip("/") + "/store_speed"
    names = [f"part-{number:05d}" for number in range(given.files)]
    for name in names:
        storage.write(f"{local}/{name}", [os.urandom(given.megabytes * 1_000_000 // given.files)])
    begin = time.monotonic()
    files.copy_many([f"{local}/{name}" for name in names], [f"{local}/copy/{name}" for name in names])
    copied = time.monotonic()
    files.copy_many([f"{local}/{name}" for name in names], [f"{remote}/{name}" for name in names])
    written = time.monotonic()
    with staging.opened(print) as stage:
        stage.read(remote)
        read = time.monotonic()
    storage.remove(remote)
    shutil.rmtree(local)
    for what, seconds in (
        ("local copy", copied - begin),
        ("to the store", written - copied),
        ("from it", read - written),
    ):
        print(f"{what}: {given.megabytes / seconds:,.0f} MB/s")


if __name__ == "__main__":
    main()
