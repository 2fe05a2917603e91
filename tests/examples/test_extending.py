"""The code of docs/extending.md and examples/in_python.py, as they stand."""

import os
import re
import subprocess
import sys

import pytest
from record_examples import small_schema, write_data_dir

pytestmark = pytest.mark.commands

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE = os.path.join(REPOSITORY, "docs", "extending.md")
IN_PYTHON = os.path.join(REPOSITORY, "examples", "in_python.py")
MOST_LINES = 40


def blocks():
    with open(PAGE, encoding="utf-8") as file:
        return re.findall(r"```python\n(.*?)```", file.read(), re.DOTALL)


def run(folder, *command):
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([REPOSITORY, os.path.join(REPOSITORY, "examples")]),
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    done = subprocess.run([sys.executable, *command], env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_what_the_page_adds_trains_scores_and_exports(tmp_path):
    data, model, export = (str(tmp_path / name) for name in ("data", "model", "export"))
    write_data_dir(data, small_schema())
    script = tmp_path / "extended.py"
    ending = f"""
import in_python
found = in_python.run({data!r}, {model!r}, {export!r}, SETTINGS)
print("lift", found["ctr_top_lift"])
import tensorflow as tf
print("variables", *[name for name, _ in tf.train.list_variables({model!r})])
"""
    script.write_text("\n".join([*blocks(), ending]))
    printed = run(tmp_path, str(script))
    lift = float(re.search(r"lift (\S+)", printed).group(1))
    assert 0 <= lift <= 10
    assert "model/towers/missed/logit/kernel" in printed
    assert "model/bottom/layer_0/kernel" in printed
    assert "exported" in printed


def test_a_model_is_short_to_add():
    code = [line for line in blocks()[0].splitlines() if line.strip()]
    assert len(code) < MOST_LINES


def test_the_library_is_used_without_flags(tmp_path):
    data, model, export = (str(tmp_path / name) for name in ("data", "model", "export"))
    write_data_dir(data, small_schema())
    printed = run(tmp_path, IN_PYTHON, data, model, export)
    assert "'ctcvr_auc'" in printed
    assert os.listdir(export)
