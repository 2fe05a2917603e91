"""Where two contexts of one request differ: which field of the schema, for the message of a rejected row."""

from __future__ import annotations

import numpy as np

from features import keys
from preprocess.columns import ragged, rows
from preprocess.columns.rows import Rows

NO_FIELD = -1
# Tells the same value at two places of a list apart.
_PLACE_STEP = np.int64(0x243F6A8885A308D3)


def fields(contexts: Rows, context_key: np.ndarray, impressions: Rows, key: np.ndarray, used: np.ndarray) -> np.ndarray:
    """The first field in which each impression's own context differs from the one that is used: int64 [impressions].

    Args:
        contexts: distinct ones, with digests.
        context_key: number of each context's request key, int64 [contexts].
        impressions: with the digests of their contexts.
        key: number of each impression's request key.
        used: place of the context that is used for each, int64 [impressions].

    Returns:
        Index of a field in the schema; NO_FIELD where one of the two is not there.
    """
    own = _own_contexts(contexts, context_key, impressions, key)
    known = (own >= 0) & (used >= 0)
    distinct, place = np.unique(np.concatenate([own[known], used[known]]), return_inverse=True)
    digests = _digests_by_field(contexts.take(distinct))
    one, other = np.split(place, 2)
    differ = digests[one] != digests[other]
    found = np.full(len(own), NO_FIELD)
    found[known] = np.where(differ.any(1), differ.argmax(1), NO_FIELD)
    return found


def _own_contexts(contexts: Rows, context_key: np.ndarray, impressions: Rows, key: np.ndarray) -> np.ndarray:
    """Place of the context that each impression came with: int64 [impressions]; -1 for one that is not there."""
    names = (rows.DIGEST_HIGH, rows.DIGEST_LOW)
    of_contexts = np.stack([context_key, *(contexts.columns[name] for name in names)], 1)
    of_impressions = np.stack([key, *(impressions.columns[name] for name in names)], 1)
    _, code = np.unique(np.concatenate([of_contexts, of_impressions]), axis=0, return_inverse=True)
    code = code.reshape(-1)
    place = np.full(code.max(initial=-1) + 1, -1, np.int64)
    place[code[: len(contexts)]] = np.arange(len(contexts))
    return place[code[len(contexts) :]]


def _digests_by_field(contexts: Rows) -> np.ndarray:
    """A number for the values and weights of each field of each context: int64 [contexts, fields]."""
    row, field = ragged.rows_of(contexts.counts), contexts.field.astype(np.int64)
    number = np.arange(len(row))
    begins = np.ones(len(row), bool)
    begins[1:] = (row[1:] != row[:-1]) | (field[1:] != field[:-1])
    nth = number - np.maximum.accumulate(np.where(begins, number, 0)) if len(row) else number
    found = np.zeros((len(contexts), int(field.max(initial=0)) + 1), np.int64)
    with np.errstate(over="ignore"):
        values = keys.mix64(contexts.key.astype(np.int64) + nth * _PLACE_STEP)
        weights = contexts.weight.view(np.uint32).astype(np.int64)
        np.add.at(found, (row, field), keys.mix64(values + weights))
    return found
