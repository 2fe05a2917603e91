"""Publishing a folder: whole or not at all, whenever it is interrupted, and nothing of others is touched."""

import contextlib
import itertools
import json
import os
import uuid

import pytest

import storage
from storage import files, lock, ownership, publish

COMMAND = "python -m preprocess"


@pytest.fixture(params=["local", "memory"])
def out(request, tmp_path):
    return f"memory://{uuid.uuid4().hex}/out" if request.param == "memory" else str(tmp_path / "out")


def make(out, content, parts=("train", "test"), **more):
    with publish.making(out, COMMAND, "output_dir", say=lambda line: None, **more) as output:
        for part in parts:
            for name in ("a", "b"):
                storage.write(
                    storage.join(output.temporary, f"work-{part}", name), [f"{content} {part} {name}".encode()]
                )
            storage.write(storage.join(output.temporary, f"work-{part}", "late" + storage.TEMPORARY_SUFFIX), [b"half"])
        output.publish({part: f"work-{part}" for part in parts})


def published(out):
    """Contents by path, without the project's own files."""
    paths = [path for path, _ in storage.walk(out)]
    found = {path[len(out) + 1 :]: storage.read(path).decode() for path in paths}
    return {path: text for path, text in found.items() if not path.startswith("_")}


def expected(content, parts=("train", "test")):
    return {f"{part}/{name}": f"{content} {part} {name}" for part in parts for name in ("a", "b")}


def test_only_whole_files_are_published_and_success_comes_with_them(out):
    make(out, "new")
    assert published(out) == expected("new")
    assert set(storage.names_in(out)) == {"train", "test", publish.SUCCESS_FILE, ownership.MARK_FILE}


def test_a_complete_output_is_replaced_only_on_request_and_parts_that_are_no_more_go(out):
    make(out, "old", ("train", "test", "valid"))
    with pytest.raises(publish.OutputError, match="--overwrite"):
        make(out, "new")
    assert published(out) == expected("old", ("train", "test", "valid"))
    make(out, "new", overwrite=True)
    assert published(out) == expected("new")


class Killed(BaseException):
    pass


CHANGES = ("write", "move", "remove", "copy_many")


def killed_after(monkeypatch, changes):
    """Lets so many changes of a filesystem pass and fails all that come after, as the end of a process does."""
    left = itertools.count(changes, -1)

    def patched(name, real):
        def change(*args):
            if next(left) <= 0:
                raise Killed
            return real(*args)

        return change

    for name in CHANGES:
        monkeypatch.setattr(files, name, patched(name, getattr(files, name)))


def ends_or_is_killed(out, monkeypatch, changes):
    """Makes the new output, killed after some changes; returns whether it came to its end before."""
    with monkeypatch.context() as patch:
        killed_after(patch, changes)
        with contextlib.suppress(Killed):
            make(out, "new", overwrite=True)
            return True
    # As a run finds it that sees the process dead.
    storage.remove(storage.join(out, lock.LOCK_FILE))
    return False


def test_a_kill_at_any_change_leaves_the_old_output_or_one_that_the_next_run_completes(out, monkeypatch):
    states = set()
    for changes in range(40):
        make(out, "old", overwrite=True)
        if ends_or_is_killed(out, monkeypatch, changes):
            states.add("done")
        journal = storage.exists(storage.join(out, publish.JOURNAL_FILE))
        if not journal and published(out) == expected("old"):
            assert storage.exists(storage.join(out, publish.SUCCESS_FILE))
            states.add("old")
        with pytest.raises(publish.OutputError, match="complete output"):
            make(out, "third")
        if journal:
            assert published(out) == expected("new")
            states.add("finished")
        assert published(out) in (expected("old"), expected("new"))
        assert not storage.exists(storage.join(out, publish.JOURNAL_FILE))
    assert states == {"old", "finished", "done"}


