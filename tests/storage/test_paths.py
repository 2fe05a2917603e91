"""Inputs and outputs that overlap, in every way to write a path."""

import os

import pytest

from storage import paths


@pytest.fixture
def places(tmp_path, monkeypatch):
    (tmp_path / "raw" / "day").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    os.symlink(tmp_path / "raw", tmp_path / "link")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "output, entries, relation",
    [
        ("raw", "raw", "same place"),
        ("raw/", "./raw", "same place"),
        ("out/../raw", "raw", "same place"),
        ("link", "raw", "same place"),
        ("link/out", "raw", "lies inside"),
        ("raw/new/deeper", "raw", "lies inside"),
        (".", "raw", "holds"),
        ("raw", "out,raw/day", "holds"),
        ("raw", "link/day", "holds"),
        ("raw/day", "raw/*", "taken in"),
        ("raw/new", "raw/*", "taken in"),
        ("raw", "raw/d*", "holds"),
        ("s3://b/raw/", "s3a://b/raw", "same place"),
        ("s3://b//raw/x", "s3://b/raw/", "lies inside"),
        ("s3://b/raw", "s3://b", "lies inside"),
        ("s3://b/a/../raw", "s3://b/raw/x", "holds"),
        ("webhdfs://h/raw", "hdfs://h/raw", "same place"),
    ],
)
def test_overlap_is_refused_with_both_flags(places, output, entries, relation):
    with pytest.raises(paths.OverlapError, match=rf"--output_dir={output} .*{relation}.* --input_dir="):
        paths.refuse_overlap({"output_dir": output}, {"input_dir": entries})


@pytest.mark.parametrize(
    "output, entries",
    [
        ("out", "raw"),
        ("raw2", "raw"),
        ("rawer/x", "raw"),
        ("", "raw"),
        ("out", ""),
        ("s3://b/rawer", "s3://b/raw"),
        ("s3://c/raw", "s3://b/raw"),
    ],
)
def test_places_apart_are_allowed(places, output, entries):
    paths.refuse_overlap({"output_dir": output}, {"input_dir": entries})
