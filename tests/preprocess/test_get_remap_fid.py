"""The shell command for people who know it by that name."""

import os
import pathlib
import subprocess
import sys

import preprocess
from features import names
from simulate.options import Options as SimulationOptions
from simulate.simulation import simulate

SCRIPT = pathlib.Path(preprocess.__file__).parent.parent / "get_remap_fid.sh"


def run(*arguments, folder):
    # As in an environment that is in use: its interpreter is the first python3.
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    in_use = {**os.environ, "PATH": path}
    return subprocess.run([SCRIPT, *arguments], cwd=folder, env=in_use, capture_output=True, text=True, check=False)


def test_help(tmp_path):
    found = run("--help", folder=tmp_path)
    assert found.returncode == 0 and "RAW OUT" in found.stdout and "--min_count" in found.stdout


def test_without_arguments_it_tells_how_to_use_it(tmp_path):
    found = run(folder=tmp_path)
    assert found.returncode == 2 and "usage" in found.stderr


def test_it_runs_the_job_from_any_folder(tmp_path):
    simulate(SimulationOptions(seed=1, requests=20, test_requests=5, history_scale=0.05), str(tmp_path / "raw"))
    found = run("raw", "out", "--min_count=2", folder=tmp_path)
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "out" / names.SUCCESS_FILE).exists()
    assert "ids kept" in found.stdout
