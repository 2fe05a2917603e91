"""Ranges of keys, each counted on its own: cut by a sample of each block, so that they are about equally full.

What the job writes does not depend on where they are cut.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from features import keys
from features.schema import ID, NUMBER, Schema
from preprocess.columns.rows import Rows

KEY_RANGES = "key_ranges.plan"
_LOOKED_AT = 4096
_KEPT = 64
_LOWEST = -(1 << 63)


def sample(found: Rows, schema: Schema) -> np.ndarray:
    """Some of the distinct keys of a block's rows: int64 [up to 64]."""
    step = max(1, len(found.key) // _LOOKED_AT)
    field, key = found.field[::step], found.key[::step].astype(np.int64)
    parts = [np.empty(0, np.int64)]
    for number, its_field in enumerate(schema.fields):
        mine = key[field == number]
        # The few keys of numbers are not known before the whole log is read, and need no range of their own.
        if its_field.type != NUMBER and len(mine):
            made = its_field.type == ID and not schema.unique_ids
            parts.append(keys.keys_of_ids(schema, its_field, mine) if made else mine)
    distinct = np.unique(np.concatenate(parts))
    return distinct[:: max(1, len(distinct) // _KEPT)]


def cut(samples: Sequence[np.ndarray], count: int) -> np.ndarray:
    """First key of each range, ascending: int64 [ranges, at most `count`]."""
    found = np.sort(np.concatenate([np.empty(0, np.int64), *samples]))
    chosen = found[np.arange(1, count) * len(found) // count] if len(found) else found
    return np.unique(np.append(chosen, np.int64(_LOWEST)))
