"""Mistakes and help: the command answers before it imports TensorFlow."""

import os
import subprocess
import sys

import pytest

from model_fn import settings
from model_fn.hyperparameters import Hyperparameters
from trainer.options import Options

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def command(*flags):
    return subprocess.run(
        [sys.executable, "-m", "trainer", *flags], cwd=REPOSITORY, capture_output=True, text=True, timeout=300
    )


MISTAKES = {
    "unknown flag": (["--dropuot=0.5"], "Unknown command line flag 'dropuot'. Did you mean: dropout"),
    "unknown word": (["--model=esm"], "--model=esm: value should be one of <esmm|naive_cvr|escm2_ips|"),
    "no number": (["--batch_size=many"], "--batch_size=many"),
    "out of range": (["--ctr_task_wgt=1.5"], "ctr_task_wgt 1.5: allowed is 0 to 1"),
    "batch size": (["--batch_size=0"], "batch_size 0: allowed is 1 or more"),
    "metric": (["--metric=auc"], "--metric=auc: allowed is ctr_auc"),
    "exporters": (["--exporters=last"], "--exporters=last: allowed is any of best, final"),
    "no predictions": (["--task_type=infer"], "--predictions=: allowed is a file to write"),
    "no export_dir": (["--task_type=export"], "--export_dir=: allowed is a folder"),
    "no split": (["--task_type=eval", "--split="], "--split=: allowed is one split or several, separated by commas"),
    "no flagfile": (["--flagfile=/nowhere/x.flags"], "/nowhere/x.flags"),
    "profile": (["--profile_steps=9,5"], "--profile_steps=9,5: allowed is FIRST,LAST: two steps, 0 <= FIRST < LAST"),
    "no number at all": (["--learning_rate=nan"], "learning_rate nan: allowed is 0 or more"),
    "no flag at all": (["eval"], "'eval' is no flag"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_a_line_that_says_what_is_allowed(mistake):
    flags, expected = MISTAKES[mistake]
    done = command("--data_dir=d", "--model_dir=m", *flags)
    assert done.returncode == 1
    assert expected in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize("flags", [["--model_dir=m"], ["--data_dir=d"]])
def test_the_folders_are_asked_for(flags):
    done = command(*flags)
    assert done.returncode == 1 and "_dir=: allowed is" in done.stderr


def test_help_comes_in_groups():
    done = command("--help")
    assert done.returncode == 0 and done.stderr == ""
    headings = [line for line in done.stdout.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == [f"{group}:" for group in settings.groups(Options, Hyperparameters)]
    assert done.stdout.index("Its optimizers:") < done.stdout.index("--embedding_optimizer")


def test_help_lists_every_setting():
    done = command("--helpfull")
    for flag in ("--task_type", "--ctr_task_wgt", "--[no]clear_existing_model", "--max_impressions_per_context"):
        assert flag in done.stdout
