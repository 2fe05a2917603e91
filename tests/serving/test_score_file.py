"""The file of scores: kept row by row, gone on with after a stop, and never in the place of what it was written to."""

import os
import subprocess
import sys

import pytest

from features import names
from features.raw_requests import RawRequest
from serving.client import Scored
from serving.predict import pieces
from serving.score_file import PART_SUFFIX, PartFile, ScoreFileError, opened_stream

RUN = {"model_name": "m"}
REQUESTS = [RawRequest([10 * number, 10 * number + 1], {"u": [number]}, {"i": [[1], [2]]}) for number in range(4)]


def scored(request, version=7):
    return Scored(request, {name: [0.25] * len(request.sample_ids) for name in names.SCORES}, version)


def write(path, requests, version=7, resume=False):
    """Scores the requests and stops; returns those that were not scored before."""
    file = PartFile(str(path), RUN, resume)
    left = list(file.unscored(requests))
    for request in left:
        file.rows.add(scored(request, version))
    return file, left


def test_rows_are_kept_as_they_come_and_the_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "scores.csv"
    file, _ = write(path, REQUESTS)
    assert os.listdir(tmp_path) == ["scores.csv.part"]
    assert (tmp_path / "scores.csv.part").read_text().count("0.25,7\n") == 8
    file.complete(with_version=False)
    assert os.listdir(tmp_path) == ["scores.csv"]
    lines = path.read_text().splitlines()
    assert lines[:2] == ["sample_id,pctr,pcvr,pctcvr", "0,0.25,0.25,0.25"] and len(lines) == 9


def test_the_version_of_each_answer_is_a_column_where_it_is_wanted(tmp_path):
    path = tmp_path / "scores.csv"
    write(path, REQUESTS[:1], version=7)[0].close()
    file, _ = write(path, REQUESTS, version=8, resume=True)
    assert file.rows.versions == {"7": 2, "8": 6} and file.rows.count == 8
    file.complete(with_version=True)
    lines = path.read_text().splitlines()
    assert lines[0].endswith(",model_version")
    assert [line.rsplit(",", 1)[1] for line in lines[1:]] == ["7"] * 2 + ["8"] * 6


@pytest.mark.parametrize("lost", [0, 1, 5, 45])
def test_a_run_goes_on_behind_the_last_whole_request(tmp_path, lost):
    """Also where the last row, or the last request, is there by half."""
    whole, path = tmp_path / "whole.csv", tmp_path / "scores.csv"
    write(whole, REQUESTS)[0].complete(with_version=False)
    write(path, REQUESTS[:3])[0].close()
    part = tmp_path / "scores.csv.part"
    part.write_bytes(part.read_bytes()[: -lost or None])
    file, left = write(path, REQUESTS, resume=True)
    assert left == REQUESTS[3 if not lost else 2 if lost < 40 else 1 :]
    file.complete(with_version=False)
    assert path.read_bytes() == whole.read_bytes()


def test_a_part_file_is_neither_lost_nor_taken_for_another(tmp_path):
    path, part = tmp_path / "scores.csv", tmp_path / "scores.csv.part"
    write(path, REQUESTS[:2])[0].close()
    kept = part.read_bytes()
    with pytest.raises(ScoreFileError, match="--resume goes on"):
        PartFile(str(path), RUN, resume=False)
    with pytest.raises(ScoreFileError, match="another run"):
        PartFile(str(path), {"model_name": "other"}, resume=True)
    with pytest.raises(ScoreFileError, match=r"row 1 is .*another log"):
        write(path, [RawRequest([5], {}, {})], resume=True)
    assert part.read_bytes() == kept
    part.write_text("notes\n")
    with pytest.raises(ScoreFileError, match="no part file of this command"):
        PartFile(str(path), RUN, resume=True)
    assert part.read_text() == "notes\n"


def test_a_run_without_scores_leaves_nothing(tmp_path):
    write(tmp_path / "scores.csv", [])[0].close()
    assert os.listdir(tmp_path) == []
    with pytest.raises(ScoreFileError, match="is a folder"):
        PartFile(str(tmp_path), RUN, resume=False)


def test_a_link_stays_one(tmp_path):
    (tmp_path / "there").mkdir()
    target = tmp_path / "there" / "scores.csv"
    target.write_text("old")
    link = tmp_path / "link.csv"
    link.symlink_to(target)
    write(link, REQUESTS)[0].complete(with_version=False)
    assert link.is_symlink() and target.read_text().startswith(names.SAMPLE_ID)
    assert os.listdir(tmp_path / "there") == ["scores.csv"]


CODE = "from serving.score_file import opened_stream; s = opened_stream('/dev/stdout'); s.write('row\\n'); s.close()"


def test_stdout_is_written_to_and_not_replaced(tmp_path):
    assert subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout == "row\n"
    path = tmp_path / "out"
    path.write_text("before\n")
    with path.open("a") as file:
        subprocess.run([sys.executable, "-c", CODE], stdout=file, check=True)
    assert path.read_text() == "before\nrow\n"


def test_a_pipe_is_a_stream_and_a_file_is_not(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with opened_stream(str(tmp_path / "pipe")) as stream:
        stream.write("row\n")
    assert os.read(reader, 10) == b"row\n"
    os.close(reader)
    for path in (tmp_path / "absent", tmp_path):
        assert opened_stream(str(path)) is None
    assert PART_SUFFIX not in "".join(os.listdir(tmp_path))


def test_large_requests_are_sent_in_pieces_with_their_context():
    (request,) = [RawRequest([1, 2, 3], {"u": [9]}, {"i": [[1], [2], [3]]})]
    found = list(pieces([request], 2))
    assert [one.sample_ids for one in found] == [[1, 2], [3]]
    assert [one.impressions["i"] for one in found] == [[[1], [2]], [[3]]] and found[1].context == {"u": [9]}
