"""One day's counts and the vocabulary before it make the next vocabulary: keys keep their ids.

A carried key's count decays and gains what the day has of it. Below `evict_below` the key loses its id, and its count
goes on among the pending keys; a pending or new key whose count reaches `min_count` gets an id. Ids that were free in
the vocabulary before are given first, then new ones are appended: so an id is free for a whole generation before
another key has it, and no model meets it as two things.

The keys of the history are walked in blocks: what is in memory is a block and the day.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np

from features.keys import mix64
from features.vocabulary import ID_DTYPE, Vocabulary
from preprocess.generations.history import COUNT_DTYPE, NO_FIELD, Counted, History

BLOCK = 1 << 22
# A pending key is forgotten when its count has decayed below this: what came once, after a half-life.
FORGOTTEN = 0.5
# By which a field's distribution is compared with that of the days before.
BIN_BITS = 5
BINS = 1 << BIN_BITS


@dataclasses.dataclass(frozen=True)
class Rules:
    """How counts turn into ids.

    Attributes:
        decay: factor on all counts before the day's are added.
        min_count: a key gets an id at this count.
        evict_below: a key loses it below this; 0: never.
        places: uint16 [old fields + 1], place in the new schema of each old field, NO_FIELD of one that is gone; the
            last entry is of NO_FIELD itself.
        fields: number of fields of the new schema.
        shift: what is added to every id, as the schema reserves more or fewer than before.
    """

    decay: float
    min_count: float
    evict_below: float
    places: np.ndarray
    fields: int
    shift: int

    def places_of(self, fields: np.ndarray) -> np.ndarray:
        """Fields by the new schema: uint16 [n] -> uint16 [n]."""
        return self.places[np.minimum(fields, len(self.places) - 1)]


@dataclasses.dataclass(frozen=True)
class Shares:
    """Counts by field and by bin of the key's hash: float64 [fields, BINS] each.

    Attributes:
        before: decayed, without the day's.
        day: the day's.
        new: those of the day whose keys had no id before.
    """

    before: np.ndarray
    day: np.ndarray
    new: np.ndarray

    def __add__(self, other: Shares) -> Shares:
        return Shares(self.before + other.before, self.day + other.day, self.new + other.new)


@dataclasses.dataclass(frozen=True)
class Block:
    """What becomes of the keys of an interval.

    Attributes:
        kept: keys that keep their id.
        ids: int32, theirs.
        evicted: keys that lose it.
        freed: int32, the ids that they had.
        admitted: keys that get one.
        pending: keys that go on without.
        shares: of the fields, before the day and on it.
    """

    kept: Counted
    ids: np.ndarray
    evicted: Counted
    freed: np.ndarray
    admitted: Counted
    pending: Counted
    shares: Shares


def blocks(previous: Vocabulary, history: History, day: Counted, rules: Rules) -> Iterator[Block]:
    """The next vocabulary before ids are given out, in order of key."""
    edges = [slice(start, start + BLOCK) for start in range(0, len(previous.keys), BLOCK)] or [slice(0, 0)]
    cuts = [int(previous.keys[edge.start]) for edge in edges[1:]]
    for edge, pending, today in zip(edges, _slices(history.pending.keys, cuts), _slices(day.keys, cuts), strict=True):
        carried = Counted(
            np.asarray(previous.keys[edge]),
            np.asarray(history.counts[edge]) * COUNT_DTYPE.type(rules.decay),
            np.asarray(history.fields[edge]),
        )
        yield _block(carried, np.asarray(previous.ids[edge]), history.pending.take(pending), day.take(today), rules)


def _slices(keys: np.ndarray, cuts: list[int]) -> list[slice]:
    edges = [0, *np.searchsorted(keys, np.array(cuts, np.int64)).tolist(), len(keys)]
    return [slice(start, end) for start, end in itertools.pairwise(edges)]


def _block(carried: Counted, ids: np.ndarray, pending: Counted, day: Counted, rules: Rules) -> Block:
    places, known = find(carried.keys, day.keys)
    aged = _aged(pending, rules)
    shares = Shares(
        _by_bin(dataclasses.replace(carried, fields=rules.places_of(carried.fields)), rules) + _by_bin(aged, rules),
        _by_bin(day, rules),
        _by_bin(day.take(~known), rules),
    )
    carried.counts[places[known]] += day.counts[known]
    fields, gone = _renamed(carried, places[known], day.fields[known], rules)
    carried = dataclasses.replace(carried, fields=fields)
    rare = carried.counts < rules.evict_below
    waiting = _merged(aged, day.take(~known))
    admitted = waiting.counts >= rules.min_count
    evicted = carried.take(rare & ~gone)
    remembered = _merged(waiting.take(~admitted), evicted)
    lost = rare | gone
    return Block(
        kept=carried.take(~lost),
        ids=(ids[~lost] + rules.shift).astype(ID_DTYPE),
        evicted=carried.take(lost),
        freed=(ids[lost] + rules.shift).astype(ID_DTYPE),
        admitted=waiting.take(admitted),
        pending=remembered.take(remembered.counts >= FORGOTTEN),
        shares=shares,
    )


def _renamed(
    carried: Counted, seen: np.ndarray, seen_fields: np.ndarray, rules: Rules
) -> tuple[np.ndarray, np.ndarray]:
    """Fields of carried keys by the new schema, and which keys are of a field that is gone.

    A key that the day has is of the day's field: so those of a vocabulary that noted none are learnt.
    """
    fields = rules.places_of(carried.fields)
    gone = (fields == NO_FIELD) & (carried.fields != NO_FIELD)
    fields[seen] = np.where(fields[seen] == NO_FIELD, seen_fields, fields[seen])
    gone[seen] = False
    return fields, gone


def _aged(pending: Counted, rules: Rules) -> Counted:
    fields = rules.places_of(np.asarray(pending.fields))
    counts = np.asarray(pending.counts) * COUNT_DTYPE.type(rules.decay)
    stays = (fields != NO_FIELD) | (np.asarray(pending.fields) == NO_FIELD)
    return Counted(np.asarray(pending.keys), counts, fields).take(stays)


def _by_bin(counted: Counted, rules: Rules) -> np.ndarray:
    """Sums of counts: float64 [fields, BINS]; keys of no field are left out."""
    known = counted.fields != NO_FIELD
    counted = counted if known.all() else counted.take(known)
    bins = (mix64(counted.keys).view(np.uint64) >> np.uint64(64 - BIN_BITS)).astype(np.int64)
    size = rules.fields * BINS
    return np.bincount(counted.fields.astype(np.int64) * BINS + bins, counted.counts, size).reshape(-1, BINS)


def find(keys: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place of each asked key among ascending keys, and whether it is there: int64 [n] and bool [n]."""
    if not len(keys):
        return np.zeros(len(asked), np.int64), np.zeros(len(asked), bool)
    places = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return places, keys[places] == asked


