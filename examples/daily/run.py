"""Seven small days, one of them spoilt, through python -m daily: prints the gate's decisions and the curve over days.

python examples/daily/run.py --output_dir=OUT

An interrupted demo goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(HERE))
FLAGS, SCHEMA = (os.path.join(HERE, name) for name in ("demo.flags", "demo.yaml"))
PREPROCESS_FLAGS = "--min_count=3 --count_half_life_days=3"
DAYS = 7
SPOILT = 4
BAR = 40


def main() -> None:
    """Simulates the days, spoils one, runs the daily command and prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", default="demo_daily_output")
    parser.add_argument("--requests", default="400", help="of a mean day")
    arguments = parser.parse_args()
    log, out = (os.path.join(arguments.output_dir, name) for name in ("log", "out"))
    spoilt = os.path.join(log, "spoilt.txt")
    if not os.path.exists(spoilt):
        size = [f"--requests={arguments.requests}", f"--test_requests={int(arguments.requests) // 2}"]
        world = [f"--days={DAYS}", "--history_scale=0.01", "--click_strength=1.2", "--users=400", "--items=500"]
        command("simulate", f"--output_dir={log}", *size, *world, "--overwrite")
        date = sorted(name for name in os.listdir(log) if os.path.isdir(os.path.join(log, name)))[SPOILT]
        for split in ("train", "test"):
            spoil(os.path.join(log, date, f"sample_skeleton_{split}.csv"))
        with open(spoilt, "w", encoding="utf-8") as file:
            file.write(f"{date}: half of all impressions were made clicks, as a broken tracker does\n")
    with open(spoilt, encoding="utf-8") as file:
        print(f"spoilt on purpose: {file.read().strip()}", flush=True)
    schema = f"--preprocess_flags=--schema={shlex.quote(SCHEMA)} {PREPROCESS_FLAGS}"
    command("daily", f"--log_root={log}", f"--output_root={out}", f"--flagfile={FLAGS}", schema)
    print(table(out))


def command(module: str, *flags: str) -> None:
    """Runs one of the project's commands; ends this one where it fails."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([REPOSITORY, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-m", module, *flags], env=environment, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def spoil(path: str) -> None:
    """Makes every second impression a click, at random."""
    chosen = random.Random(1)
    with open(path, encoding="utf-8") as file:
        rows = [line.split(",", 2) for line in file]
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{key},{1 if chosen.random() < 0.5 else click},{rest}" for key, click, rest in rows)


def table(out: str) -> str:
    """Each day: AUC of clicks on its test rows by yesterday's model and by the day's, and the gate's decision."""
    lines = ["", f"{'day':12}{'yesterday':>10}{'today':>8}  {'.5':{BAR}}1  gate"]
    for date in sorted(os.listdir(os.path.join(out, "days"))):
        with open(os.path.join(out, "days", date, "gate.json"), encoding="utf-8") as file:
            found = json.load(file)
        scores = found["scores"]["today"]
        before, new = (scores.get(which, {}).get("ctr_auc") for which in ("before", "new"))
        bar = "#" * round(max(new - 0.5, 0) * 2 * BAR)
        decision = "accepted" if found["accepted"] else f"REFUSED: {found['reasons'][0]}"
        shown = "–" if before is None else f"{before:.4f}"
        lines.append(f"{date:12}{shown:>10}{new:8.4f}  {bar:{BAR + 1}}  {decision}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
