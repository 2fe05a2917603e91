"""A handful of the kills of docs/reliability.md, so that the command that makes its table goes on working."""

import os
import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.commands

ROOT = pathlib.Path(__file__).resolve().parents[2]


def faults(folder, *flags):
    command = [sys.executable, "benchmarks/faults.py", f"--folder={folder}", "--seed=7", *flags]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_kills_of_the_job_lose_nothing_and_the_count_goes_on_where_it_stopped(tmp_path):
    first = faults(tmp_path, "--stage=publish,preprocess", "--moments=10", "--seconds=0")
    assert first.returncode == 3, first.stdout + first.stderr
    done = faults(tmp_path, "--stage=publish,preprocess", "--moments=10")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(" moments")[0] for line in lines] == ["publish: 10", "preprocess: 10"]
    assert all(line.endswith("nothing lost") for line in lines)
    again = faults(tmp_path, "--stage=publish,preprocess", "--moments=10")
    assert again.stdout == done.stdout


KILLED_AT_ONCE = """
import os, sys, time
from benchmarks.killing.children import Child

for number in range(50):
    child = Child.forked(lambda: time.sleep(100), sys.argv[1])
    child.kill(alone=bool(number % 2))
    try:
        os.kill(child.pid, 0)
    except ProcessLookupError:
        continue
    sys.exit(f"process {number} goes on")
"""


def test_a_process_that_is_killed_before_it_has_begun_is_dead(tmp_path):
    command = [sys.executable, "-c", KILLED_AT_ONCE, str(tmp_path / "log")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


HASTY = """
import runpy, sys, time
from storage import files, publish

publish_well = publish.Output.publish

def publish_hastily(output, parts):
    files.remove(f"{output.folder}/part0")
    time.sleep(0.05)
    publish_well(output, parts)

publish.Output.publish = publish_hastily
sys.path.insert(0, "benchmarks")
runpy.run_path("benchmarks/faults.py", run_name="__main__")
"""


def test_a_putting_in_place_that_first_removes_what_was_there_is_found_out(tmp_path):
    command = [sys.executable, "-c", HASTY, f"--folder={tmp_path}", "--stage=publish", "--moments=20"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "LOST" in done.stdout, done.stdout + done.stderr