@pytest.mark.parametrize(
    "change",
    [
        {"run": "../../raw"},
        {"run": 5},
        {"by": "{}"},
        {"by": None},
        {"files": None},
        {"moves": [["new/train", "../raw"]]},
        {"moves": ["ab", "abc"]},
        {"dropped": ["/etc"]},
        {"more": 1},
        None,
    ],
)
def test_a_journal_that_no_run_wrote_is_named_and_nothing_is_moved(out, change):
    make(out, "old")
    by = storage.read(storage.join(out, ownership.MARK_FILE))
    journal = {"run": "0" * 32, "by": json.dumps(json.loads(by)["by"]), "files": [], "moves": [], "dropped": []}
    path = storage.join(out, publish.JOURNAL_FILE)
    storage.write(path, [json.dumps(change and {**journal, **change}).encode()])
    for call in (lambda: make(out, "new", overwrite=True), lambda: publish.recover(out, COMMAND, "data_dir")):
        with pytest.raises(publish.OutputError, match=f"{publish.JOURNAL_FILE}: damaged .*; delete it"):
            call()
    assert published(out) == expected("old") and storage.exists(storage.join(out, publish.SUCCESS_FILE))


@pytest.mark.parametrize("made", [None, "train", [["train/a"]], ["../raw/train.csv"], ["/etc/passwd"], [""]])
def test_a_mark_that_names_places_outside_is_none(out, made):
    make(out, "old")
    path = storage.join(out, ownership.MARK_FILE)
    storage.write(path, [json.dumps({**json.loads(storage.read(path)), "files": made}).encode()])
    with pytest.raises(publish.OutputError, match="holds files that no run of this command made"):
        make(out, "new", overwrite=True)
    assert published(out) == expected("old")


def test_what_workers_write_that_outlived_their_killed_run_goes_too(out):
    make(out, "old")
    late = storage.join(out, publish.TEMPORARY, uuid.uuid4().hex, "exchange", "0000001")
    with publish.making(out, COMMAND, "output_dir", overwrite=True) as output:
        storage.write(storage.join(output.temporary, "train", "a"), [b"new train a"])
        storage.write(late, [b"late"])
        output.publish({"train": "train"})
    assert publish.TEMPORARY not in storage.names_in(out)


def test_files_of_others_are_neither_mixed_with_nor_removed(out):
    storage.write(storage.join(out, "_temporary", "0", "task"), [b"Spark's"])
    with pytest.raises(publish.OutputError, match="_temporary"):
        make(out, "new")
    assert storage.read(storage.join(out, "_temporary", "0", "task")) == b"Spark's"


def test_a_stray_file_in_a_part_is_named_and_nothing_changes(out):
    make(out, "old")
    for name in ("train/notes.txt", "valid/notes.txt"):
        storage.write(storage.join(out, name), [b"mine"])
        with pytest.raises(publish.OutputError, match=name.split("/")[0]):
            make(out, "new", ("train", "valid"), overwrite=True)
        assert storage.read(storage.join(out, "train", "a")) == b"old train a"
        storage.remove(storage.join(out, name))


def test_a_failure_removes_or_keeps_its_files_and_says_which(out):
    make(out, "old")
    said = []
    for keep in (False, True):
        with (
            pytest.raises(ZeroDivisionError),
            publish.making(out, COMMAND, "output_dir", True, keep, said.append) as output,
        ):
            storage.write(storage.join(output.temporary, "x"), [b"x"])
            raise ZeroDivisionError
        assert bool(storage.walk(storage.join(out, publish.TEMPORARY))) == keep
        assert published(out) == expected("old")
    assert "removed" in said[0]
    assert "kept" in said[1]
    make(out, "new", overwrite=True)
    assert not storage.exists(storage.join(out, publish.TEMPORARY))


def test_parts_of_a_failed_run_are_left_beside_the_output_until_the_next(out):
    make(out, "old")
    with publish.making(out, COMMAND, "output_dir", True) as output:
        storage.write(storage.join(output.temporary, "why", "report"), [b"rejected"])
        failed = output.leave({"report": "why"})
    assert storage.read(storage.join(failed, "report", "report")) == b"rejected"
    assert published(out) == expected("old")
    make(out, "new", overwrite=True)
    assert not storage.exists(failed)


def test_a_folder_of_another_command_is_refused(out):
    make(out, "old")
    with (
        pytest.raises(publish.OutputError, match="files of python -m preprocess"),
        publish.making(out, "python -m trainer", "model_dir", True),
    ):
        pass


