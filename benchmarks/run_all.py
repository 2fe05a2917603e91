"""Runs every speed and size benchmark, one after the other: what the README's figures come from.

python benchmarks/run_all.py --folder=OUT

Takes about half an hour on two cores and 15 GB of disk, best on a machine with nothing else to do: each prints ratios
of what it measured in the same run. The quality benchmarks (entire_space_bias.py, layout_quality.py, learning_curve.py)
take hours and are started by themselves, and so is torchrec_peer.py, which needs another environment.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def commands(folder: str) -> list[list[str]]:
    """The benchmarks in an order in which each finds what it needs; arguments behind `-m` are modules."""
    log, large_log, small_log, data, model = (
        os.path.join(folder, name) for name in ("log", "large_log", "small_log", "data", "model")
    )
    return [
        ["simulation_speed.py"],
        *(_simulated(path, requests) for path, requests in ((log, 8000), (large_log, 80000), (small_log, 2000))),
        ["-m", "preprocess", f"--input_dir={log}", f"--output_dir={data}", "--overwrite"],
        ["preprocess_speed.py", log, large_log],
        ["preprocess_sizes.py", small_log],
        ["preprocess_vocabulary.py"],
        ["input_speed.py", f"--data_dir={data}"],
        ["training_speed.py", f"--data_dir={data}", f"--folder={os.path.join(folder, 'spread')}"],
        ["training_step.py", f"--data_dir={data}", f"--folder={os.path.join(folder, 'spread')}"],
        ["serving_vocabulary.py", f"--folder={model}"],
        ["serving_model_load.py", f"--folder={model}"],
        ["serving_shared_context.py", f"--folder={model}"],
        ["serving_server.py", f"--export_dir={os.path.join(model, 'export')}"],
        ["serving_load.py", f"--export_dir={os.path.join(model, 'export')}"],
        ["serving_abuse.py", f"--export_dir={os.path.join(model, 'export')}"],
    ]


def _simulated(log: str, requests: int) -> list[str]:
    flags = [f"--requests={requests}", f"--test_requests={requests // 10}", "--seed=1", "--overwrite"]
    return ["-m", "simulate", f"--output_dir={log}", *flags]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="keeps the log, its records and a model of 4.5 million ids")
    folder = parser.parse_args().folder
    os.makedirs(folder, exist_ok=True)
    failed = []
    for command in commands(folder):
        if command[0] != "-m":
            command = [os.path.join(HERE, command[0]), *command[1:]]
        print(f"\n$ python {shlex.join(command)}", flush=True)
        if subprocess.run([sys.executable, *command], check=False).returncode:
            failed.append(shlex.join(command))
    if failed:
        sys.exit("\nended with an error:\n" + "\n".join(failed))


if __name__ == "__main__":
    main()
