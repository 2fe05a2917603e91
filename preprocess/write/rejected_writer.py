"""Fifth step: the rejected rows of an input file, byte for byte, with their places and reasons."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

import storage
from features import reject_reasons, row_places
from features.raw_log import table
from features.schema import Schema
from preprocess.columns import rows
from preprocess.columns.rows import Rejects
from preprocess.job import Job
from preprocess.join import duplicates, partition_joiner
from preprocess.join.partition_joiner import JoinedPartition
from preprocess.read import raw_rows
from preprocess.read.block_parser import ParsedBlock, read_rejects

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
        sample: the first few of each reason, as they are written.
    """

    file_index: int
    rows: int
    sample: list[str]


# Of each reason.
SAMPLE = 10


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
    told: Counter[str] = Counter()
    descriptions: list[bytes] = []

    def rejected() -> Iterator[bytes]:
        rows_ = raw_rows.rows_at(file, offsets, job.schema)
        columns = _columns_of(found, job.schema)
        for offset, reason, column, row in zip(offsets, found.reason.tolist(), columns, rows_, strict=True):
            reason_text = reject_reasons.REASONS[reason]
            text = describe(file.path, offset, reason_text, column, row)
            descriptions.append(text.encode())
            told[reason_text] += 1
            if told[reason_text] <= SAMPLE:
                sample.append(text)
            yield row

    storage.write(storage.join(folder, name + ".raw"), rejected())
    storage.write(storage.join(folder, name + ".jsonl"), (line + b"\n" for line in descriptions))
    return WrittenRejects(file_index, len(found), sample)


def write_counts(job: Job, counts: dict[str, int]) -> None:
    """Writes the number of rejected rows by reason, also where there are none."""
    storage.write(job.path(ROWS_DIR, _COUNTS_FILE), [json.dumps(counts).encode() + b"\n"])


def describe(path: str, offset: int, reason: str, column: str, row: bytes) -> str:
    """JSON of a rejected row. The row's bytes are the code points of the text (ISO 8859-1), so none is lost."""
    found = {"file": path, "offset": offset, "reason": reason, "column": column, "row": row.decode("latin-1")}
    return json.dumps(found)


def _columns_of(found: Rejects, schema: Schema) -> list[str]:
    """Name of the column that is at fault in each row; empty where it is the whole row."""
    named = [*table.column_names(schema), ""]
    usual = {
        reject_reasons.DUPLICATE_SAMPLE_ID: schema.columns.sample_id or "",
        reject_reasons.DUPLICATE_CONTEXT: next(iter(schema.columns.request_columns), ""),
    }
    return [
        usual.get(reject_reasons.REASONS[reason], "") if column < 0 else named[column]
        for reason, column in zip(found.reason.tolist(), found.column.tolist(), strict=True)
    ]


def _rejects_of(job: Job, file_index: int) -> Rejects:
    """Rejected rows of a file, in order."""
    parsed: list[ParsedBlock] = job.load(duplicates.PARSED)
    joined: list[JoinedPartition] = job.load(partition_joiner.JOINED)
    parts = [read_rejects(block.rejects) for block in parsed if block.rejects and block.block.file_index == file_index]
    for found in (read_rejects(path) for partition in joined for path in partition.rejects):
        mine = row_places.file_and_offset(found.place)[0] == file_index
        parts.append(Rejects(found.place[mine], found.reason[mine], found.column[mine]))
    merged = rows.merge_rejects(parts)
    order = np.argsort(merged.place)
    return Rejects(merged.place[order], merged.reason[order], merged.column[order])
