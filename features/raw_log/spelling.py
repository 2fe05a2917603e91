"""How a log spells things: words that stand for no value, ids with a point and a zero, lists over several columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.raw_log import arrow_types, flat, ragged_lists


def is_one_of(column: pa.Array, words: Sequence[str]) -> np.ndarray:
    """Where a value, written as a word, is one of these: bool [n]. A flag is also written as 0 or 1."""
    column = ragged_lists.decoded(column)
    if not words or pa.types.is_struct(column.type):
        return np.zeros(len(column), bool)
    wanted = pa.array([word.encode() for word in words], pa.binary())
    written = flat.words(column)
    found = pc.is_in(written.values, wanted).to_numpy(zero_copy_only=False) & (written.reasons == flat.FINE)
    if pa.types.is_boolean(column.type):
        digits = flat.words(column.cast(pa.uint8())).values
        found |= pc.is_in(digits, wanted).to_numpy(zero_copy_only=False)
    return found


def without_point_zero(entries: pa.Array) -> pa.Array:
    """Texts such as 12.0 as 12; other types as they are."""
    entries = ragged_lists.decoded(entries)
    if not arrow_types.is_text(entries.type):
        return entries
    return pc.replace_substring_regex(flat.texts_of(entries), r"^(\d+)\.0+$", r"\1")


def trimmed(cells: pa.Array) -> pa.Array:
    """CSV cells without the white space around them: binary of valid UTF-8 [rows]."""
    return pc.utf8_trim_whitespace(cells.cast(pa.string())).cast(pa.binary())


def interleaved(lengths: Sequence[np.ndarray]) -> np.ndarray:
    """Order that puts the values of several columns, one column behind the other, row by row: int64 [values]."""
    rows = [np.repeat(np.arange(len(found)), found) for found in lengths]
    return np.argsort(np.concatenate(rows), kind="stable")
