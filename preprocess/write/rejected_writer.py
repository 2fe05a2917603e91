"""Fifth step: the rejected rows of an input file, byte for byte, with their places and reasons."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence

import storage
from features import reject_reasons, row_places
from features.raw_log import table
from features.schema import Schema
from preprocess.columns.rows import Rejects
from preprocess.exchange import rejects
from preprocess.exchange.mail import Inbox, Outbox
from preprocess.job import Job
from preprocess.read import raw_rows
from preprocess.read.inputs import InputFile

RECORDS = "records.plan"
# Below the run's folder: what becomes the output's folder of rejected rows.
ROWS_DIR = "rejected_rows"
_COUNTS_FILE = "counts.json"
# Folder of the rows of a log that is not split into files.
_WHOLE_LOG = "log"
# Ends of the names of a file's rejected rows, and of the lines that tell of them.
_ROWS, _LINES = ".raw", ".jsonl"


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
    """Keeps what the writing of records told. Tasks: the input files."""
    job.save(RECORDS, list(written))
    return list(range(len(job.files)))


def write_rejected(job: Job, file_index: int, inbox: Inbox, outbox: Outbox) -> WrittenRejects:
    """Writes the rejected rows of an input file, if any: a JSON line for each, and the rows themselves."""
    file = job.files[file_index]
    found = rejects.receive(inbox)
    if not len(found):
        return WrittenRejects(file_index, 0, [])
    sample: list[str] = []
    told: Counter[str] = Counter()
    rows_path, lines_path = paths(job, file_index)
    with storage.writing(rows_path) as raw, storage.writing(lines_path) as lines:
        for reason, text, row in _described(file, found, job.schema):
            raw.write(row)
            lines.write(text.encode() + b"\n")
            told[reason] += 1
            sample += [text] if told[reason] <= SAMPLE else []
    return WrittenRejects(file_index, len(found), sample)


def paths(job: Job, file_index: int) -> tuple[str, str]:
    """Where the rejected rows of an input file are written, and the lines that tell of them."""
    file = job.files[file_index]
    name = f"{file_index:05d}-{os.path.basename(file.path).removesuffix('.gz')}"
    path = job.path(ROWS_DIR, file.split or _WHOLE_LOG, name)
    return path + _ROWS, path + _LINES


def _described(file: InputFile, found: Rejects, schema: Schema) -> Iterator[tuple[str, str, bytes]]:
    """Reason and JSON of each rejected row, and the row."""
    offsets = row_places.file_and_offset(found.place)[1].tolist()
    raw, columns = raw_rows.rows_at(file, offsets, schema), _columns_of(found, schema)
    for offset, code, column, row in zip(offsets, found.reason.tolist(), columns, raw, strict=True):
        reason = reject_reasons.REASONS[code]
        yield reason, describe(file.path, offset, reason, column, row), row


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
