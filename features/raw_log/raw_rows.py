"""A row of a raw log as a client sends it, and what it hears of one that cannot be read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from features.raw_values import Value, ValueProblem

Values = dict[str, list[Value]]


class RawLogError(ValueError):
    """A row that cannot be read.

    Attributes:
        file: that it is in.
        line: from 1; of Parquet the row.
        offset: where it begins: bytes, or rows of Parquet, as the job's rejected rows have it.
        column: that is at fault, empty for the whole row.
        reason: of `reject_reasons`.
    """

    def __init__(self, file: str, line: int, offset: int, problem: ValueProblem) -> None:
        super().__init__(f"{file}, line {line}: {problem}")
        self.file = file
        self.line = line
        self.offset = offset
        self.column = problem.column
        self.reason = problem.reason


@dataclasses.dataclass(frozen=True)
class RawRow:
    """One impression of the log; rows of one `request` that follow each other are a request.

    Attributes:
        request: what the rows of a request share.
        sample_id: of the impression.
        values: of the impression fields, by field name, and weights by weight key.
        context: makes those of the context fields; called for the first row of a request.
    """

    request: object
    sample_id: int
    values: Values
    context: Callable[[], Values]
