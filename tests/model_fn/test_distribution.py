import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.commands


def test_two_replicas_train_the_same_model(tmp_path):
    here = os.path.dirname(__file__)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([here, os.path.dirname(here)])}
    command = [sys.executable, os.path.join(here, "mirrored_training.py"), str(tmp_path / "model")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    first, last, counted, in_log = map(float, done.stdout.split()[-4:])
    assert last < 0.8 * first
    assert counted == 11 * in_log  # both replicas count their impressions
