"""What a reader makes of a block of input."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np

from preprocess.columns.rows import Rejects, Rows
from preprocess.read import delays


@dataclasses.dataclass(frozen=True)
class Parsed:
    """Rows of a block, in input order.

    Attributes:
        contexts: contexts, or None where the block's file has none.
        impressions: impressions, or None.
        rejects: rows that are not used.
        read: number of rows of the block, rejected ones included.
        unknown: number of features of each field that the schema does not have.
        conversions: what the conversion window made of them, by the names of `conversions`.
        delays: how soon conversions came, as `delays.count` gives it.
        numbers: of each impression, by name of a number field whose quantiles are wanted: float32, NaN for none.
    """

    contexts: Rows | None
    impressions: Rows | None
    rejects: Rejects
    read: int
    unknown: Counter[str] = dataclasses.field(default_factory=Counter)
    numbers: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    conversions: Counter[str] = dataclasses.field(default_factory=Counter)
    delays: np.ndarray = dataclasses.field(default_factory=delays.nothing)
