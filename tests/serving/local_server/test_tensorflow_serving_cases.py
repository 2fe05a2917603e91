"""The answers that TensorFlow Serving 2.15.1 gave to 107 calls: this server gives the same."""

import json
import pathlib
import subprocess
import sys

import pytest
from local_server_examples import running_server

RECORDED = pathlib.Path(__file__).resolve().parents[4] / "shared" / "tfserving"

CONFIG = """
model_config_list {{
  config {{
    name: "toy"
    base_path: "{base}"
    model_platform: "tensorflow"
    model_version_policy {{ all {{}} }}
    version_labels {{ key: "stable" value: 3 }}
    version_labels {{ key: "canary" value: 7 }}
  }}
}}
"""


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded answers of TensorFlow Serving are not here")
def test_recorded_calls_get_the_recorded_answers(tmp_path):
    subprocess.run([sys.executable, RECORDED / "make_model.py", tmp_path], check=True, capture_output=True)
    config = tmp_path / "models.config"
    config.write_text(CONFIG.format(base=tmp_path / "toy"))
    with running_server(f"--model_config_file={config}") as server:
        compare = [sys.executable, RECORDED / "record.py", server.url, "--compare", RECORDED / "recorded.json"]
        found = subprocess.run(compare, capture_output=True, text=True, check=False)
    count = len(json.loads((RECORDED / "recorded.json").read_text()))
    assert found.returncode == 0, found.stdout + found.stderr
    assert f"{count} passed, 0 failed" in found.stdout
