"""Counts: in how many impressions a key occurs. By piece, then merged by ranges of keys."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from features.schema import Schema
from preprocess.columns import ragged
from preprocess.exchange import channels, mail
from preprocess.exchange.mail import Inbox, Outbox
from preprocess.join.piece import Column, Piece


class SharedIdError(ValueError):
    """An id of two fields in a log whose schema says that ids are unique."""


@dataclasses.dataclass(frozen=True)
class Counts:
    """Keys of some rows.

    Attributes:
        keys: ascending, int64 [keys].
        counts: number of impressions in which each occurs, int64 [keys].
        fields: index of the field that each occurs in (of several, the first), uint16 [keys].
    """

    keys: np.ndarray
    counts: np.ndarray
    fields: np.ndarray


def count(piece: Piece, schema: Schema) -> Counts:
    """Counts of a piece. A key that an impression has twice, in a list or in several fields, counts once."""
    row_of_impression = np.repeat(np.arange(len(piece.sizes)), piece.sizes)
    size = len(piece.keys)
    counts = np.zeros(size, np.int64)
    fields = np.zeros(size, np.uint16)
    seen_in = np.zeros(size, np.uint16)
    for field in reversed(schema.id_fields):
        fields[piece.columns[field.name].codes] = schema.index[field.name]
    for field in schema.id_fields:
        column = piece.columns[field.name]
        distinct = _without_repeats(column, size) if field.is_many else column
        times = np.repeat(piece.sizes, distinct.lengths) if field.is_context else None
        found = np.bincount(distinct.codes, weights=times, minlength=size)
        counts += found.astype(np.int64, copy=False)
        seen_in += found > 0
    shared = np.flatnonzero(seen_in > 1)
    if len(shared):
        counts[shared] = _counts_over_fields(piece, schema, shared, row_of_impression)
        last = np.zeros(size, np.uint16)
        for field in schema.id_fields:
            last[piece.columns[field.name].codes] = schema.index[field.name]
        _refuse_shared(piece.keys[shared], fields[shared], last[shared], schema)
    return Counts(piece.keys, counts, fields)


def _without_repeats(column: Column, size: int) -> Column:
    """The column with each key once in a row.

    Most rows have no repeats, and sorting all to find them would cost more than all other counting. So every entry
    claims a slot of a table by a hash of row and key; only entries that share a slot are compared.
    """
    if not len(column.codes):
        return column
    row = ragged.rows_of(column.lengths)
    pair = row * size + column.codes
    bits = max(10, int(len(pair) * 4).bit_length())
    slot = (pair.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits)
    owner = np.zeros(1 << bits, np.int32)
    owner[slot] = np.arange(len(pair), dtype=np.int32)
    lost = owner[slot] != np.arange(len(pair), dtype=np.int32)
    contested = np.zeros(1 << bits, bool)
    contested[slot[lost]] = True
    candidates = np.flatnonzero(contested[slot])
    distinct, first = np.unique(pair[candidates], return_index=True)
    if len(distinct) == len(candidates):
        return column
    keep = np.ones(len(pair), bool)
    keep[np.delete(candidates, first)] = False
    return Column(ragged.sums(keep, column.lengths), column.codes[keep], column.weights)


def _counts_over_fields(piece: Piece, schema: Schema, shared: np.ndarray, request_of: np.ndarray) -> np.ndarray:
    """Counts of keys that occur in several fields, by listing every impression that has them."""
    is_shared = np.zeros(len(piece.keys), bool)
    is_shared[shared] = True
    first_impression = ragged.starts(piece.sizes)
    pairs = [np.empty(0, np.int64)]
    for field in schema.id_fields:
        column = piece.columns[field.name]
        chosen = is_shared[column.codes]
        row, code = ragged.rows_of(column.lengths)[chosen], column.codes[chosen].astype(np.int64)
        if field.is_context:
            code = np.repeat(code, piece.sizes[row])
            row = ragged.positions(first_impression[row], piece.sizes[row])
        pairs.append(np.unique(code * len(request_of) + row))
    impressions = np.unique(np.concatenate(pairs)) // max(len(request_of), 1)
    return np.bincount(impressions, minlength=len(piece.keys))[shared]


def _refuse_shared(keys: np.ndarray, first: np.ndarray, last: np.ndarray, schema: Schema) -> None:
    """Raises SharedIdError for an id of two fields where the schema says that there is none.

    Args:
        keys: int64 [n].
        first: index of the first field that has each.
        last: index of the last.
        schema: fields of one vocabulary share their ids.
    """
    if not schema.unique_ids:
        return
    for key, low, high in zip(keys.tolist(), first.tolist(), last.tolist(), strict=True):
        one, other = schema.fields[low], schema.fields[high]
        if one.vocabulary != other.vocabulary:
            raise SharedIdError(
                f"id {key} occurs in field {one.name} and in field {other.name}, but the schema says unique_ids: true; "
                "leave unique_ids out, or give both fields one vocabulary if it means the same in both"
            )


def merge(parts: Sequence[Counts], schema: Schema) -> Counts:
    """Counts of all parts together. Raises SharedIdError."""
    if not parts:
        return Counts(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint16))
    keys = np.concatenate([part.keys for part in parts])
    # Timsort finds the parts' ascending runs and merges them.
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    first = np.flatnonzero(np.concatenate([np.ones(min(len(keys), 1), bool), keys[1:] != keys[:-1]]))
    if not len(first):
        return merge([], schema)
    counts = np.add.reduceat(np.concatenate([part.counts for part in parts])[order], first)
    every = np.concatenate([part.fields for part in parts])[order]
    fields, last = np.minimum.reduceat(every, first), np.maximum.reduceat(every, first)
    differ = np.flatnonzero(fields != last)
    _refuse_shared(keys[first][differ], fields[differ], last[differ], schema)
    return Counts(keys[first], counts, fields)


def send(counts: Counts, first_keys: np.ndarray, outbox: Outbox) -> None:
    """Sends counts to the ranges of their keys, each given by its first key."""
    edges = [*np.searchsorted(counts.keys, first_keys, side="left").tolist(), len(counts.keys)]
    for number, (begin, end) in enumerate(itertools.pairwise(edges)):
        columns = {"keys": counts.keys, "counts": counts.counts, "fields": counts.fields}
        outbox.send(channels.COUNTS, number, {name: column[begin:end] for name, column in columns.items()})


def receive(inbox: Inbox, schema: Schema) -> Counts:
    """Counts of a range of keys. Raises SharedIdError."""
    found = mail.all_arrays(inbox.parts(channels.COUNTS))
    return merge([Counts(arrays["keys"], arrays["counts"], arrays["fields"]) for arrays in found], schema)
