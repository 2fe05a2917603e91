"""One rule says which file is of which split; nothing is passed over in silence or read twice."""

import os

import pytest

from features import names
from features.raw_log import log_files, partitions, splits
from features.raw_log.log_files import InputError
from features.raw_log.splits import SplitError


def make(folder, *paths):
    for path in paths:
        os.makedirs(os.path.dirname(folder / path), exist_ok=True)
        (folder / path).write_text("x")


def found(folder, *wanted, input_format=names.CSV, input_dir=None):
    files, not_read = log_files.find(input_dir or str(folder), wanted or names.SPLITS, input_format)
    named = {os.path.relpath(file.path, folder): file.split for file in files}
    return named, [os.path.relpath(line.split(": ")[0], folder) for line in not_read]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("train.csv", ["train"]),
        ("shop_train.csv", ["train"]),
        ("train0.csv", ["train"]),
        ("train-00001-of-2.csv", ["train"]),
        ("ShopTrain.csv", ["train"]),
        ("TRAIN.csv", ["train"]),
        ("2026-01-03.train.csv", ["train"]),
        ("train/dt=2026-01-03/x.parquet", ["train"]),
        ("train.parquet/part-0.parquet", ["train"]),
        ("split=test/part-0.csv", ["test"]),
        ("train_eval.csv", ["train", "eval"]),
        ("train/test.csv", ["train", "test"]),
        ("training.csv", ["training"]),
        ("latest.csv", []),
        ("trainers.csv", []),
        ("contest/a.csv", []),
        ("strain.csv", []),
        ("rétrain.csv", []),
        ("day1.csv", ["day1"]),
        ("day10.csv", []),
        ("test_a.csv", ["test_a"]),
    ],
)
def test_words_of_their_own(path, words):
    assert splits.words_in(path, ("train", "test", "day1", "test_a")) == words


def test_files_are_of_the_split_that_they_or_a_folder_are_named_for(tmp_path):
    make(tmp_path, "shop_train.csv", "train/dt=2026-01-03/x.csv", "test.csv/part-0.csv", "shop_test.csv.gz")
    assert found(tmp_path) == (
        {
            "shop_test.csv.gz": "test",
            "shop_train.csv": "train",
            "test.csv/part-0.csv": "test",
            "train/dt=2026-01-03/x.csv": "train",
        },
        [],
    )


@pytest.mark.parametrize("root", ["*/*.csv", "*", "./*/x.csv", "tr*,te*"])
def test_a_glob_may_begin_where_the_command_runs(tmp_path, monkeypatch, root):
    make(tmp_path, "train/x.csv", "test/x.csv")
    monkeypatch.chdir(tmp_path)
    assert found(tmp_path, input_dir=root)[0] == {"train/x.csv": "train", "test/x.csv": "test"}


@pytest.mark.parametrize(
    ("path", "folder", "columns"),
    [
        ("log/dt=2026-01-03/part-0.csv", "log", {"dt": "2026-01-03"}),
        ("log/train/dt=2026-01-03/hour=7/part-0.csv", "log/", {"dt": "2026-01-03", "hour": "7"}),
        ("run=5/log/part-0.csv", "run=5/log", {}),
        ("run=5/log/dt=3/h=4/part-0.csv", "run=5/log/dt=3", {"dt": "3", "h": "4"}),
        ("dt=3/part-0.csv", "", {"dt": "3"}),
        ("s3://b/log/dt=3/part-0.csv", "s3://b/log", {"dt": "3"}),
        ("log/a%3Db=1%2F2/=x/y=/c=__HIVE_DEFAULT_PARTITION__/p.csv", "log", {"a=b": "1/2", "y": "", "c": ""}),
        ("log/x=1.csv", "log", {}),
    ],
)
def test_folders_name_columns(path, folder, columns):
    assert dict(partitions.of_path(path, folder)) == columns


def test_a_log_that_is_not_named_for_splits_is_one(tmp_path):
    make(tmp_path, "dt=2026-01-03/a.csv", "dt=2026-01-04/b.csv")
    assert found(tmp_path)[0] == {"dt=2026-01-03/a.csv": None, "dt=2026-01-04/b.csv": None}


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["train_eval.csv", "test.csv"], "train_eval.csv: is named for the splits train and eval"),
        (["train/test.csv", "test.csv"], "named for the splits train and test"),
        (["train.csv", "train.csv.gz", "test.csv"], "train.csv and .*train.csv.gz: one file twice"),
        (["train.csv", "data.csv"], r"none of test \(left over: data.csv\)"),
        (["val.csv"], "val.csv: is named for val, and no file for train or test"),
        (["training.csv", "testing.csv"], "is named for testing"),
        (["train.csv.xz", "test.csv"], "train.csv.xz: .xz files are not read"),
        (["train.zip", "test.csv"], "train.zip: .zip files are not read"),
        (["notes.txt"], "no csv file there; there are .*notes.txt"),
    ],
)
def test_what_cannot_be_told_apart_is_an_error_of_one_line(tmp_path, paths, message):
    make(tmp_path, *paths)
    with pytest.raises(SplitError, match=message) as raised:
        found(tmp_path)
    assert "\n" not in str(raised.value)


