"""Fifth step: the rejected rows of an input file, byte for byte, with their places and reasons."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np

import storage
from features import reject_reasons, row_places
from preprocess.columns import rows
from preprocess.columns.rows import Rejects
from preprocess.job import Job
from preprocess.join import duplicates, partition_joiner
from preprocess.join.partition_joiner import JoinedPartition
from preprocess.read import parquet_reader
from preprocess.read.block_parser import ParsedBlock, read_rejects
from preprocess.read.inputs import InputFile

RECORDS = "records.plan"
# Below the run's folder: what becomes the output's folder of rejected rows.
ROWS_DIR = "rejected_rows"
_COUNTS_FILE = "counts.json"
# Folder of the rows of a log that is not split into files.
_WHOLE_LOG = "log"


@dataclasses.dataclass(frozen=True)
class WrittenRejects:
    """What the writing of a file's rejected rows tells.

    Attributes:
        file_index: of the input file.
        rows: number of rows.
        sample: the first few, as they are written.
    """

    file_index: int
    rows: int
    sample: list[str]


_SAMPLE = 5


def plan_rejected(job: Job, written: Sequence[object]) -> list[int]:
    """Keeps what the writing of records told. Tasks: the input files that have rejected rows."""
    job.save(RECORDS, list(written))
    parsed: list[ParsedBlock] = job.load(duplicates.PARSED)
    joined: list[JoinedPartition] = job.load(partition_joiner.JOINED)
    files = {block.block.file_index for block in parsed if block.rejects}
    for path in (path for found in joined for path in found.rejects):
        files |= set(np.unique(row_places.file_and_offset(read_rejects(path).place)[0]).tolist())
    return sorted(files)


def write_rejected(job: Job, file_index: int) -> WrittenRejects:
    """Writes the rejected rows of an input file: a JSON line for each, and the rows themselves."""
    file = job.files[file_index]
    found = _rejects_of(job, file_index)
    offsets = row_places.file_and_offset(found.place)[1].tolist()
    name = f"{file_index:05d}-{os.path.basename(file.path).removesuffix('.gz')}"
    folder = job.path(ROWS_DIR, file.split or _WHOLE_LOG)
    sample: list[str] = []
    descriptions: list[bytes] = []

    def raw_rows() -> Iterator[bytes]:
        for offset, reason, row in zip(offsets, found.reason.tolist(), _rows_at(file, offsets), strict=True):
            text = describe(file.path, offset, reject_reasons.REASONS[reason], row)
            descriptions.append(text.encode())
            if len(sample) < _SAMPLE:
                sample.append(text)
            yield row

    storage.write(storage.join(folder, name + ".raw"), raw_rows())
    storage.write(storage.join(folder, name + ".jsonl"), (line + b"\n" for line in descriptions))
    return WrittenRejects(file_index, len(found), sample)


def write_counts(job: Job, counts: dict[str, int]) -> None:
    """Writes the number of rejected rows by reason, also where there are none."""
    storage.write(job.path(ROWS_DIR, _COUNTS_FILE), [json.dumps(counts).encode() + b"\n"])


def describe(path: str, offset: int, reason: str, row: bytes) -> str:
    """JSON of a rejected row. The row's bytes are the code points of the text (ISO 8859-1), so none is lost."""
    return json.dumps({"file": path, "offset": offset, "reason": reason, "row": row.decode("latin-1")})


def _rejects_of(job: Job, file_index: int) -> Rejects:
    """Rejected rows of a file, in order."""
    parsed: list[ParsedBlock] = job.load(duplicates.PARSED)
    joined: list[JoinedPartition] = job.load(partition_joiner.JOINED)
    parts = [read_rejects(block.rejects) for block in parsed if block.rejects and block.block.file_index == file_index]
    for found in (read_rejects(path) for partition in joined for path in partition.rejects):
        mine = row_places.file_and_offset(found.place)[0] == file_index
        parts.append(Rejects(found.place[mine], found.reason[mine]))
    merged = rows.merge_rejects(parts)
    order = np.argsort(merged.place)
    return Rejects(merged.place[order], merged.reason[order])


def _rows_at(file: InputFile, offsets: Sequence[int]) -> Iterator[bytes]:
    """Rows at ascending places of a file. A compressed file is read through."""
    if file.row_groups:
        yield from parquet_reader.rows_at(file.path, list(offsets))
        return
    with file.reading() as opened:
        place = 0
        for offset in offsets:
            if file.compressed:
                _skip(opened, offset - place)
            else:
                opened.seek(offset)
            line = opened.readline()
            place = offset + len(line)
            yield line


def _skip(opened: BinaryIO, count: int) -> None:
    while count > 0:
        read = len(opened.read(min(count, 1 << 22)))
        if not read:
            return
        count -= read
