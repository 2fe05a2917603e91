"""What the exchange through files plans and remembers as a log grows: time, memory and reads, by sizes alone.

python -m benchmarks.preprocess_exchange [--gigabytes=2,20,1000] [--folder=DIR]

No log is needed and no row is written: the files that parsing a log of this size would leave are made up, each with the
places of its buckets, and the job's own functions make the plans of them.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import app, flags

from features import schema_file
from preprocess import partition
from preprocess.exchange import channels, files
from preprocess.exchange.files import Run
from preprocess.job import Job
from preprocess.options import Options
from preprocess.read.inputs import InputFile

flags.DEFINE_list("gigabytes", ["2", "20", "1000"], "Sizes of the log.")
flags.DEFINE_string("folder", "", "Where the plans are written and then removed; empty: a temporary folder.")
flags.DEFINE_bool("alone", False, "Measure the first size in this process.")

_FILE_BYTES = 1 << 30
_STEP = "ParseBlocks"


def _job(gigabytes: float, folder: str) -> Job:
    options = Options(input_dir="log", output_dir=folder, splits=("train",))
    count = max(1, round(gigabytes * 1e9 / _FILE_BYTES))
    size = int(gigabytes * 1e9 / count)
    found = [InputFile(index, f"log-{index:05d}.csv", size, "train") for index in range(count)]
    return Job(options, schema_file.load("aliccp"), tuple(found), partition.plan(found, options), folder)


def _runs(job: Job, blocks: int, bytes_each: int) -> list[Run]:
    cells = files.layout(job, channels.IMPRESSIONS).buckets
    generator = np.random.default_rng(0)
    edges = np.zeros(cells + 1, np.int64)
    runs = []
    for task in range(blocks):
        edges[1:] = np.cumsum(generator.poisson(bytes_each / cells, cells))
        runs.append(Run(channels.IMPRESSIONS, _STEP, task, 0, 0, edges.copy()))
    return runs


def _regrouped(job: Job, tasks: list[files.Regrouping]) -> list[Run]:
    layout = files.layout(job, channels.IMPRESSIONS)
    sender = files.regrouped_sender(_STEP)
    runs = []
    for number, task in enumerate(tasks):
        edges = np.arange(layout.keys_of(task.bucket) + 1, dtype=np.int64) * 1000
        runs.append(Run(channels.IMPRESSIONS, sender, number, 0, task.bucket * layout.width, edges))
    return runs


def _measure(gigabytes: float) -> str:
    with tempfile.TemporaryDirectory(dir=flags.FLAGS.folder or None) as folder:
        job = _job(gigabytes, folder)
        blocks = int(gigabytes * 1e9 / job.options.block_size)
        layout = files.layout(job, channels.IMPRESSIONS)
        runs = _runs(job, blocks, job.options.block_size // 2)
        before = time.perf_counter()
        files.save_index(job, channels.IMPRESSIONS, _STEP, layout.buckets, runs)
        reads, slices = blocks * layout.buckets, 0
        if layout.is_wide:
            tasks = files.plan_regrouping(job, channels.IMPRESSIONS, _STEP)
            slices = len(tasks)
            regrouped = _regrouped(job, tasks)
            files.save_index(job, channels.IMPRESSIONS, files.regrouped_sender(_STEP), layout.keys, regrouped)
            reads += sum(len(run.edges) - 1 for run in regrouped)
        seconds = time.perf_counter() - before
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return (
            f"{gigabytes:6g} GB: {blocks:6,} blocks, {job.partitions.count:6,} partitions, {slices:6,} regroupings, "
            f"{reads:11,} reads ({reads / gigabytes:,.0f} per GB), plans {seconds:6.1f} s, peak {peak:6,.0f} MiB"
        )


def main(_: list[str]) -> None:
    """Measures each size in a process of its own."""
    if flags.FLAGS.alone:
        print(_measure(float(flags.FLAGS.gigabytes[0])), flush=True)
        return
    for size in flags.FLAGS.gigabytes:
        arguments = [f"--gigabytes={size}", "--alone", f"--folder={flags.FLAGS.folder}"]
        subprocess.run([sys.executable, "-m", "benchmarks.preprocess_exchange", *arguments], check=True)


if __name__ == "__main__":
    app.run(main)
