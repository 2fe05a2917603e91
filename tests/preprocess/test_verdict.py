"""What the job says of an output of which nothing can be learnt, and how it ends."""

import os
import subprocess
import sys

import pytest

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCHEMA = """name: t
columns: {click: click, conversion: buy}
fields:
  - {name: user, group: user, side: context, kind: one, type: id}
  - {name: item, group: item, side: impression, kind: one, type: id}
"""
GOOD = [(i % 7, i % 5, i % 3 == 0, i % 6 == 0) for i in range(60)]


def job(folder, train, test, *flags):
    (folder / "log").mkdir()
    for split, rows in (("train", train), ("test", test)):
        lines = [",".join(str(int(cell) if not isinstance(cell, str) else cell) for cell in row) for row in rows]
        (folder / "log" / f"{split}.csv").write_text("\n".join(["user,item,click,buy", *lines]) + "\n")
    (folder / "s.yaml").write_text(SCHEMA)
    command = [sys.executable, "-m", "preprocess", "--input_format=csv", f"--schema={folder}/s.yaml", "--min_count=1"]
    command += [f"--input_dir={folder}/log", f"--output_dir={folder}/out", "--runner=DirectRunner", *flags]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        ([(*row[:3], False) for row in GOOD], GOOD, ["none of 60 impressions is a conversion (column buy)", "columns"]),
        ([(*row[:2], True, False) for row in GOOD], GOOD, ["every impression of 60 is a click (column click)"]),
        ([(*row[:2], False, False) for row in GOOD], GOOD, ["no impression of 60 is a click"]),
        (GOOD, [], ["split test: no impressions", "--splits"]),
        (GOOD, [(row[0], "x", row[2], row[3]) for row in GOOD], ["split test: no impressions"]),
    ],
)
def test_useless_outputs_end_the_job_with_a_reason(train, test, words, tmp_path):
    done = job(tmp_path, train, test, "--max_rejected=1")
    assert done.returncode == 1, done.stdout
    for word in [*words, "--keep_useless", "_failed"]:
        assert word in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    assert words[0] in (tmp_path / "out" / "_failed" / "report" / "report.html").read_text()


def test_contexts_that_no_impression_finds_end_the_job(tmp_path):
    """Ali-CCP: the keys of the two files do not fit together, as where they are of different exports."""
    (tmp_path / "raw").mkdir()
    for split in ("train", "test"):
        impressions = [f"{n},{n % 2},{int(n % 4 == 1)},k{n},1,205\x02{n % 5}\x031.0\n" for n in range(40)]
        (tmp_path / "raw" / f"sample_skeleton_{split}.csv").write_text("".join(impressions))
        contexts = [f"K{n},1,101\x02{n}\x031.0\n" for n in range(40)]
        (tmp_path / "raw" / f"common_features_{split}.csv").write_text("".join(contexts))
    command = [sys.executable, "-m", "preprocess", f"--input_dir={tmp_path}/raw", f"--output_dir={tmp_path}/out"]
    done = subprocess.run([*command, "--min_count=1"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "split train: none of its 40 impressions finds its context" in done.stderr
    assert "sample_skeleton_train.csv and common_features_train.csv do not fit together" in done.stderr
    assert not (tmp_path / "out" / "_SUCCESS").exists()


def test_a_useless_output_may_be_kept_and_training_says_so(tmp_path):
    done = job(tmp_path, [(*row[:3], False) for row in GOOD], GOOD, "--keep_useless")
    assert done.returncode == 0, done.stderr
    assert "WARNING: split train: none of 60 impressions is a conversion" in done.stdout
    trained = [sys.executable, "-m", "trainer", "--task_type=train", f"--data_dir={tmp_path}/out", "--deep_layers=4"]
    said = subprocess.run([*trained, f"--model_dir={tmp_path}/m"], cwd=REPOSITORY, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert "is a conversion" in said.stdout + said.stderr


def test_what_is_unlikely_to_be_meant_is_said(tmp_path):
    test = [(row[0], row[1] + 1000, row[2], row[2]) for row in GOOD]
    done = job(tmp_path, GOOD, test)
    assert done.returncode == 0, done.stderr
    assert "WARNING: split test, field item: 100% of its 60 values are not in the vocabulary" in done.stdout
    assert "WARNING: split test: all 20 clicks convert" in done.stdout
