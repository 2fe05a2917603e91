"""kill -9 in each step of a real day loses nothing."""

import os
import subprocess
import sys

import pytest

BENCHMARK = os.path.join(os.path.dirname(__file__), "..", "..", "benchmarks", "daily_kills.py")


@pytest.mark.days
def test_a_day_that_is_killed_in_every_step_is_as_one_that_is_not(tmp_path):
    command = [sys.executable, BENCHMARK, f"--folder={tmp_path}", "--moments=0.5", "--requests=40"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed 4 times, at 50% of each step" in done.stdout and "had ended" not in done.stdout
