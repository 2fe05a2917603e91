"""What a table of float16 costs and saves: AUC on a simulated log; bytes, load time and memory at a large size.

python benchmarks/table_precision.py --folder=DIR [--requests=2000] [--ids=4500000] [--runs=3]

The model of the AUCs is trained by the recommended recipe on a simulated log, exported twice, and each version scores
the raw rows of the test split through its signature; the large one is serving_model's, weights as initialized. What is
finished is kept.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import psutil
import serving_model
from pipeline import RECIPE, REPOSITORY

from features import names, raw_requests, schema_file
from serving import export, saved_model_files
from serving.export_options import TABLE_PRECISIONS, ExportOptions

AUCS = ("ctr_auc", "cvr_auc", "ctcvr_auc")


def run(module: str, *flags: str) -> None:
    command = [sys.executable, "-m", module, *flags]
    environment = os.environ | {"PYTHONPATH": REPOSITORY}
    subprocess.run(command, check=True, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL)


def trained(folder: str, requests: int) -> tuple[str, str, str]:
    """Log, records and model, made once."""
    log, data, model = (os.path.join(folder, name) for name in ("log", "data", "model"))
    size = (f"--requests={requests}", f"--test_requests={requests // 5}", "--history_scale=0.1")
    if not os.path.exists(log):
        run("simulate", f"--output_dir={log}", *size)
    if not os.path.exists(data):
        run("preprocess", f"--input_dir={log}", f"--output_dir={data}", "--min_count=5")
    if not os.path.exists(model):
        run("trainer", "--task_type=train", f"--data_dir={data}", f"--model_dir={model}.unfinished", RECIPE)
        os.rename(f"{model}.unfinished", model)
    return log, data, model


def judged(folder: str, precision: str, requests: int) -> dict[str, float]:
    """The judge's figures of an export of this precision."""
    base = os.path.join(folder, precision)
    figures = base + ".json"
    if not os.path.exists(figures):
        log, data, model = trained(folder, requests)
        where = (f"--data_dir={data}", f"--model_dir={model}", f"--export_dir={base}")
        run("trainer", "--task_type=export", *where, f"--table_precision={precision}")
        write_scores(log, os.path.join(base, str(saved_model_files.versions(base)[-1])), base + ".csv")
        run("simulate.judge", f"--input_dir={log}", f"--predictions={base}.csv", f"--output={figures}")
    with open(figures, encoding="utf-8") as file:
        return json.load(file)


def write_scores(log: str, version: str, out: str) -> None:
    """Scores of a version that is given the raw rows of the log's test split, as CSV."""
    from serving import trial

    schema = schema_file.load(names.ALICCP)
    with trial.LoadedVersion(version) as loaded, open(out, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([names.SAMPLE_ID, *names.SCORES])
        for request in raw_requests.read(log, names.TEST, schema, names.ALICCP):
            (scores,) = itertools.islice(loaded.scores_by_signature(request), 1)
            writer.writerows(zip(request.sample_ids, *(scores[name].tolist() for name in names.SCORES), strict=True))


def load_once(path: str) -> None:
    """Prints seconds of loading and MB that the process grew by."""
    import tensorflow as tf

    v1 = tf.compat.v1
    before, began = psutil.Process().memory_info().rss, time.perf_counter()
    with tf.Graph().as_default(), v1.Session() as session:
        v1.saved_model.loader.load(session, [tf.saved_model.SERVING], path)
        print(time.perf_counter() - began, (psutil.Process().memory_info().rss - before) / 1e6)


def loading(path: str, runs: int) -> str:
    """Medians over processes, and the bytes of the weights."""
    command = [sys.executable, os.path.abspath(__file__), "--folder=", f"--load={path}"]
    found = [
        list(map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()))
        for _ in range(runs)
    ]
    seconds, grown = (statistics.median(column) for column in zip(*found, strict=True))
    size = os.path.getsize(os.path.join(path, "variables", "variables.data-00000-of-00001"))
    return f"{size / 1e6:.0f} MB of weights, loaded in {seconds:.2f} s, by {grown:.0f} MB"


def large_versions(folder: str, ids: int) -> dict[str, str]:
    """A version of each precision of a model with so many ids."""
    whole = serving_model.version_dir(folder, ids)
    base, vocabulary = os.path.join(folder, "half"), os.path.join(folder, names.VOCABULARY_DIR)
    if not saved_model_files.versions(base):
        checkpoint = os.path.join(folder, "model", "model.ckpt")
        options = ExportOptions(table_precision=TABLE_PRECISIONS[1])
        export.export_saved_model(base, checkpoint, vocabulary, serving_model.SETTINGS, options)
    half = os.path.join(base, str(saved_model_files.versions(base)[-1]))
    return dict(zip(TABLE_PRECISIONS, (whole, half), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--ids", type=int, default=4_500_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--load", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.load:
        load_once(arguments.load)
        return
    for precision in TABLE_PRECISIONS:
        figures = judged(arguments.folder, precision, arguments.requests)
        print(f"{precision}: " + ", ".join(f"{name} {figures[name]:.5f}" for name in AUCS), flush=True)
    for precision, path in large_versions(os.path.join(arguments.folder, "large"), arguments.ids).items():
        print(f"{precision}, {arguments.ids:,} ids: {loading(path, arguments.runs)}", flush=True)


if __name__ == "__main__":
    main()
