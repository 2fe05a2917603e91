"""A daily run that is killed in every step, and started again each time, against one that is not.

python benchmarks/daily_kills.py --folder=DIR [--moments=0,0.25,0.5,0.75,0.95] [--requests=60]

A first day is made once. The second is then made without disturbance, and once for each moment: python -m daily gets
kill -9 when so much of the time that a step takes undisturbed is over, in preprocess, train, export and gate one after
the other; the last start goes to the end. Records and vocabulary must be the same bytes, and weights, optimizer state,
progressive.json, all metrics of the gate and what is served the same values. Ends with status 1 where they are not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STEPS = ("preprocess", "train", "export", "gate")
DAYS = ("2026-01-01", "2026-01-02")
FLAGS = (
    f"--preprocess_flags=--min_count=2 --direct_num_workers=1 --schema={REPOSITORY}/examples/daily/demo.yaml",
    "--train_flags=--embedding_size=4 --deep_layers=8 --batch_size=256 --num_threads=1 --learning_rate=0.003",
    # The models of such small days are of no use, and are accepted.
    "--max_regression=1",
    "--calibration=0,1000",
)
PATIENCE_SECONDS = 300
LOADING = "loading"


class Runs:
    """Runs of one log into folders beside it."""

    def __init__(self, folder: str, requests: int) -> None:
        self._folder = os.path.abspath(folder)
        self._log = os.path.join(self._folder, "log")
        self._environment = os.environ | {"PYTHONPATH": os.pathsep.join([REPOSITORY, os.environ.get("PYTHONPATH", "")])}
        os.makedirs(self._folder, exist_ok=True)
        size = (f"--requests={requests}", f"--test_requests={requests // 2}", f"--days={len(DAYS)}")
        world = ("--history_scale=0.05", "--click_rate=0.2", "--conversion_rate=0.3", "--overwrite")
        self._wait(self._start("simulate", f"--output_dir={self._log}", *size, *world))
        self._first = self._path("first")
        self._wait(self._daily(self._first, f"--days=..{DAYS[0]}"))

    def undisturbed(self) -> str:
        """A second day in one go; its folder."""
        out = self._copy("undisturbed")
        self._wait(self._daily(out))
        return out

    def killed(self, moment: float, seconds: dict[str, float]) -> str:
        """A second day that is killed in every step when such a part of its seconds is over; its folder.

        Each start loads TensorFlow before its first step begins.
        """
        out = self._copy(f"killed_{moment:g}")
        for step in STEPS:
            process = self._daily(out)
            self._await_step(process, out, step)
            time.sleep(seconds[LOADING] + moment * seconds[step])
            if process.poll() is not None:
                print(f"  {step} had ended before it could be killed")
            process.kill()
            process.wait()
        self._wait(self._daily(out))
        return out

    def _await_step(self, process: subprocess.Popen, out: str, step: str) -> None:
        """Waits until the steps before are done."""
        before = STEPS[: STEPS.index(step)]
        until = time.monotonic() + PATIENCE_SECONDS
        while not all(os.path.exists(_step_file(out, name)) for name in before) and process.poll() is None:
            if time.monotonic() > until:
                sys.exit(f"{step} was not reached")
            time.sleep(0.02)

    def _path(self, name: str) -> str:
        path = os.path.join(self._folder, name)
        shutil.rmtree(path, ignore_errors=True)
        return path

    def _copy(self, name: str) -> str:
        return shutil.copytree(self._first, self._path(name))

    def _daily(self, out: str, *flags: str) -> subprocess.Popen:
        return self._start("daily", f"--log_root={self._log}", f"--output_root={out}", *FLAGS, *flags)

    def _start(self, module: str, *flags: str) -> subprocess.Popen:
        with open(os.path.join(self._folder, "printed.txt"), "ab") as printed:
            return subprocess.Popen(
                [sys.executable, "-m", module, *flags], stdout=printed, stderr=printed, env=self._environment
            )

    def _wait(self, process: subprocess.Popen) -> None:
        if process.wait():
            sys.exit(f"a command ended with status {process.returncode}; see {self._folder}/printed.txt")


def _step_file(out: str, step: str) -> str:
    return os.path.join(out, "days", DAYS[1], "steps", f"{step}.json")


def step_seconds(out: str) -> dict[str, float]:
    """What each step took, and LOADING before the first."""
    found = {}
    for step in STEPS:
        with open(_step_file(out, step), encoding="utf-8") as file:
            found[step] = json.load(file)["seconds"]
    with open(os.path.join(out, "days", DAYS[1], "data", "report", "report.json"), encoding="utf-8") as file:
        own = json.load(file)["seconds"]["total"]
    return {**found, LOADING: found[STEPS[0]] - own, STEPS[0]: own}


def state(out: str) -> dict[str, Any]:
    """Everything of a second day that must not depend on kills, by name."""
    day = os.path.join(out, "days", DAYS[1])
    with open(os.path.join(day, "gate.json"), encoding="utf-8") as file:
        gate = json.load(file)
    with open(os.path.join(day, "model", "progressive.json"), encoding="utf-8") as file:
        progressive = json.load(file)
    served = sorted(name for name in os.listdir(os.path.join(out, "served")) if name.isdigit())
    return {
        **_bytes_below(os.path.join(day, "data")),
        **_weights("model", os.path.join(day, "model")),
        **_weights("served", os.path.join(out, "served", served[-1], "variables", "variables")),
        "versions": len(served),
        "gate": {name: gate[name] for name in ("accepted", "reasons", "scores")},
        "progressive": [{name: value for name, value in line.items() if name != "model"} for line in progressive],
        "left over": sorted(name for name in os.listdir(os.path.join(day, "export")) if name.startswith("temp-")),
    }


def _bytes_below(data: str) -> dict[str, str]:
    """Digests of records and vocabulary; reports tell seconds."""
    found = {}
    for part in ("train", "test", "vocabulary"):
        for folder, _, files in os.walk(os.path.join(data, part)):
            for name in files:
                path = os.path.join(folder, name)
                with open(path, "rb") as file:
                    found[os.path.relpath(path, data)] = hashlib.sha256(file.read()).hexdigest()
    return found


def _weights(label: str, path: str) -> dict[str, str]:
    import tensorflow as tf

    reader = tf.train.load_checkpoint(path)
    return {
        f"{label}: {name}": hashlib.sha256(reader.get_tensor(name).tobytes()).hexdigest()
        for name in reader.get_variable_to_shape_map()
    }


def main() -> None:
    """Kills, compares and prints a line for each moment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--moments", default="0,0.25,0.5,0.75,0.95", help="parts of the time that a step takes")
    parser.add_argument("--requests", type=int, default=60, help="of a day")
    arguments = parser.parse_args()
    runs = Runs(arguments.folder, arguments.requests)
    undisturbed = runs.undisturbed()
    seconds, expected = step_seconds(undisturbed), state(undisturbed)
    lost = 0
    for moment in map(float, arguments.moments.split(",")):
        found = state(runs.killed(moment, seconds))
        differs = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        lost += bool(differs)
        where = f"killed {len(STEPS)} times, at {moment:.0%} of each step"
        print(f"{where}: " + (f"DIFFERS in {', '.join(differs)}" if differs else f"{len(found)} things as undisturbed"))
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
