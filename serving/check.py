"""Command: python -m serving.check E/123 [more versions]. Whether an exported version may go live.

It is loaded, asked for the scores of its sample request through every signature and for its warm-up calls, and held to
what the checkpoint answered when the version was made (`serving.trial`). Ends with status 1 and a line for each fault.
An export does the same before it gives a version its number; `in_fresh_process` is for other programs.
"""

from __future__ import annotations

import logging
import os
import pathlib
import subprocess
import sys

from model_fn import quiet_tensorflow
from serving.saved_model_files import CheckError


def in_fresh_process(path: str) -> str:
    """Tries a version in a process of its own, which knows only what is in the folder; returns what was found.

    Args:
        path: of the version's folder; local, or of a file system that TensorFlow has built in.

    Raises:
        CheckError: it must not go live.
    """
    root = str(pathlib.Path(__file__).resolve().parent.parent)
    search_path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    # A training beside it has the GPU.
    environment = os.environ | {"PYTHONPATH": search_path, "CUDA_VISIBLE_DEVICES": "-1"}
    environment.pop("TF_CONFIG", None)
    command = [sys.executable, "-m", "serving.check", path]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise CheckError(done.stderr.strip() or f"{path}: the check ended with status {done.returncode}")
    return done.stdout.strip()


def main() -> None:
    """Entry point of the console command."""
    paths = sys.argv[1:]
    if not paths or any(path.startswith("-") for path in paths):
        sys.exit(f"serving.check: {' '.join(paths) or 'no version given'}\n{__doc__}")
    quiet_tensorflow.import_quietly()
    # What TensorFlow warns of here, that its loader is an old one, tells a user nothing.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if faults := list(filter(None, map(_fault, paths))):
        sys.exit("\n".join(faults))


def _fault(path: str) -> str:
    """Tries a version: prints what was found, or returns what is wrong."""
    # Here, behind the setting, and since whoever calls `in_fresh_process` alone need not load TensorFlow.
    from serving import trial

    try:
        print(trial.run(path), flush=True)
    except CheckError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main()
