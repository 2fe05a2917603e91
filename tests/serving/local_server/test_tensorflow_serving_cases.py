"""The answers that TensorFlow Serving 2.15.1 gave to 107 calls, and to 12 odd ones: this server gives the same."""

import gzip
import http.client
import json
import pathlib
import subprocess
import sys

import pytest
from local_server_examples import running_server, write_toy_model

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


BODY = b'{"inputs": {"user": [3, 5], "user/weight": [0.5, 2.0], "item": [[4, -1], [7, 2]]}}'
# What the recorded descriptions of bodies stand for.
BODIES = {
    "": b"",
    "(docs/tensorflow-serving.md, first body)": BODY,
    "(docs/tensorflow-serving.md, first body) + one NUL byte": BODY + b"\0",
    "(docs/tensorflow-serving.md, first body), gzipped": gzip.compress(BODY),
    "two gzip members, one after the other": gzip.compress(BODY[:20]) + gzip.compress(BODY[20:]),
}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    base = tmp_path_factory.mktemp("toy")
    write_toy_model(str(base / "1"))
    with running_server(f"--model_base_path={base}", "--model_name=esmm") as server:
        yield server


def odd_cases():
    path = RECORDED / "more.json"
    return json.loads(path.read_text()) if path.exists() else []


@pytest.mark.parametrize("case", odd_cases(), ids=lambda case: case["name"])
def test_odd_calls_get_the_recorded_answers(toy, case):
    status, _, answer = toy.call(case["method"], case["path"], BODIES[case["body"]] or None, case["headers"])
    assert status == case["status"]
    if case["answer"] == "(scores)":
        assert len(json.loads(answer)["outputs"]["pctr"]) == 2
    elif case["answer"].startswith("{"):
        assert json.loads(answer)["error"]
    else:
        assert answer.decode() == case["answer"]
    assert toy.call("POST", "/v1/models/esmm:predict", BODY)[0] == http.client.OK
