import pytest
import tensorflow as tf

from trainer import remote
from trainer.options import Options


def test_paths_of_stores_without_a_filesystem_in_tensorflow_are_told_from_others():
    assert remote.is_foreign("s3://bucket/data") and remote.is_foreign("hdfs://host/data")
    assert not any(map(remote.is_foreign, ("/data", "data", "", "gs://bucket/data")))


def test_a_cluster_cannot_share_a_copy(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{}")
    options = Options(data_dir="/data", model_dir="s3://bucket/model")
    with (
        pytest.raises(ValueError, match="--model_dir=s3://bucket/model: the processes of a cluster"),
        remote.within_reach(options),
    ):
        pass


def test_file_errors_of_tensorflow_are_file_errors(tmp_path):
    with (
        pytest.raises(OSError, match="nothing"),
        remote.file_errors(),
        tf.io.gfile.GFile(str(tmp_path / "nothing")) as file,
    ):
        file.read()
