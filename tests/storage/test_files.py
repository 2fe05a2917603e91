"""Single files: whole or not at all."""

import errno
import os
import uuid

import pytest

import storage
from storage import files, ownership


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    return f"memory://{uuid.uuid4().hex}" if request.param == "memory" else str(tmp_path)


def test_a_file_of_which_writing_fails_is_not_there_and_what_was_stays(tmp_path):
    folder = str(tmp_path)
    path = storage.join(folder, "a", "file")
    storage.write(path, [b"old ", b"text"])

    def parts():
        yield b"new"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        storage.write(path, parts())
    assert storage.read(path) == b"old text"
    assert storage.read(path, 1, 3) == b"ld"
    assert [found for found, _ in storage.walk(folder)] == [path]


def test_files_are_listed_by_glob_with_sizes(folder):
    for name in ("b.csv", "a.csv", "c.txt", "deeper/d.csv"):
        storage.write(storage.join(folder, name), [name.encode()])
    assert storage.list_files(storage.join(folder, "*.csv")) == [
        (storage.join(folder, "a.csv"), 5),
        (storage.join(folder, "b.csv"), 5),
    ]
    assert storage.names_in(folder) == ["a.csv", "b.csv", "c.txt", "deeper"]
    storage.move(storage.join(folder, "deeper"), storage.join(folder, "moved"))
    assert storage.read(storage.join(folder, "moved", "d.csv")) == b"deeper/d.csv"


def test_what_goes_while_it_is_listed_is_not_in_the_list(tmp_path, monkeypatch):
    for name in ("goes", "stays"):
        (tmp_path / name).write_text(name)

    def listed_then_gone(list_paths):
        def listing(*arguments):
            found = list(list_paths(*arguments))
            (tmp_path / "goes").unlink(missing_ok=True)
            return found

        return listing

    monkeypatch.setattr(os, "walk", listed_then_gone(os.walk))
    assert storage.walk(str(tmp_path)) == [(f"{tmp_path}/stays", 5)]
    (tmp_path / "goes").write_text("again")
    monkeypatch.setattr(files.glob, "glob", listed_then_gone(files.glob.glob))
    assert storage.list_files(f"{tmp_path}/*") == [(f"{tmp_path}/stays", 5)]


def test_of_two_that_create_a_file_one_does(folder):
    path = storage.join(folder, "once")
    assert files.create_exclusively(path, b"first")
    assert not files.create_exclusively(path, b"second")
    assert storage.read(path) == b"first"


def test_a_file_that_is_not_of_the_command_is_not_replaced(folder):
    path = storage.join(folder, "predictions.csv")
    ownership.refuse_foreign_file(path, b"sample_id,", "predictions")
    storage.write(path, [b"sample_id,pctr\n1,0.5\n"])
    ownership.refuse_foreign_file(path, b"sample_id,", "predictions")
    storage.write(path, [b"1,0,0,c1,"])
    with pytest.raises(ownership.OwnershipError, match=r"--predictions=.*name another file"):
        ownership.refuse_foreign_file(path, b"sample_id,", "predictions")


def test_a_full_disk_names_the_file():
    with pytest.raises(storage.WriteError, match="writing /dev/full/x"):
        storage.write("/dev/full/x", [b"x"])


def test_a_disk_that_is_full_in_the_middle_names_the_file_and_leaves_none_of_it(tmp_path):
    path = str(tmp_path / "x")
    with pytest.raises(storage.WriteError, match=f"writing {path}: .*No space left"), storage.writing(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert os.listdir(tmp_path) == []


def test_an_error_of_the_system_is_told_as_a_file_and_what_is_wrong_with_it(tmp_path):
    with pytest.raises(NotADirectoryError) as raised:
        storage.names_in("/dev/null/x") or storage.read("/dev/null/x")
    assert storage.told(raised.value) == "/dev/null/x: Not a directory"
    with pytest.raises(FileNotFoundError) as raised:
        storage.read(f"memory://{tmp_path}/x")
    assert storage.told(raised.value) == f"memory://{tmp_path}/x: not found"
    assert storage.told(ValueError("[Errno 2]")) == "[Errno 2]"


def test_a_missing_library_is_named_with_its_extra():
    with pytest.raises(OSError, match=r"gs://.*entire-space\[gcp\]"):
        storage.exists("gs://bucket/file")


def test_a_symbolic_link_is_removed_without_what_it_points_to(tmp_path):
    (tmp_path / "kept").mkdir()
    os.symlink(tmp_path / "kept", tmp_path / "link")
    storage.remove(str(tmp_path / "link"))
    assert (tmp_path / "kept").is_dir()
