"""The CSV file of scores: kept row by row as they come, under another name until it is complete."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, TextIO

import storage
from features import names
from features.raw_requests import RawRequest
from serving.client import Scored

HEADER = (names.SAMPLE_ID, *names.SCORES)
VERSION_COLUMN = "model_version"
# Behind the name of the file to come.
PART_SUFFIX = ".part"
_MARK = "# serving.predict "
_STREAM = re.compile(r"/dev/(?:stdout|stderr|fd/(\d+))|/proc/self/fd/(\d+)")


class ScoreFileError(ValueError):
    """A file that cannot be written, or a part file that this run cannot go on with."""


class Rows:
    """Rows of scores, and by which versions of the model they are."""

    def __init__(self, file: TextIO, with_version: bool) -> None:
        self.count = 0
        self.versions: Counter[str] = Counter()
        self._file = file
        self._writer = csv.writer(file, lineterminator="\n")
        self._with_version = with_version

    def write_header(self) -> None:
        """Writes the names of the columns."""
        self._writer.writerow((*HEADER, VERSION_COLUMN) if self._with_version else HEADER)

    def add(self, scored: Scored) -> None:
        """Writes a row for each impression of a request; they are in the file when this returns."""
        version = "" if scored.version is None else str(scored.version)
        columns = [scored.request.sample_ids, *(scored.scores[name] for name in names.SCORES)]
        if self._with_version:
            columns.append([version] * len(scored.request.sample_ids))
        self._writer.writerows(zip(*columns, strict=True))
        self._file.flush()
        self.count_versions(version, len(scored.request.sample_ids))

    def count_versions(self, version: str, rows: int) -> None:
        """Counts rows that are in the file."""
        self.count += rows
        self.versions[version] += rows


class PartFile:
    """Scores of a run that has not ended: `FILE.part`, to which rows are only added. `complete` makes FILE of it."""

    def __init__(self, path: str, run: dict[str, Any], resume: bool) -> None:
        """Opens the part file.

        Args:
            path: of the file to come; a symbolic link stays one, and what it points to is written.
            run: what must be the same for a run that goes on with the file.
            resume: whether to go on with a part file that is there.

        Raises:
            ScoreFileError: a part file is there and `resume` is not given, or it is of another run.
            OSError: the folder cannot be written.
        """
        self.path = os.path.realpath(path)
        self.part = self.path + PART_SUFFIX
        self._run = json.dumps(run, sort_keys=True)
        if os.path.isdir(self.path):
            raise ScoreFileError(f"--predictions={path} is a folder; give the name of a file to write")
        there = os.path.exists(self.part)
        if there and not resume:
            raise ScoreFileError(
                f"{self.part} holds the scores of a run that did not end: --resume goes on behind them; "
                "delete the file to begin again"
            )
        if there:
            self._check()
        self._file = open(self.part, "a", encoding="utf-8", newline="")  # noqa: SIM115 closed by `close`
        self.rows = Rows(self._file, with_version=True)
        if not self._file.tell():
            self._file.write(f"{_MARK}{self._run}\n")
            self.rows.write_header()
            self._file.flush()

    def unscored(self, requests: Iterable[RawRequest]) -> Iterator[RawRequest]:
        """The requests that have no rows yet. Raises ScoreFileError where the rows are not of these requests."""
        with open(self.part, "rb") as file:
            end = _skip_head(file)
            for request in (requests := iter(requests)):
                lines = list(itertools.islice(file, len(request.sample_ids)))
                if len(lines) < len(request.sample_ids) or not lines[-1].endswith(b"\n"):
                    requests = itertools.chain([request], requests)
                    break
                self._count(request, lines)
                end += sum(map(len, lines))
        # Rows of half a request, and half a row, are scored again.
        self._file.truncate(end)
        yield from requests

    def complete(self, with_version: bool) -> None:
        """Gives the file its name; the version's column stays in it where that is wanted."""
        self._file.close()
        with open(self.part, "rb") as part, storage.writing(self.path) as file:
            next(part)
            file.writelines(part if with_version else (line.rsplit(b",", 1)[0] + b"\n" for line in part))
            file.flush()
            os.fsync(file.fileno())
        os.remove(self.part)

    def close(self) -> None:
        """Leaves the part file for a run that goes on with it; one without rows is removed."""
        self._file.close()
        if not self.rows.count and os.path.exists(self.part):
            os.remove(self.part)

    def _count(self, request: RawRequest, lines: list[bytes]) -> None:
        for sample_id, line in zip(request.sample_ids, lines, strict=True):
            found = line.rstrip(b"\n").split(b",")
            if found[0] != str(sample_id).encode() or len(found) != len(HEADER) + 1:
                raise ScoreFileError(
                    f"{self.part}: row {self.rows.count + 1} is {line[:80]!r}, the log has sample_id {sample_id} "
                    "there: it is of another log; delete it to begin again"
                )
            self.rows.count_versions(found[-1].decode(), 1)

    def _check(self) -> None:
        with open(self.part, encoding="utf-8", errors="replace") as file:
            first = file.readline()
        if first == f"{_MARK}{self._run}\n":
            return
        if not first.startswith(_MARK):
            raise ScoreFileError(f"{self.part} is no part file of this command; it is left as it is")
        raise ScoreFileError(f"{self.part} is of another run: {first.removeprefix(_MARK).strip()}; this is {self._run}")


def opened_stream(path: str) -> TextIO | None:
    """The open file of a path that is no regular file, such as /dev/stdout or a pipe; None of any other path."""
    if found := _STREAM.fullmatch(path):
        number = {"/dev/stdout": 1, "/dev/stderr": 2}.get(path)
        # A copy of the descriptor: opened by its name, a file behind it would be cut, and written from its start.
        return os.fdopen(os.dup(int(found[1] or found[2]) if number is None else number), "w", encoding="utf-8")
    if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
        return open(path, "w", encoding="utf-8")
    return None


def _skip_head(file: BinaryIO) -> int:
    """Bytes of the two lines above the rows."""
    return len(file.readline()) + len(file.readline())
