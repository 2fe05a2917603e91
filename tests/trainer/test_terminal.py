import importlib
import subprocess
import sys

import pytest
import tensorflow as tf

from trainer import remote

LEAVE = """
import atexit, sys
if {loaded}:
    sys.modules["tensorflow_io"] = object()
atexit.register(lambda: print("regular exit"))
from trainer import terminal
print("done", end=" ")
terminal.leave(3)
"""


@pytest.mark.parametrize(("loaded", "expected"), [(True, "done "), (False, "done regular exit\n")])
def test_a_process_with_tensorflow_io_leaves_by_force_and_loses_no_output(loaded, expected):
    """Its regular exit would end with status 134 after all work is done."""
    done = subprocess.run([sys.executable, "-c", LEAVE.format(loaded=loaded)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, expected)


def test_remote_paths_load_their_file_system(monkeypatch):
    asked = []
    monkeypatch.setattr(importlib, "import_module", asked.append)
    remote.load_file_systems(["/data", "gs://bucket/data", ""])
    assert asked == []
    remote.load_file_systems(["/data", "s3://bucket/data"])
    assert asked == ["tensorflow_io"]


def test_a_file_system_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_io", None)
    with pytest.raises(ValueError, match=r"s3://bucket/data: needs tensorflow-io; install it with"):
        remote.load_file_systems(["s3://bucket/data"])


def test_file_errors_of_tensorflow_are_file_errors(tmp_path):
    with (
        pytest.raises(OSError, match="nothing"),
        remote.file_errors(),
        tf.io.gfile.GFile(str(tmp_path / "nothing")) as file,
    ):
        file.read()
