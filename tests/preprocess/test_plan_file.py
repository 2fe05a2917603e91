"""Files between steps: what goes in comes out, and a file of others runs no code."""

import collections
import dataclasses
import json
import pickle

import numpy as np
import pytest

from features.raw_requests import RawRequest
from preprocess import plan_file
from preprocess.read.inputs import Block

VALUES = [
    {"a": [1, 2.5, None, True, "text", b"\xff"], ("key", 1): (Block(1, 2, 3), ())},
    collections.Counter({"field": 3}),
    RawRequest([1], {"f": [2]}, {"g": [[3]]}),
]


def test_values_come_back_equal(tmp_path):
    plan_file.save(str(tmp_path / "x"), [*VALUES, np.float32(0.5)])
    assert plan_file.load(str(tmp_path / "x")) == [*VALUES, 0.5]


def test_arrays_come_back_with_type_and_shape(tmp_path):
    arrays = [np.arange(6, dtype=np.uint8).reshape(2, 3), np.empty((0, 2)), np.array([1 << 62])]
    plan_file.save(str(tmp_path / "x"), arrays)
    for found, wanted in zip(plan_file.load(str(tmp_path / "x")), arrays, strict=True):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)


@dataclasses.dataclass
class Foreign:
    """Not of the project's packages."""

    value: int


def test_a_file_of_others_is_refused_with_its_name(tmp_path):
    path = str(tmp_path / "x")
    plan_file.save(path, Foreign(1))
    texts = [json.dumps({"class": ["preprocess.command", "run", {}]}).encode(), b"no JSON"]
    files = [pickle.dumps([1]), b"", *(len(text).to_bytes(8, "little") + text for text in texts)]
    for data in [(tmp_path / "x").read_bytes(), *files]:
        (tmp_path / "x").write_bytes(data)
        with pytest.raises(plan_file.PlanFileError, match="x: damaged"):
            plan_file.load(path)
