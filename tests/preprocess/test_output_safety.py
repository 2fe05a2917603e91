"""What the job must never do: write into, mix with or remove what it did not make."""

import hashlib
import os
import pathlib
import shutil
import signal
import time

import pytest
from forked_commands import run_forked

import storage
from features import names
from preprocess import command, file_steps, stopping
from preprocess.options import Options, OptionsError
from preprocess.read.inputs import InputError
from preprocess.stopping import StoppedError
from simulate.options import Options as SimulationOptions
from simulate.simulation import simulate
from storage import files, lock, ownership, publish


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("log") / "raw"
    simulate(SimulationOptions(seed=5, requests=30, test_requests=10, history_scale=0.05), str(folder))
    return folder


@pytest.fixture
def raw(simulated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return pathlib.Path(shutil.copytree(simulated, tmp_path / "raw"))


def run(input_dir, output_dir, execute=file_steps.run_in_process, **more):
    return command.run(Options(str(input_dir), str(output_dir), min_count=2, **more), execute=execute)


def state(folder):
    """Every file below a folder with its digest."""
    paths = [path for path in sorted(pathlib.Path(folder).rglob("*")) if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("output", ["raw", "raw/", "./raw/../raw", "raw/out", ".", "link", "link/out", "RAW"])
def test_an_output_that_overlaps_the_log_is_refused(raw, tmp_path, output, overwrite):
    os.symlink(raw, tmp_path / "link")
    if output == "RAW":
        # As a filesystem that ignores case shows the folder.
        os.symlink(raw, tmp_path / "RAW")
    before = state(raw)
    with pytest.raises(storage.OverlapError, match=f"--output_dir={output}"):
        run("raw", output, overwrite=overwrite)
    assert state(raw) == before


@pytest.mark.parametrize("flag", ["vocabulary", "schema"])
def test_an_output_that_holds_another_input_is_refused(raw, tmp_path, flag):
    run(raw, "out")
    path = {"vocabulary": "out/vocabulary", "schema": "out/vocabulary/schema.yaml"}[flag]
    before = state("out")
    with pytest.raises(storage.OverlapError, match=f"--output_dir=out holds --{flag}={path}"):
        run(raw, "out", overwrite=True, **{flag: path})
    assert state("out") == before


@pytest.mark.parametrize(
    "splits",
    [
        ("train", "test", ""),
        ("train", "report"),
        ("train", "Vocabulary"),
        ("train", "rejected"),
        ("train", "_temporary"),
        ("train", "_SUCCESS"),
        ("train", ".."),
        ("train", "a/b"),
        ("train", "/etc"),
        ("train", "t*"),
        ("train", "Train"),
        (),
    ],
)
def test_names_that_cannot_be_a_split(splits):
    with pytest.raises(OptionsError, match="--splits="):
        Options("raw", "out", splits=splits)


@pytest.mark.parametrize("split", ["parsed", "joined", "rejects", "records", "numbered"])
def test_a_split_may_be_called_as_a_step_is(raw, split):
    for path in raw.glob("*_test.csv"):
        path.rename(raw / path.name.replace("test", split))
    run(raw, "out", splits=("train", split))
    assert list(pathlib.Path("out", split).glob("part-*"))


@pytest.mark.parametrize("name", ["_temporary/0/task", "_SUCCESS", "train/part-00000", "notes.txt"])
def test_a_folder_of_others_is_refused_with_overwrite_too(raw, name):
    file = pathlib.Path("out", name)
    file.parent.mkdir(parents=True)
    file.write_text("yours")
    for overwrite in (False, True):
        with pytest.raises(publish.OutputError, match="--output_dir=out: holds files that no run"):
            run(raw, "out", overwrite=overwrite)
    assert list(state("out")) == [str(file)]


def test_a_file_in_the_place_of_the_output_is_refused(raw):
    pathlib.Path("out").write_text("yours")
    with pytest.raises(publish.OutputError, match="--output_dir=out"):
        run(raw, "out", overwrite=True)


def fail(job):
    file_steps.run_in_process(job)
    raise OSError("the disk caught fire")


@pytest.mark.parametrize("keep", [False, True])
def test_a_failing_run_leaves_the_complete_output_and_says_what_became_of_its_files(raw, capsys, keep):
    run(raw, "out")
    before = state("out")
    with pytest.raises(OSError, match="caught fire"):
        run(raw, "out", execute=fail, overwrite=True, keep_temporary=keep)
    left = pathlib.Path("out", publish.TEMPORARY)
    assert f"{left}/" in (said := capsys.readouterr().err) and ("kept" if keep else "removed") in said
    assert left.exists() == keep
    assert {path: digest for path, digest in state("out").items() if publish.TEMPORARY not in path} == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_end_clears_up_and_says_so(raw, capsys, number):
    run(raw, "out")
    before = state("out")

    def execute(job):
        file_steps.run_in_process(job)
        os.kill(os.getpid(), number)
        time.sleep(5)

    with pytest.raises(StoppedError, match=f"stopped by {number.name}"), stopping.on_signals():
        run(raw, "out", execute=execute, overwrite=True)
    assert "removed; nothing else in out was changed" in capsys.readouterr().err
    assert state("out") == before


def test_too_many_rejected_rows_leave_the_complete_output(raw):
    run(raw, "out")
    before = state("out")
    skeleton = raw / "sample_skeleton_train.csv"
    skeleton.write_bytes(b"broken\n" * 50 + skeleton.read_bytes())
    with pytest.raises(command.TooManyRejectsError, match="out/_failed/rejected"):
        run(raw, "out", overwrite=True)
    after = state("out")
    assert {path: after[path] for path in before} == before
    assert all("/_failed/" in path for path in after.keys() - before.keys())


def test_files_of_late_and_repeated_tasks_are_not_published(raw):
    def repeat(job):
        file_steps.run_in_process(job)
        for split in job.options.splits:
            late = job.shard_path(split, 0) + ".0123" + storage.TEMPORARY_SUFFIX
            pathlib.Path(late).write_bytes(b"half")

    run(raw, "out", execute=repeat)
    assert not [path for path in state("out") if path.endswith(storage.TEMPORARY_SUFFIX)]
    assert not pathlib.Path("out", publish.TEMPORARY).exists()


@pytest.mark.parametrize(
    "gone",
    ["records/test/part-*", "records/train", "rejected_rows", "vocabulary", "vocabulary/history", "vocabulary/keys.*"],
)
def test_a_run_whose_files_somebody_tidies_away_publishes_nothing(raw, gone):
    skeleton = raw / "sample_skeleton_train.csv"
    skeleton.write_bytes(b"broken\n" + skeleton.read_bytes())
    run(raw, "out", max_rejected=1)
    before = state("out")

    def execute(job):
        file_steps.run_in_process(job)
        job.load_vocabulary()
        for path in pathlib.Path(job.folder).glob(gone):
            storage.remove(str(path))

    with pytest.raises((publish.OutputError, FileNotFoundError), match=rf"{gone.split('*')[0]}.*(gone, which|No such)"):
        run(raw, "out", execute=execute, overwrite=True, max_rejected=1)
    assert state("out") == before


class Killed(BaseException):
    """Ends a run as the end of its process does."""


def test_the_next_command_names_a_split_that_went_between_a_kill_and_it(raw, tmp_path, monkeypatch):
    out = tmp_path / "out"
    run(raw, out)
    before = {path: digest for path, digest in state(out).items() if "/train/" in path or "/test/" in path}
    real = files.write

    def killed_behind_the_journal(path, parts):
        real(path, parts)
        if path.endswith(publish.JOURNAL_FILE):
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(files, "write", killed_behind_the_journal)
        run(raw, out, overwrite=True, seed=9)
    storage.remove(str(next(out.glob("_temporary/*/new/test"))))
    flags = [f"--input_dir={raw}", f"--output_dir={out}", "--min_count=2", "--overwrite"]
    status, text = run_forked("preprocess", *flags)
    assert status == 1 and text.count("\n") == 1 and "new/test/part-00000" in text, text
    assert f"delete {out}/_publishing.json to keep the output of before" in text
    (out / "_publishing.json").unlink()
    assert {path: digest for path, digest in state(out).items() if path in before} == before
    assert run_forked("preprocess", *flags)[0] == 0


@pytest.mark.parametrize("change", ["appended", "cut", "touched", "gone"])
def test_a_log_that_changes_while_it_is_read_is_refused(raw, change):
    run(raw, "out")
    before = state("out")
    file = raw / "sample_skeleton_test.csv"

    def execute(job):
        file_steps.run_in_process(job)
        if change == "appended":
            with file.open("ab") as opened:
                opened.write(b"1,0,0,c,0,\n")
        elif change == "cut":
            os.truncate(file, 100)
        elif change == "touched":
            file.touch()
        else:
            file.unlink()

    with pytest.raises(InputError, match=r"sample_skeleton_test.csv: changed while it was read"):
        run(raw, "out", execute=execute, overwrite=True)
    assert state("out") == before


def test_two_runs_into_one_output(raw):
    def meanwhile(job):
        with pytest.raises(lock.LockedError, match=f"in use by python -m preprocess, process {os.getpid()} on"):
            run(raw, "out")
        file_steps.run_in_process(job)

    run(raw, "out", execute=meanwhile)
    assert pathlib.Path("out", names.SUCCESS_FILE).exists()


def test_overwrite_removes_what_the_earlier_run_made_and_nothing_else(raw):
    run(raw, "out")
    pathlib.Path("out", "notes.txt").write_text("yours")
    run(raw, "out", overwrite=True, splits=("train",))
    assert sorted(os.listdir("out")) == sorted(
        [ownership.MARK_FILE, names.SUCCESS_FILE, "notes.txt", "rejected", "report", "train", "vocabulary"]
    )
    pathlib.Path("out", "train", "notes.txt").write_text("yours")
    with pytest.raises(publish.OutputError, match=r"out/train/notes.txt is not of this command"):
        run(raw, "out", overwrite=True)
