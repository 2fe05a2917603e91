"""What a reader makes of a block of input."""

from __future__ import annotations

import dataclasses
from collections import Counter

from preprocess.rows import Rejects, Rows


@dataclasses.dataclass(frozen=True)
class Parsed:
    """Rows of a block, in input order.

    Attributes:
        contexts: contexts, or None where the block's file has none.
        impressions: impressions, or None.
        rejects: rows that are not used.
        read: number of rows of the block, rejected ones included.
        unknown: number of features of each field that the schema does not have.
    """

    contexts: Rows | None
    impressions: Rows | None
    rejects: Rejects
    read: int
    unknown: Counter[str] = dataclasses.field(default_factory=Counter)
