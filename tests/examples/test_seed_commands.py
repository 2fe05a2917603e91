"""The commands of docs/seeds.md, as they stand there, on a log of a few hundred requests."""

import os
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.commands

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def commands(seed):
    with open(os.path.join(REPOSITORY, "docs", "seeds.md"), encoding="utf-8") as file:
        found = re.search(rf"<!-- seed: {seed} -->\n```bash\n(.*?)```", file.read(), re.DOTALL)
    assert found, seed
    return found.group(1)


@pytest.fixture(scope="module")
def aliccp_log(tmp_path_factory):
    log = tmp_path_factory.mktemp("seeds") / "log"
    flags = [f"--output_dir={log}", "--requests=150", "--test_requests=40", "--history_scale=0.05"]
    subprocess.run([sys.executable, "-m", "simulate", *flags], cwd=REPOSITORY, check=True, capture_output=True)
    return log


@pytest.mark.parametrize("seed", ["deepmtl", "paddle_esmm", "paddlerec_escm2", "easyrec_esmm"])
def test_commands_of_the_guide_run_as_written(seed, aliccp_log, tmp_path):
    raw = tmp_path / "raw" if seed == "easyrec_esmm" else aliccp_log
    folders = {"RAW": raw, "OUT": tmp_path / "out", "MODEL": tmp_path / "model", "EXPORT": tmp_path / "export"}
    path = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
    environment = os.environ | {name: str(folder) for name, folder in folders.items()} | {"PATH": path}
    script = "set -eu\n" + commands(seed)
    done = subprocess.run(["bash", "-c", script], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    if "infer" in script:
        header, *rows = (tmp_path / "model" / "predictions.csv").read_text().splitlines()
        assert header == "sample_id,pctr,pcvr,pctcvr"
        assert len(rows) > 100
    if "export" in script:
        assert any(name.isdigit() for name in os.listdir(tmp_path / "export"))
    if "eval" in script:
        assert list((tmp_path / "model").rglob("eval.json"))
