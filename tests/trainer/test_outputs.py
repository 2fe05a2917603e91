"""Where the commands may write: never over or among files of others."""

import os
import pathlib
import subprocess
import sys

import pytest

import trainer
from storage import ownership
from trainer import exporting

ROOT = pathlib.Path(trainer.__file__).parent.parent


def test_an_export_goes_to_a_new_folder_or_one_of_versions(tmp_path):
    for name in ("new", "versions"):
        (tmp_path / name).mkdir()
    (tmp_path / "versions" / "1700000000").mkdir()
    for folder in map(str, (tmp_path / "new", tmp_path / "versions", tmp_path / "absent")):
        exporting._claim(folder)
        exporting._claim(folder)
        assert ownership.MARK_FILE in os.listdir(folder)


def test_an_export_does_not_go_among_files_of_others(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ownership.OwnershipError, match=r"--export_dir=.*thesis.txt"):
        exporting._claim(str(tmp_path))
    assert os.listdir(tmp_path) == ["thesis.txt"]


@pytest.mark.parametrize("place", ["raw/scores.csv", "raw/log.csv", "mine.csv"])
def test_scores_of_a_server_do_not_go_over_or_beside_the_log(tmp_path, place):
    (tmp_path / "raw").mkdir()
    for name in ("raw/log.csv", "mine.csv"):
        (tmp_path / name).write_text("id,click\n")
    flags = ["--server=http://127.0.0.1:1", f"--input_dir={tmp_path}/raw", f"--predictions={tmp_path}/{place}"]
    command = [sys.executable, "-m", "serving.predict", *flags]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 1 and made.stderr.startswith(f"serving.predict: --predictions={tmp_path}/{place}")
    assert (tmp_path / "raw" / "log.csv").read_text() == (tmp_path / "mine.csv").read_text() == "id,click\n"
    assert os.listdir(tmp_path / "raw") == ["log.csv"]
