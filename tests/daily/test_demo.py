"""The demo of seven days: the real commands, the curve, and the day that is refused."""

import json
import os
import subprocess
import sys

import pytest

DEMO = os.path.join(os.path.dirname(__file__), "..", "..", "examples", "daily", "run.py")


def gate(folder, date):
    with open(folder / "out" / "days" / date / "gate.json", encoding="utf-8") as file:
        return json.load(file)


@pytest.mark.days
def test_the_spoilt_day_is_refused_and_the_others_are_served(tmp_path):
    command = [sys.executable, DEMO, f"--output_dir={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    *_, table = done.stdout.split("\n\n")
    decisions = {line.split()[0]: line for line in table.splitlines()[1:] if line.startswith("2026")}
    assert len(decisions) == 7
    refused = [date for date, line in decisions.items() if "REFUSED" in line]
    assert refused == ["2026-01-05"]
    assert any("ctr_calibration on yesterday's test rows" in reason for reason in gate(tmp_path, refused[0])["reasons"])
    served = [name for name in os.listdir(tmp_path / "out" / "served") if name.isdigit()]
    assert len(served) == 6
    assert gate(tmp_path, "2026-01-06")["parent"] == "2026-01-04"
