import re

import pytest
import tensorflow as tf
from record_examples import example, random_requests, small_schema, write_records

from features import names
from input_fn import errors, files
from input_fn.dataset import make_dataset
from input_fn.options import InputOptions
from input_fn.records import serialized_records
from input_fn.tfrecord import RecordError

SCHEMA = small_schema()
REQUESTS = random_requests(SCHEMA, 200, 40, seed=2)
BAD = 7


def read_all(folder, shuffle=True):
    paths = files.find(str(folder / "part-*"))
    with errors.naming_files(paths):
        for _ in make_dataset(paths, SCHEMA, 200, InputOptions(batch_size=16, shuffle=shuffle)):
            pass


def read_records(folder):
    """As `read_all`, without parsing."""
    paths = files.find(str(folder / "part-*"))
    with errors.naming_files(paths):
        for _ in serialized_records(paths, InputOptions()):
            pass


@pytest.fixture
def folder(tmp_path):
    """Three files, the second of which is the one that a test damages."""
    for name in ("part-a.tfrecord.gz", "part-b.tfrecord.gz", "part-c.tfrecord"):
        write_records(str(tmp_path / name), SCHEMA, REQUESTS)
    return tmp_path


def rewrite(path, change):
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for number, request in enumerate(REQUESTS):
            record = example(SCHEMA, request)
            if number == BAD:
                change(record.features.feature)
            writer.write(record.SerializeToString())


def ints(feature, key):
    return feature[key].int64_list.value


CHANGES = {
    "id too large": (lambda f: ints(f, "item").__setitem__(0, 200), r"field item .* sample_id \d+ has id 200"),
    "negative id": (
        lambda f: ints(f, "user").__setitem__(0, -3),
        r"field user .* has id -3, the vocabulary has 0 to 199",
    ),
    "nested id": (lambda f: ints(f, "matches").__setitem__(0, 1 << 40), r"field matches .* has id 1099511627776"),
    "no context": (lambda f: f.pop("user"), r"Feature: user .* is required"),
    "other type": (lambda f: f["user"].float_list.value.append(1.0), r"Key: user.*Data types don't match"),
    "no labels": (lambda f: f.pop("click"), r"0 values in column click where \d+ belong"),
    "impression lost": (lambda f: ints(f, "place").pop(), r"\d+ values in column place where \d+ belong"),
    "value lost": (lambda f: ints(f, "intents").pop(), r"\d+ values in column intents where"),
    "weight lost": (lambda f: f["matches/weight"].float_list.value.pop(), r"values in column matches/weight where"),
    "history weight": (lambda f: f["history/weight"].float_list.value.append(1), r"values in column history/weight"),
    "length lost": (lambda f: ints(f, "intents/length").pop(), r"values in column intents where"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_wrong_record_is_reported_with_its_file(folder, change):
    apply, message = CHANGES[change]
    rewrite(folder / "part-b.tfrecord.gz", apply)
    with pytest.raises(RecordError, match=message) as raised:
        read_all(folder)
    assert str(raised.value).startswith(str(folder / "part-b.tfrecord.gz: "))


def test_the_record_of_the_right_file_is_named_also_without_shuffling(folder):
    rewrite(folder / "part-b.tfrecord.gz", CHANGES["negative id"][0])
    with pytest.raises(RecordError, match=re.escape(str(folder / "part-b.tfrecord.gz: field user"))):
        read_all(folder, shuffle=False)


@pytest.mark.parametrize("name", ["part-b.tfrecord.gz", "part-c.tfrecord"])
def test_a_file_that_ends_early_is_reported_wherever_it_ends(folder, name):
    """TensorFlow alone takes each of the first three cuts of the gzipped file for its regular end."""
    path = folder / name
    whole = path.read_bytes()
    for length in (75, 1333, 3035, len(whole) - 5) if name.endswith("gz") else (10, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(RecordError, match=re.escape(str(path))):
            read_records(folder)


def test_an_empty_gzip_file_is_reported(folder):
    (folder / "part-b.tfrecord.gz").write_bytes(b"")
    with pytest.raises(RecordError, match=r"part-b.tfrecord.gz: empty"):
        read_all(folder)


@pytest.mark.parametrize("name", ["part-b.tfrecord.gz", "part-c.tfrecord"])
def test_a_changed_byte_is_reported(folder, name):
    path = folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with pytest.raises(RecordError, match=rf"{name}: record \d+ \(from 0\)"):
        read_records(folder)


@pytest.mark.parametrize("before", [0, 35])
def test_bytes_that_are_no_record_are_reported(folder, before):
    with tf.io.TFRecordWriter(str(folder / "part-a.tfrecord.gz"), "GZIP") as writer:
        for request in REQUESTS[:before]:
            writer.write(example(SCHEMA, request).SerializeToString())
        writer.write(b"no record")
    with pytest.raises(RecordError, match=rf"part-a.tfrecord.gz: record {before} \(from 0\) is no tf.train.Example"):
        read_all(folder)


def test_nothing_to_read_is_reported(tmp_path):
    with pytest.raises(FileNotFoundError, match="no record file there"):
        files.find(str(tmp_path / "part-*"))
    write_records(str(tmp_path / "part-a.tfrecord.gz"), SCHEMA, [])
    with pytest.raises(RecordError, match="hold no impression"):
        read_all(tmp_path)


def test_other_errors_pass_unchanged(folder):
    with (
        pytest.raises(tf.errors.DataLossError, match="a checkpoint"),
        errors.naming_files([str(folder / "part-c.tfrecord")]),
    ):
        raise tf.errors.DataLossError(None, None, "a checkpoint")
    with pytest.raises(tf.errors.InvalidArgumentError), errors.naming_files([]):
        tf.reshape(tf.zeros([3]), [2])


def test_healthy_files_are_read(folder):
    read_all(folder)


def test_a_size_changes_the_fingerprint(folder):
    paths = files.find(str(folder / "part-*"))
    before = files.fingerprint(paths)
    assert files.fingerprint(paths) == before
    rewrite(folder / "part-b.tfrecord.gz", lambda feature: feature[names.CLICK].int64_list.value.extend(range(99)))
    assert files.fingerprint(paths) != before
