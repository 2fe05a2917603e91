"""Second step: the impressions of a partition meet their contexts, in pieces that fit in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from features import reject_reasons
from preprocess.columns import rows
from preprocess.columns.rows import Rejects, Rows
from preprocess.join import context_differences

_DUPLICATE_SAMPLE_ID = reject_reasons.REASONS.index(reject_reasons.DUPLICATE_SAMPLE_ID)
_DUPLICATE_CONTEXT = reject_reasons.REASONS.index(reject_reasons.DUPLICATE_CONTEXT)
_NO_COLUMN = -1
_CONTEXT_MISMATCH = reject_reasons.REASONS.index(reject_reasons.CONTEXT_MISMATCH)


@dataclasses.dataclass(frozen=True)
class Joined:
    """Requests in output order.

    Attributes:
        impressions: in order of request, then place.
        contexts: one for each request; without features where there is none.
        sizes: number of impressions of each request, int64 [requests].
        has_context: whether the log has a context for the request, bool [requests].
        rejects: duplicates and rows whose context differs.
        unused_contexts: contexts without impressions.
    """

    impressions: Rows
    contexts: Rows
    sizes: np.ndarray
    has_context: np.ndarray
    rejects: Rejects
    unused_contexts: int


def join(
    contexts: Rows, impressions: Rows, duplicate_places: np.ndarray, context_columns: Sequence[int] | None
) -> Joined:
    """Joins all rows of some request keys. Rows of one key must be in order of place.

    Args:
        contexts: of a log that repeats contexts: the distinct ones of each block, with digests.
        impressions: with the digests of their contexts in a log that repeats contexts.
        duplicate_places: of impressions to reject, ascending.
        context_columns: of a log that has a context in each row the column of each field of the schema, as a place in
            `raw_log.table.column_names`; None: contexts have rows of their own.
    """
    repeats_context = context_columns is not None
    duplicate = np.isin(impressions.columns[rows.PLACE], duplicate_places)
    rejects = [_rejects(impressions, duplicate, _DUPLICATE_SAMPLE_ID)]
    impressions = impressions.take(np.flatnonzero(~duplicate)) if duplicate.any() else impressions
    context_key, impression_key = _key_codes(contexts.request, impressions.request)
    if context_columns is not None:
        context_of, mismatch = _context_of_first_row(contexts, impressions, context_key, impression_key)
        if mismatch.any():
            others, keys = impressions.take(np.flatnonzero(mismatch)), impression_key[mismatch]
            field = context_differences.fields(contexts, context_key, others, keys, context_of[keys])
            column = np.append(context_columns, _NO_COLUMN)[field].astype(np.int16)
            rejects.append(_rejects(impressions, mismatch, _CONTEXT_MISMATCH, column))
        impressions, impression_key = impressions.take(np.flatnonzero(~mismatch)), impression_key[~mismatch]
    else:
        context_of, repeated = _first_context(context_key, impression_key)
        rejects.append(_rejects(contexts, repeated, _DUPLICATE_CONTEXT))
    ordered, first = _request_order(impressions, impression_key)
    sizes = np.diff(np.append(first, len(ordered)))
    chosen = context_of[impression_key[ordered[first]]]
    return Joined(
        impressions=impressions.take(ordered),
        contexts=_take_or_empty(contexts, chosen),
        sizes=sizes,
        has_context=chosen >= 0,
        rejects=rows.merge_rejects(rejects),
        unused_contexts=0 if repeats_context else int((context_of >= 0).sum() - (chosen >= 0).sum()),
    )


def _rejects(found: Rows, chosen: np.ndarray, reason: int, column: np.ndarray | None = None) -> Rejects:
    place = found.columns[rows.PLACE][chosen]
    reasons = np.full(len(place), reason, np.uint8)
    return Rejects(place, reasons) if column is None else Rejects(place, reasons, column)


def _key_codes(contexts: pa.Array, impressions: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """A number for each distinct request key, for both sides alike. Compares the keys themselves, not fingerprints."""
    codes = pa.concat_arrays([contexts, impressions]).dictionary_encode().indices.to_numpy()
    return codes[: len(contexts)], codes[len(contexts) :]


def _first_context(context_key: np.ndarray, impression_key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row of each key's first context, or -1 (int64 [keys]), and which contexts are later ones (bool [contexts])."""
    count = max(context_key.max(initial=-1), impression_key.max(initial=-1)) + 1
    context_of = np.full(count, -1, np.int64)
    distinct, first = np.unique(context_key, return_index=True)
    context_of[distinct] = first
    return context_of, context_of[context_key] != np.arange(len(context_key))


def _context_of_first_row(
    contexts: Rows, impressions: Rows, context_key: np.ndarray, impression_key: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Context of each key's first impression (int64 [keys]), and which impressions have another (bool)."""
    count = context_key.max(initial=-1) + 1
    if not len(impressions):
        return np.full(count, -1, np.int64), np.zeros(0, bool)
    high, low = impressions.columns[rows.DIGEST_HIGH], impressions.columns[rows.DIGEST_LOW]
    distinct, first = np.unique(impression_key, return_index=True)
    first_row = np.zeros(count, np.int64)
    first_row[distinct] = first
    its_first = first_row[impression_key]
    mismatch = (high != high[its_first]) | (low != low[its_first])
    matches = (contexts.columns[rows.DIGEST_HIGH] == high[first_row[context_key]]) & (
        contexts.columns[rows.DIGEST_LOW] == low[first_row[context_key]]
    )
    context_of = np.full(count, -1, np.int64)
    context_of[context_key[matches]] = np.flatnonzero(matches)
    return context_of, mismatch


def _request_order(impressions: Rows, key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Impressions in order of their requests (places), and where each request begins in that order."""
    order_key = impressions.columns[rows.ORDER_KEY]
    distinct, first_row = np.unique(key, return_index=True)
    by_order = np.argsort(order_key[first_row], kind="stable")
    sorted_keys = order_key[first_row][by_order]
    if (sorted_keys[1:] == sorted_keys[:-1]).any():
        # Two request keys with one 64-bit fingerprint: their texts decide.
        texts = impressions.request.take(pa.array(first_row)).to_pylist()
        by_order = np.array(sorted(range(len(texts)), key=lambda i: (order_key[first_row[i]], texts[i])))
    rank = np.empty(key.max(initial=-1) + 1, np.int64)
    rank[distinct[by_order]] = np.arange(len(distinct))
    ranks = rank[key]
    ordered = np.argsort(ranks, kind="stable")
    return ordered, np.searchsorted(ranks[ordered], np.arange(len(distinct)))


def _take_or_empty(contexts: Rows, chosen: np.ndarray) -> Rows:
    """The chosen contexts; -1 stands for a row without features and columns."""
    present = chosen >= 0
    taken = contexts.take(chosen[present])
    counts = np.zeros(len(chosen), np.int32)
    counts[present] = taken.counts
    return dataclasses.replace(taken, columns={}, request=pa.nulls(len(chosen), pa.binary()), counts=counts)