def test_what_is_left_over_is_told(tmp_path):
    make(tmp_path, "train.csv", "test.csv", "val.csv", "items.csv", "schema.yaml", "_hidden.csv")
    files, not_read = log_files.find(str(tmp_path), names.SPLITS, names.CSV)
    assert [file.split for file in files] == ["", "test", "train", ""]
    told = {os.path.basename(line.split(": ")[0]): line.split(": ")[1] for line in not_read}
    assert told == {
        "val.csv": "named for val, which is not among --splits",
        "items.csv": "named for no split",
        "schema.yaml": "no csv file by its name",
        "_hidden.csv": "hidden by its name",
    }


def test_files_of_other_tools_are_skipped(tmp_path):
    make(tmp_path, "train.csv", "test.csv", "_SUCCESS", ".train.csv.crc", "_delta_log/0.json", "test.csv.crc")
    assert found(tmp_path) == ({"test.csv": "test", "train.csv": "train"}, [])


def test_files_are_numbered_alike_for_any_splits(tmp_path):
    make(tmp_path, "train.csv", "val.csv", "test.csv")
    numbers = {
        wanted: {os.path.basename(f.path): f.index for f in log_files.find(str(tmp_path), wanted, names.CSV)[0]}
        for wanted in (("train", "test"), ("train", "val", "test"), ("test",), ("val", "train"))
    }
    assert all(found == {"test.csv": 0, "train.csv": 1, "val.csv": 2} for found in numbers.values())


def test_a_file_a_glob_and_several_folders_may_be_given(tmp_path):
    make(tmp_path, "log.txt", "a/train/x.csv", "b/test.csv", "a/y.csv")
    assert found(tmp_path, input_dir=f"{tmp_path}/log.txt")[0] == {"log.txt": None}
    assert found(tmp_path, input_dir=f"{tmp_path}/a/train,{tmp_path}/b")[0] == {
        "a/train/x.csv": "train",
        "b/test.csv": "test",
    }
    assert found(tmp_path, "test", input_dir=f"{tmp_path}/*/*.csv")[0] == {"a/y.csv": "", "b/test.csv": "test"}
    assert found(tmp_path, "train", input_dir=f"{tmp_path}/a/train")[0] == {"a/train/x.csv": None}


def test_a_file_is_not_read_twice(tmp_path):
    make(tmp_path, "log/train.csv", "log/test.csv")
    os.symlink(tmp_path / "log" / "train.csv", tmp_path / "log" / "train_again.csv")
    with pytest.raises(SplitError, match="one file twice"):
        found(tmp_path, input_dir=f"{tmp_path}/log")
    os.remove(tmp_path / "log" / "train_again.csv")
    with pytest.raises(SplitError, match="one file twice"):
        found(tmp_path, input_dir=f"{tmp_path}/log,{tmp_path}/log/train.csv")
    os.symlink(tmp_path / "log", tmp_path / "log" / "loop")
    assert found(tmp_path, input_dir=f"{tmp_path}/log")[0] == {"log/test.csv": "test", "log/train.csv": "train"}


def test_what_is_no_file_is_refused_where_it_would_be_read(tmp_path):
    make(tmp_path, "log/train.csv")
    os.symlink(tmp_path / "unmounted" / "test.csv", tmp_path / "log" / "test.csv")
    with pytest.raises(InputError, match=r"test\.csv: no file \(a link to nothing, or a pipe\)"):
        found(tmp_path, "train", "test", input_dir=f"{tmp_path}/log")
    assert found(tmp_path, "train", input_dir=f"{tmp_path}/log")[0] == {"log/test.csv": "", "log/train.csv": "train"}
    os.remove(tmp_path / "log" / "test.csv")
    os.mkfifo(tmp_path / "log" / "test.csv")
    with pytest.raises(InputError, match=r"test\.csv: no file"):
        found(tmp_path, "train", "test", input_dir=f"{tmp_path}/log")


def test_no_such_folder(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        found(tmp_path, input_dir=f"{tmp_path}/nowhere")
