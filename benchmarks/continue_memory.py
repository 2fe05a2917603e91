"""Peak memory of --continue_from against the size of the new table and its optimizer's state.

python benchmarks/continue_memory.py --folder=DIR [--ids=4000000]

Records of a small log get a vocabulary of so many made-up ids, and another one that shares nine tenths of the keys.
Each training is one step in a process of its own; what it takes with the log's own few ids is subtracted.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys

import numpy as np

from features import names, schema_file
from features.vocabulary import Vocabulary

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WIDTH = 16
# The table and Adagrad's accumulators, float32.
BYTES_AN_ID = 2 * 4 * WIDTH
SETTINGS = (f"--embedding_size={WIDTH}", "--deep_layers=8", "--embedding_optimizer=Adagrad", "--eval_splits=")


def peak(module: str, *flags: str) -> int:
    """Bytes that a command had in memory at most."""
    command = [sys.executable, "-m", module, *flags]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": ROOT}, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: status {process.returncode}")
    return used.ru_maxrss * 1024


def with_vocabulary(data: str, out: str, first: int, count: int, seed: int) -> str:
    """A copy of records with so many made-up ids, from a first key on, in random order."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(data, out)
    shutil.rmtree(names.vocabulary_dir(out))
    schema = schema_file.load(names.ALICCP)
    ids = np.random.default_rng(seed).permutation(count).astype(np.int32) + np.int32(schema.reserved_ids)
    Vocabulary(schema, np.arange(first, first + count), ids).save(names.vocabulary_dir(out))
    return out


def train(folder: str, name: str, data: str, *flags: str) -> int:
    model = os.path.join(folder, name)
    shutil.rmtree(model, ignore_errors=True)
    where = (f"--data_dir={data}", f"--model_dir={model}", "--max_steps=1", "--batch_size=64")
    return peak("trainer", "--task_type=train", *where, *flags)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--ids", type=int, default=4_000_000)
    arguments = parser.parse_args()
    folder = os.path.abspath(arguments.folder)
    log, data = os.path.join(folder, "log"), os.path.join(folder, "data")
    if not os.path.exists(data):
        size = ("--requests=20", "--history_scale=0.05", "--click_rate=0.3", "--conversion_rate=0.5")
        peak("simulate", f"--output_dir={log}", *size, "--overwrite")
        peak("preprocess", f"--input_dir={log}", f"--output_dir={data}", "--splits=train", "--min_count=1")
    first = with_vocabulary(data, os.path.join(folder, "day1"), 1000, arguments.ids, 1)
    second = with_vocabulary(data, os.path.join(folder, "day2"), 1000 + arguments.ids // 10, arguments.ids, 2)
    train(folder, "small", data, *SETTINGS)
    small = train(folder, "small2", data, f"--continue_from={folder}/small", "--eval_splits=")
    alone = train(folder, "model1", first, *SETTINGS)
    continued = train(folder, "model2", second, f"--continue_from={folder}/model1", "--eval_splits=")
    size = arguments.ids * BYTES_AN_ID
    mib = f"{size / 2**20:,.0f} MiB; a process without: {small / 2**20:,.0f} MiB"
    print(f"table and accumulators of {arguments.ids:,} ids: {mib}")
    for name, found in (("from nothing", alone), ("--continue_from", continued)):
        print(f"{name}: peak {found / 2**20:,.0f} MiB, {(found - small) / size:.2f} times table and accumulators")


if __name__ == "__main__":
    main()
