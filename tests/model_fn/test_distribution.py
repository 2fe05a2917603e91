import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.commands


def test_two_replicas_train_the_same_model(tmp_path):
    here = os.path.dirname(__file__)
    # The repository first: folders of tests have the names of its packages.
    repository = os.path.dirname(os.path.dirname(here))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([repository, here, os.path.dirname(here)])}
    command = [sys.executable, os.path.join(here, "mirrored_training.py"), str(tmp_path / "model")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    clipped, free, first, last, counted, in_log = map(float, done.stdout.split()[-6:])
    # The sums of both are rows of 1, 3 and 2, and three times 1: each alone would have been clipped by another factor.
    assert clipped == pytest.approx(0.5, rel=1e-5) and free == pytest.approx(31**0.5, rel=1e-5)
    assert last < 0.8 * first
    assert counted == 11 * in_log  # both replicas count their impressions
