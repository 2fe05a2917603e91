"""The examples, run as the README says, at small scale."""

import csv
import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.commands

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HILLSTROM = os.path.join(REPOSITORY, "..", "shared", "data", "hillstrom")
# Published with the data: visits and purchases among the 64,000 customers.
VISITS, PURCHASES = 9394, 578


def run(*command):
    done = subprocess.run([sys.executable, *command], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def scores(path):
    with open(path, encoding="utf-8", newline="") as file:
        return {
            row["sample_id"]: [float(row[name]) for name in ("pctr", "pcvr", "pctcvr")] for row in csv.DictReader(file)
        }


def largest_difference(batch, rest):
    shared = batch.keys() & rest.keys()
    assert shared
    return max(abs(a - b) for key in shared for a, b in zip(batch[key], rest[key], strict=True))


def test_demo_from_log_to_answers(tmp_path):
    out = tmp_path / "demo"
    command = ["examples/aliccp/run.py", f"--output_dir={out}", "--requests=300", "--test_requests=80"]
    command += ["--history_scale=0.05", "--rest_requests=20", "--models=esmm,escm2_dr"]
    printed = run(*command)
    summary = (out / "summary.md").read_text()
    assert summary in printed
    for part in (
        "## Quality",
        "escm2_dr",
        "the truth itself",
        "bias of pCVR",
        "CVR AUC, all",
        "is the standard error",
        "Take e",
        "## Parity",
        "## Sizes",
        "## Where to look",
    ):
        assert part in summary
    assert largest_difference(scores(out / "batch_esmm.csv"), scores(out / "rest.csv")) <= 1e-6
    again = run(*command)
    assert again.count("done before") == 12, "everything but the REST step is done already"


@pytest.mark.chains
def test_demo_on_files_that_are_there(tmp_path):
    log, out = tmp_path / "log", tmp_path / "demo"
    flags = ["--requests=200", "--test_requests=50", "--seed=3", "--history_scale=0.05"]
    run("-m", "simulate", f"--output_dir={log}", *flags)
    printed = run(
        "examples/aliccp/run.py", f"--output_dir={out}", f"--input_dir={log}", "--rest_requests=10", "--models=esmm"
    )
    assert "the truth itself" not in printed, "of a log of one's own nobody knows the truth"
    assert largest_difference(scores(out / "batch_esmm.csv"), scores(out / "rest.csv")) <= 1e-6


@pytest.mark.chains
@pytest.mark.skipif(not os.path.isdir(HILLSTROM), reason="the data is not part of the project")
def test_hillstrom_from_words_to_answers(tmp_path):
    out = tmp_path / "out"
    printed = run("examples/hillstrom/run.py", f"--input_dir={HILLSTROM}", f"--output_dir={out}")
    report = json.loads((out / "data" / "report" / "report.json").read_text())
    splits = report["splits"].values()
    assert sum(split["impressions"] for split in splits) == 64_000
    assert sum(split["clicks"] for split in splits) == VISITS
    assert sum(split["conversions"] for split in splits) == PURCHASES
    assert largest_difference(scores(out / "batch.csv"), scores(out / "rest.csv")) <= 1e-6
    assert "Womens E-Mail" in printed
    assert json.loads((out / "model" / "eval.json").read_text())["ctr_auc"] > 0.58