@pytest.fixture
def interrupted(out, monkeypatch):
    """A new output that is whole, and whose run was killed when it began to put it in place of the old one."""
    make(out, "old")
    with monkeypatch.context() as patch:
        real = files.write

        def killed_behind_the_journal(path, parts):
            real(path, parts)
            if path.endswith(publish.JOURNAL_FILE):
                raise Killed

        patch.setattr(files, "write", killed_behind_the_journal)
        with pytest.raises(Killed):
            make(out, "new", overwrite=True)
    return out


@pytest.mark.parametrize("named", ["", "train/", "train/a", "/a"])
def test_an_output_stays_whose_successor_somebody_tidied_away(interrupted, named):
    tidy_away(interrupted, named)
    for _ in range(2):
        with pytest.raises(
            publish.OutputError, match=r"gone, which a run had made.* delete .*_publishing.json to keep"
        ):
            publish.recover(interrupted, "python -m trainer", "data_dir")
    storage.remove(storage.join(interrupted, publish.JOURNAL_FILE))
    publish.recover(interrupted, "python -m trainer", "data_dir")
    assert published(interrupted) == expected("old") and storage.exists(storage.join(interrupted, publish.SUCCESS_FILE))


def tidy_away(out, named):
    """Removes what is so named of what a killed run has left, and folders that are empty then."""
    temporary = storage.join(out, publish.TEMPORARY)
    for path, _ in storage.walk(temporary):
        if named in path:
            storage.remove(path)
    if storage.is_local(out):
        for place, _, _ in os.walk(temporary, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(place)


@pytest.mark.parametrize("named", ["", "train/", "test/", "new/", "old/", "/b"])
def test_what_is_tidied_away_between_a_kill_and_the_next_command_makes_no_mixture(out, monkeypatch, named):
    states = set()
    for changes in range(24):
        make(out, "old", overwrite=True)
        if ends_or_is_killed(out, monkeypatch, changes):
            states.add("done")
        tidy_away(out, named)
        try:
            publish.recover(out, "python -m trainer", "data_dir")
        except publish.OutputError:
            states.add("gone")
            complete = storage.exists(storage.join(out, publish.SUCCESS_FILE))
            assert not complete or published(out) == expected("old")
            storage.remove(out)
        else:
            assert published(out) in (expected("old"), expected("new"))
            assert storage.exists(storage.join(out, publish.SUCCESS_FILE))
            states.add("whole")
    assert states >= {"done", "whole"} and ("gone" in states or named in ("new/", "old/"))


@pytest.mark.parametrize("gone", ["work-test/b", "work-train/a"])
def test_a_run_that_misses_what_it_has_written_publishes_nothing(out, gone):
    make(out, "old")
    with (
        pytest.raises(publish.OutputError, match=f"{gone}: gone, which this run had written"),
        publish.making(out, COMMAND, "output_dir", True, say=lambda line: None) as output,
    ):
        promised = [f"work-{part}/{name}" for part in ("train", "test") for name in ("a", "b")]
        for path in set(promised) - {gone}:
            storage.write(storage.join(output.temporary, path), [b"new"])
        output.publish({"train": "work-train", "test": "work-test"}, promised)
    assert published(out) == expected("old")


def test_a_command_that_reads_finishes_what_was_interrupted(interrupted):
    out = interrupted
    publish.recover(out, "python -m trainer", "data_dir")
    assert published(out) == expected("new")
    assert storage.exists(storage.join(out, publish.SUCCESS_FILE))


def test_what_a_killed_run_was_writing_goes_with_the_next_and_files_of_others_stay(out):
    make(out, "old")
    cut_short = f".{uuid.uuid4().hex}{storage.TEMPORARY_SUFFIX}"
    for name in (publish.SUCCESS_FILE, publish.JOURNAL_FILE, ownership.MARK_FILE, "notes"):
        storage.write(storage.join(out, name + cut_short), [b"half"])
    make(out, "new", overwrite=True)
    assert set(storage.names_in(out)) == {
        "train",
        "test",
        publish.SUCCESS_FILE,
        ownership.MARK_FILE,
        "notes" + cut_short,
    }
