"""Which versions are in memory, with servables that only count: order of loading, dropping and failing."""

import threading

import pytest

from serving.local_server.metrics import Metrics
from serving.local_server.model_config import ModelConfig, VersionPolicy
from serving.local_server.models import Models, versions_on_disk
from serving.local_server.status import Code, ServingError


class FakeServable:
    def __init__(self, log, name, version, path):
        with open(f"{path}/saved_model.pb") as file:
            if file.read() == "broken":
                log.append(f"fail {version}")
                raise ServingError(Code.DATA_LOSS, "it is broken")
        self.log, self.version, self.warmup_calls = log, version, 0
        log.append(f"load {version}")

    def close(self):
        self.log.append(f"close {self.version}")


class Folder:
    """A model's base folder, and the manager of it."""

    def __init__(self, path, policy=None, labels=None):
        self.path, self.log = path, []
        config = ModelConfig("m", str(path), policy or VersionPolicy(), labels or {})
        self.models = Models([config], Metrics(), lambda *arguments: FakeServable(self.log, *arguments))

    def write(self, version, text="good"):
        (self.path / str(version)).mkdir(exist_ok=True)
        (self.path / str(version) / "saved_model.pb").write_text(text)

    def poll(self):
        self.log.clear()
        self.models.poll()
        return list(self.log)

    def states(self):
        return {version: state.state for version, state in self.models.statuses("m").items()}


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_new_version_is_loaded_before_the_old_one_is_dropped(folder):
    folder.write(1)
    assert folder.poll() == ["load 1"]
    assert folder.poll() == []
    folder.write(10)
    folder.write(9)
    assert folder.poll() == ["load 10", "close 1"]
    assert folder.states() == {10: "AVAILABLE", 1: "END"}


def test_broken_version_keeps_the_old_one_and_is_tried_again_only_when_it_changes(folder):
    folder.write(1)
    folder.poll()
    folder.write(2, "broken")
    assert folder.poll() == ["fail 2"]
    assert folder.poll() == []
    state = folder.models.statuses("m", 2)[2]
    assert (state.state, state.code, state.message) == ("END", Code.DATA_LOSS, "it is broken")
    with folder.models.use("m") as servable:
        assert servable.version == 1
    folder.write(2, "repaired")
    assert folder.poll() == ["load 2", "close 1"]


def test_folder_without_model_or_with_another_name_is_no_version(folder, tmp_path):
    folder.write(1)
    folder.write("temp-2")
    folder.write("3.tmp")
    folder.write("٤")
    (tmp_path / "5").mkdir()
    (tmp_path / "6").write_text("a file")
    assert list(versions_on_disk(str(tmp_path))) == [1]


def test_all_versions_and_specific_ones(tmp_path):
    (tmp_path / "all").mkdir()
    (tmp_path / "some").mkdir()
    every, some = (
        Folder(tmp_path / "all", VersionPolicy(latest=0)),
        Folder(tmp_path / "some", VersionPolicy(specific=frozenset({1, 3, 9}))),
    )
    for version in (1, 2, 3):
        every.write(version)
        some.write(version)
    assert every.poll() == ["load 3", "load 2", "load 1"]
    assert some.poll() == ["load 3", "load 1"]


def test_vanished_storage_changes_nothing(folder, tmp_path):
    folder.write(1)
    folder.poll()
    for path in (tmp_path / "1").iterdir():
        path.unlink()
    (tmp_path / "1").rmdir()
    assert folder.poll() == []
    tmp_path.rmdir()
    assert folder.poll() == []
    assert folder.states() == {1: "AVAILABLE"}
    tmp_path.mkdir()


def test_version_in_use_is_closed_when_nobody_uses_it(folder):
    """Not by its last user: whoever waits for that answer would wait for the closing too."""
    folder.write(1)
    folder.poll()
    with folder.models.use("m") as first:
        with folder.models.use("m") as second:
            folder.write(2)
            assert folder.poll() == ["load 2"]
            assert first is second and first.version == 1
        assert folder.poll() == []
    assert folder.log == [] and folder.poll() == ["close 1"]


def test_many_users_during_reloads_never_see_a_closed_version(folder):
    folder.write(1)
    folder.poll()
    wrong, stop = [], threading.Event()

    def use():
        while not stop.is_set():
            with folder.models.use("m") as servable:
                if f"close {servable.version}" in servable.log:
                    wrong.append(servable.version)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in range(2, 16):
        folder.write(version)
        folder.models.poll()
    stop.set()
    for thread in threads:
        thread.join()
    folder.models.poll()
    assert not wrong
    assert sorted(folder.log[1:]) == sorted([f"close {v}" for v in range(1, 15)] + [f"load {v}" for v in range(2, 16)])


def test_versions_and_labels_by_name(tmp_path):
    folder = Folder(tmp_path, VersionPolicy(latest=0), {"stable": 1, "gone": 7})
    folder.write(1)
    folder.write(2)
    folder.poll()
    for arguments, version in ((("m",), 2), (("m", 1), 1), (("m", None, "stable"), 1)):
        with folder.models.use(*arguments) as servable:
            assert servable.version == version
    for arguments, code, message in (
        (("other",), Code.NOT_FOUND, "Latest(other)"),
        (("m", 7), Code.NOT_FOUND, "Specific(m, 7)"),
        (("m", None, "gone"), Code.NOT_FOUND, "Specific(m, 7)"),
        (("m", None, "none"), Code.INVALID_ARGUMENT, "label: none"),
    ):
        with pytest.raises(ServingError) as raised, folder.models.use(*arguments):
            pass
        assert raised.value.code == code and message in str(raised.value)
    for arguments in (("other",), ("m", 7)):
        with pytest.raises(ServingError, match="Could not find"):
            folder.models.statuses(*arguments)
