"""Benchmarks are run by hand: so that none is left behind when code moves, all are at least imported here."""

import pathlib
import subprocess
import sys

BENCHMARKS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"


def test_every_benchmark_can_be_imported_and_says_how_it_is_run():
    modules = sorted(path.stem for path in BENCHMARKS.glob("*.py"))
    assert len(modules) > 15
    code = f"import {', '.join(modules)}; print([m.__name__ for m in ({', '.join(modules)}) if not m.__doc__])"
    done = subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "[]"
