"""A folder in the working directory that has the name of a package is named, not run."""

import os
import pathlib
import subprocess
import sys

import pytest

import storage

ROOT = pathlib.Path(storage.__file__).parent.parent


@pytest.mark.parametrize(
    ("command", "hiding"),
    [
        ("preprocess", "features"),
        ("preprocess", "storage"),
        ("trainer", "input_fn"),
        ("simulate", "features"),
        ("serving", "storage"),
        ("daily", "trainer"),
    ],
)
def test_a_package_hidden_by_a_folder_of_its_name_is_named_in_a_line(tmp_path, command, hiding):
    (tmp_path / hiding).mkdir()
    (tmp_path / hiding / "__init__.py").write_text("")
    made = subprocess.run(
        [sys.executable, "-m", command, "--help"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 1
    assert made.stderr.startswith(f"{tmp_path}/{hiding}/__init__.py: hides the package {hiding} of {ROOT}")
    assert len(made.stderr.strip().splitlines()) == 1


def test_a_folder_of_data_hides_nothing(tmp_path):
    (tmp_path / "features").mkdir()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-c", "import simulate"]
    subprocess.run(arguments, cwd=tmp_path, env=environment, check=True)


def test_a_script_beside_a_module_of_such_a_name_runs(tmp_path):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "simulate.py").write_text("")
    (tmp_path / "scripts" / "run.py").write_text("import preprocess")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for folder in (ROOT, tmp_path / "scripts" / ".."):
        subprocess.run([sys.executable, tmp_path / "scripts" / "run.py"], cwd=folder, env=environment, check=True)
