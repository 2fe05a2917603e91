"""Logs in the shapes of public data sets (examples/SHAPES.md), from raw rows to scores over REST."""

import csv
import glob
import json
import os
import subprocess
import sys

import pytest

from features import schema_file

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(REPOSITORY, "examples"))

from steps import Chain, free_port  # noqa: E402

SHAPES = [
    ("kuairand", "csv", ()),
    ("criteo_attribution", "csv", ()),
    ("aliexpress", "csv", ()),
    ("rechub", "csv", ()),
    ("open_bandit", "parquet", ("--form=parquet",)),
    ("open_bandit", "csv", ("--form=csv",)),
]


def scores(path):
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["sample_id"]: [float(row[name]) for name in ("pctr", "pcvr", "pctcvr")] for row in rows}


@pytest.mark.parametrize("name", sorted({name for name, _, _ in SHAPES}))
def test_the_generator_writes_what_the_schema_names(name, tmp_path):
    generate = [sys.executable, f"{REPOSITORY}/examples/{name}/generate.py", f"--output_dir={tmp_path}", "--rows=20"]
    subprocess.run([*generate, *(["--form=csv"] if name == "open_bandit" else [])], check=True)
    path = next(os.path.join(folder, file) for folder, _, files in os.walk(tmp_path) for file in sorted(files))
    schema = schema_file.load(f"{REPOSITORY}/examples/{name}/schema.yaml")
    with open(path, encoding="utf-8", newline="") as file:
        columns = next(csv.reader(file, delimiter=schema.separator))
    assert set(schema.resolved(columns).named_columns) <= set(columns)


# Of the originals: files in SHARED/NAME that hold so many rows and, where that is published, clicks.
PUBLISHED = [
    ("kuairand", "log_standard_*_pure.csv", 1_436_609, None),
    ("criteo_attribution", "criteo_attribution_dataset.tsv.gz", 16_468_027, None),
    ("open_bandit", "random/men/men.csv", 452_949, 2_321),
    ("open_bandit", "random/women/women.csv", 864_585, 4_163),
    ("open_bandit", "random/all/all.csv", 1_374_327, 4_768),
]
SHARED = os.path.join(REPOSITORY, "..", "shared", "data")


@pytest.mark.chains
@pytest.mark.parametrize(("name", "files", "rows", "clicks"), PUBLISHED, ids=[path for _, path, _, _ in PUBLISHED])
def test_published_counts_of_the_originals(name, files, rows, clicks, tmp_path):
    if not glob.glob(os.path.join(SHARED, name, files)):
        pytest.skip("the data is not part of the project")
    command = [sys.executable, "-m", "preprocess", "--input_format=csv", f"--input_dir={SHARED}/{name}/{files}"]
    command += [f"--schema={REPOSITORY}/examples/{name}/schema.yaml", f"--output_dir={tmp_path}/out", "--keep_useless"]
    subprocess.run(command, check=True, cwd=REPOSITORY)
    with open(tmp_path / "out" / "report" / "report.json", encoding="utf-8") as file:
        report = json.load(file)
    assert report["input"]["rows"] == rows and report["rejected"] == {}
    assert clicks in (None, sum(split["clicks"] for split in report["splits"].values()))


@pytest.mark.chains
@pytest.mark.parametrize(("name", "form", "flags"), SHAPES, ids=[f"{name}-{form}" for name, form, _ in SHAPES])
def test_from_raw_rows_to_scores(name, form, flags, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", REPOSITORY)
    generate = [sys.executable, f"{REPOSITORY}/examples/{name}/generate.py", f"--output_dir={tmp_path}/log", *flags]
    subprocess.run(generate, check=True)
    log = (
        f"--input_format={form}",
        f"--schema={REPOSITORY}/examples/{name}/schema.yaml",
        f"--input_dir={tmp_path}/log",
    )
    trained = (f"--data_dir={tmp_path}/data", f"--model_dir={tmp_path}/model")
    chain, port = Chain(str(tmp_path / "chain"), total=6), free_port()
    chain.run("Preprocess", "preprocess", *log, f"--output_dir={tmp_path}/data", "--min_count=2", "--keep_useless")
    chain.run("Train", "trainer", "--task_type=train", *trained, "--deep_layers=16", "--embedding_size=4")
    chain.run("Evaluate", "trainer", "--task_type=eval", *trained)
    chain.run("Infer", "trainer", "--task_type=infer", *trained, f"--predictions={tmp_path}/batch.csv")
    chain.run("Export", "trainer", "--task_type=export", *trained, f"--export_dir={tmp_path}/export")
    served = (f"--model_base_path={tmp_path}/export", f"--model_name={name}", f"--rest_api_port={port}")
    with chain.server("Serve", "serving", *served, port=port, model=name) as url:
        asked = (f"--server={url}", f"--model_name={name}", f"--predictions={tmp_path}/rest.csv")
        chain.run("Predict", "serving.predict", *log, *asked)
    batch, rest = scores(tmp_path / "batch.csv"), scores(tmp_path / "rest.csv")
    assert batch and batch.keys() <= rest.keys()
    assert max(abs(a - b) for key in batch for a, b in zip(batch[key], rest[key], strict=True)) <= 1e-6