def _merged(one: Counted, other: Counted) -> Counted:
    """Counts of both; where both have a key, the field of `one`."""
    keys = np.concatenate([one.keys, other.keys])
    if not len(keys):
        return Counted(keys, one.counts[:0], one.fields[:0])
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    counts = np.add.reduceat(np.concatenate([one.counts, other.counts])[order], first)
    return Counted(keys[first], counts, np.concatenate([one.fields, other.fields])[order][first])


@dataclasses.dataclass(frozen=True)
class GivenIds:
    """Ids that the admitted keys get.

    Attributes:
        ids: int32 [admitted], in order of key.
        reused: how many of them other keys had before.
        size: ids in all then, reserved and free ones included.
        still_free: int32, ids that stay free though they were before.
    """

    ids: np.ndarray
    reused: int
    size: int
    still_free: np.ndarray


def give_ids(admitted: Counted, free: np.ndarray, size: int) -> GivenIds:
    """Ids for admitted keys, frequent ones first: free ids in ascending order, then those from `size` on.

    Raises:
        OverflowError: more ids than an int32 can number.
    """
    free = np.sort(free)
    reused = min(len(free), len(admitted.keys))
    appended = len(admitted.keys) - reused
    if size + appended > np.iinfo(ID_DTYPE).max:
        raise OverflowError(f"{size + appended} ids")
    given = np.concatenate([free[:reused], np.arange(size, size + appended)]).astype(ID_DTYPE)
    ids = np.empty(len(given), ID_DTYPE)
    ids[np.lexsort((admitted.keys, -admitted.counts.astype(np.float64)))] = given
    return GivenIds(ids, reused, size + appended, free[reused:].astype(ID_DTYPE))
