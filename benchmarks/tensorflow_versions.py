"""Training speed by version of TensorFlow: the same command in several environments, in turn.

python benchmarks/tensorflow_versions.py --data_dir=OUT --folder=DIR PYTHON [PYTHON ...]

PYTHON is the interpreter of an environment, as `make test-matrix` leaves them in .venv.matrix/*/bin/python. OUT is what
python -m preprocess made. Each round trains the recommended recipe once in each environment; a line per environment
gives the median of its rounds, and its ratio to the first one, round by round. With --side_by_side two environments
train at the same time, a core each, and change cores from round to round: on a shared machine, whose speed moves from
minute to minute, both meet the same minutes.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import re
import shutil
import statistics
import subprocess

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def version(python: str) -> str:
    """Which Python, TensorFlow and NumPy an environment has."""
    code = (
        "import platform; from importlib.metadata import version as of; "
        "print('Python', platform.python_version(), 'TensorFlow', of('tensorflow'), 'NumPy', of('numpy'))"
    )
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def speed(python: str, data_dir: str, folder: str, steps: int, core: int | None = None) -> float:
    """Impressions/s of a training, on one core or all: median of the lines that it prints, the first left out."""
    model_dir = os.path.join(folder, "model" if core is None else f"model-{core}")
    shutil.rmtree(model_dir, ignore_errors=True)
    command = [python, "-m", "trainer", "--flagfile=configs/recommended.flags", f"--data_dir={data_dir}"]
    command += [f"--model_dir={model_dir}", f"--max_steps={steps}", f"--log_steps={steps // 10}"]
    command += ["--num_epochs=1000", "--eval_impressions=1"]
    if core is not None:
        command = ["taskset", "-c", str(core), *command]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr[-3000:]}")
    lines = [float(found.replace(",", "")) for found in re.findall(r"([\d,]+) impressions/s", done.stdout)]
    return statistics.median(lines[1:])


def side_by_side(pythons: list[str], turn: int, data_dir: str, folder: str, steps: int) -> list[float]:
    """Speeds of environments that train at the same time, a core each; which core moves on by `turn`."""
    with concurrent.futures.ThreadPoolExecutor(len(pythons)) as pool:
        runs = [
            pool.submit(speed, python, data_dir, folder, steps, (number + turn) % len(pythons))
            for number, python in enumerate(pythons)
        ]
        return [run.result() for run in runs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs="+", metavar="PYTHON")
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--folder", required=True, help="for the models")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300, help="of each training")
    parser.add_argument("--side_by_side", action="store_true", help="at the same time, a core each")
    arguments = parser.parse_args()
    where = os.path.abspath(arguments.data_dir), os.path.abspath(arguments.folder), arguments.steps
    os.makedirs(arguments.folder, exist_ok=True)
    found: dict[str, list[float]] = {python: [] for python in arguments.pythons}
    for turn in range(arguments.rounds):
        if arguments.side_by_side:
            speeds = side_by_side(arguments.pythons, turn, *where)
        else:
            speeds = [speed(python, *where) for python in arguments.pythons]
        for python, one in zip(arguments.pythons, speeds, strict=True):
            found[python].append(one)
    first = found[arguments.pythons[0]]
    for python, speeds in found.items():
        ratios = [speed / base for speed, base in zip(speeds, first, strict=True)]
        print(
            f"{version(python)}: {statistics.median(speeds):,.0f} impressions/s, "
            f"{statistics.median(ratios):.2f} of the first ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
