"""docs/first-model.md, run as it stands: a table of 30 columns that nobody has described, to scores over REST."""

import csv
import os
import re
import subprocess
import sys

import pytest

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(REPOSITORY, "examples"))

from steps import Chain, free_port  # noqa: E402

pytestmark = pytest.mark.chains


def commands():
    with open(os.path.join(REPOSITORY, "docs", "first-model.md"), encoding="utf-8") as file:
        return re.search(r"```bash\n(.*?)```", file.read(), re.DOTALL).group(1).split("\n")


def scores(path):
    with open(path, encoding="utf-8", newline="") as file:
        return {
            row["sample_id"]: [float(row[name]) for name in ("pctr", "pcvr", "pctcvr")] for row in csv.DictReader(file)
        }


def test_the_walk_through_as_written(tmp_path, monkeypatch):
    *made, serve = [line for line in commands() if line]
    assert "-m serving" in serve
    environment = os.environ | {
        "PATH": os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"],
        "PYTHONPATH": REPOSITORY,
    }
    made = [line.replace("examples/", f"{REPOSITORY}/examples/") for line in made]
    script = "set -eu\n" + "\n".join(made)
    script += "\npython -m trainer --task_type=infer --data_dir=data --model_dir=model --predictions=batch.csv"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", REPOSITORY)
    port = free_port()
    served = ("--model_base_path=export", "--model_name=shop", f"--rest_api_port={port}")
    chain = Chain(str(tmp_path / "chain"), total=2)
    with chain.server("Serve", "serving", *served, port=port, model="shop") as url:
        log = ("--input_format=csv", "--schema=shop.yaml", "--input_dir=shop")
        asked = (f"--server={url}", "--model_name=shop", "--predictions=rest.csv")
        chain.run("Predict", "serving.predict", *log, *asked)
    batch, rest = scores("batch.csv"), scores("rest.csv")
    assert batch.keys() <= rest.keys()
    assert len(batch) > 1000
    assert max(abs(a - b) for key in batch for a, b in zip(batch[key], rest[key], strict=True)) <= 1e-6
