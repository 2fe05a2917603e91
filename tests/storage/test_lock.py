"""The lock of a folder: one run at a time, named to the other, gone with its process."""

import dataclasses
import subprocess
import sys
import uuid

import pytest

import storage
from storage import files, lock, process

HOLD = """
import sys
from storage import lock
with lock.held(sys.argv[1], "python -m preprocess", "output_dir"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout.readline() == "held\n"
        yield running
        running.kill()


def hold(folder):
    with lock.held(str(folder), "python -m trainer", "output_dir"):
        return True


def test_a_second_run_is_refused_with_the_name_of_the_first(holder, tmp_path):
    with pytest.raises(lock.LockedError, match=f"python -m preprocess, process {holder.pid} on .*, since 20"):
        hold(tmp_path)


def test_a_killed_run_leaves_the_folder_free(holder, tmp_path):
    holder.kill()
    holder.wait()
    assert (tmp_path / lock.LOCK_FILE).exists()
    assert hold(tmp_path)
    assert not (tmp_path / lock.LOCK_FILE).exists()


@pytest.fixture
def remote_folder():
    return f"memory://{uuid.uuid4().hex}"


def test_on_a_store_too(remote_folder):
    with (
        lock.held(remote_folder, "python -m preprocess", "output_dir"),
        pytest.raises(lock.LockedError, match="python -m preprocess, process"),
    ):
        hold(remote_folder)
    assert hold(remote_folder)
    assert not storage.exists(storage.join(remote_folder, lock.LOCK_FILE))


@pytest.mark.parametrize("change, free", [({"birth": "0"}, True), ({"host": "elsewhere"}, False)])
def test_on_a_store_the_lock_of_a_dead_process_of_this_machine_is_broken(remote_folder, change, free):
    left = dataclasses.replace(process.this("python -m preprocess"), **change)
    files.create_exclusively(storage.join(remote_folder, lock.LOCK_FILE), left.to_json())
    if free:
        assert hold(remote_folder)
    else:
        with pytest.raises(lock.LockedError, match=r"on elsewhere.*surely dead"):
            hold(remote_folder)
