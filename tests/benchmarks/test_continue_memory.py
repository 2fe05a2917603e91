"""A training takes the memory of its table and its optimizer's state, also where it goes on from another model."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.commands

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_neither_the_start_nor_a_checkpoint_copies_the_table(tmp_path):
    command = [sys.executable, "benchmarks/continue_memory.py", f"--folder={tmp_path}", "--ids=2000000"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = dict(re.findall(r"^(from nothing|--continue_from): .* ([\d.]+) times table", done.stdout, re.MULTILINE))
    # A copy of the table, or of its optimizer's state, is half of one more.
    assert {name for name, times in found.items() if float(times) < 1.45} == {"from nothing", "--continue_from"}, found
