"""Writes the vocabulary that follows another one, with its history."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

import storage
from features.scaling import Moments
from features.schema import Schema
from features.vocabulary import ID_DTYPE, KEY_DTYPE, OOV, Vocabulary
from preprocess import vocabulary_folder
from preprocess.generations import carry, history
from preprocess.generations.carry import Block, GivenIds, Rules, Shares
from preprocess.generations.history import FIELD_DTYPE, NO_FIELD, Counted
from preprocess.job import Job
from preprocess.options import Options, OptionsError

# In a field's statistics: how far its distribution moved, and the share of its values that were not known before.
PSI = "psi"
NEW_SHARE = "new_share"
# Keeps the index finite where a bin was empty.
_LEAST_SHARE = 1e-4
_KEYS, _IDS = "keys", "ids"


class _Tally:
    """What the blocks add up to; sums of arrays [fields + 1], of keys of no field last."""

    def __init__(self, fields: int) -> None:
        self.carried, self.evicted, self.added, self.pending = (np.zeros(fields, np.int64) for _ in range(4))
        self.shares: Shares | None = None

    def take(self, block: Block) -> None:
        fields = len(self.carried)
        self.carried += _of_field(block.kept, fields)
        self.evicted += _of_field(block.evicted, fields)
        self.added += _of_field(block.admitted, fields)
        self.pending += _of_field(block.pending, fields)
        self.shares = block.shares if self.shares is None else self.shares + block.shares


def _of_field(counted: Counted, fields: int) -> np.ndarray:
    """Keys of each field: int64 [fields + 1], those of none last."""
    return np.bincount(np.minimum(counted.fields, fields - 1), minlength=fields)


def rules(options: Options, previous: Schema, schema: Schema) -> Rules:
    """How a day's job turns counts into ids.

    Args:
        options: of the job.
        previous: schema of the vocabulary before.
        schema: of the day.
    """
    places = [schema.index.get(field.name, NO_FIELD) for field in previous.fields]
    # Nine digits: the last bit of a power differs between machines.
    half_lives = options.elapsed_days / options.count_half_life_days if options.count_half_life_days else 0.0
    return Rules(
        decay=round(0.5**half_lives, 9),
        min_count=options.min_count,
        evict_below=options.evict_below,
        places=np.array([*places, NO_FIELD], FIELD_DTYPE),
        fields=len(schema.fields),
        shift=schema.reserved_ids - previous.reserved_ids,
    )


def save(job: Job, day: Counted, boundaries: dict[str, tuple[float, ...]], moments: dict[str, Moments]) -> None:
    """Writes the job's vocabulary: that of --previous_vocabulary and the day's counts.

    Args:
        job: of the day.
        day: all keys of its train split.
        boundaries: of the number fields.
        moments: of those that stay numbers.

    Raises:
        OptionsError: more ids than an int32 can number.
        VocabularyError: the previous vocabulary is damaged.
    """
    previous = vocabulary_folder.load(job.options.previous_vocabulary)
    before = history.load(job.options.previous_vocabulary, previous)
    how = rules(job.options, previous.schema, job.schema)
    count = len(job.schema.fields) + 1
    tally = _Tally(count)
    admitted, freed = [], []
    for block in carry.blocks(previous, before, day, how):
        tally.take(block)
        admitted.append(block.admitted)
        freed.append(block.freed)
    new = Counted(
        *(np.concatenate([getattr(part, name) for part in admitted]) for name in ("keys", "counts", "fields"))
    )
    given = _give_ids(job.options, new, before.free_ids + how.shift, previous.size + how.shift)
    with _scratch(job) as folder:
        _write_arrays(folder, carry.blocks(previous, before, day, how), given)
        free = np.concatenate([given.still_free, *freed]).astype(ID_DTYPE)
        made = Vocabulary(
            schema=job.schema,
            keys=_mapped(folder, _KEYS, KEY_DTYPE),
            ids=_mapped(folder, _IDS, ID_DTYPE),
            boundaries=boundaries,
            moments=moments,
            statistics=_statistics(job, tally, day),
            unused_ids=len(free),
            generation=_generation(previous, how, tally, given),
        )
        vocabulary_folder.save(made, job.vocabulary_dir)
        written = {name: dtype for name, dtype in history.DTYPES.items() if name != history.FREE_IDS}
        parts = {name: [_mapped(folder, name, dtype)] for name, dtype in written.items()}
        history.write(job.vocabulary_dir, {**parts, history.FREE_IDS: [np.sort(free)]})


def _give_ids(options: Options, new: Counted, free: np.ndarray, size: int) -> GivenIds:
    try:
        return carry.give_ids(new, free, size)
    except OverflowError as error:
        raise OptionsError(
            f"{error}, more than an int32 can number; raise --min_count, or free ids by --evict_below"
        ) from error


@contextlib.contextmanager
def _scratch(job: Job) -> Iterator[str]:
    """A local folder for arrays that may be larger than memory."""
    if storage.is_local(job.folder):
        folder = job.path("numbered")
        os.makedirs(folder, exist_ok=True)
        yield folder
        return
    with storage.local_folder() as folder:
        yield folder


def _write_arrays(folder: str, blocks: Iterator[Block], given: GivenIds) -> None:
    """Writes keys, ids and history arrays, all ascending by key, in one walk over the blocks."""
    start = 0
    names = (_KEYS, _IDS, history.COUNTS, history.FIELDS)
    waiting = (history.PENDING_KEYS, history.PENDING_COUNTS, history.PENDING_FIELDS)
    with contextlib.ExitStack() as stack:
        files = {name: stack.enter_context(open(os.path.join(folder, name), "wb")) for name in (*names, *waiting)}
        for block in blocks:
            ids = given.ids[start : start + len(block.admitted.keys)]
            start += len(ids)
            at = np.searchsorted(block.kept.keys, block.admitted.keys)
            pairs = (
                (block.kept.keys, block.admitted.keys),
                (block.ids, ids),
                (block.kept.counts, block.admitted.counts),
                (block.kept.fields, block.admitted.fields),
            )
            for name, (old, new) in zip(names, pairs, strict=True):
                _append(files[name], np.insert(old, at, new) if len(new) else old)
            left = (block.pending.keys, block.pending.counts, block.pending.fields)
            for name, array in zip(waiting, left, strict=True):
                _append(files[name], array)


def _append(file: BinaryIO, array: np.ndarray) -> None:
    file.write(np.ascontiguousarray(array).data if len(array) else b"")


def _mapped(folder: str, name: str, dtype: np.dtype) -> np.ndarray:
    path = os.path.join(folder, name)
    return np.memmap(path, dtype, "r") if os.path.getsize(path) else np.empty(0, dtype)


def _generation(previous: Vocabulary, how: Rules, tally: _Tally, given: GivenIds) -> dict[str, Any]:
    return {
        "number": previous.generation.get("number", 0) + 1,
        "parent": previous.checksum(),
        "carried": int(tally.carried.sum()),
        "added": int(tally.added.sum()),
        "reused_ids": given.reused,
        "evicted": int(tally.evicted.sum()),
        "pending": int(tally.pending.sum()),
        "decay": how.decay,
    }


def _statistics(job: Job, tally: _Tally, day: Counted) -> dict[str, Any]:
    """As of a first vocabulary, and per field what the day changed."""
    seen = np.bincount(day.fields, minlength=len(tally.carried))
    fields = {}
    for i, field in enumerate(job.schema.fields):
        fields[field.name] = {
            "ids": int(seen[i]),
            "kept_ids": int(tally.carried[i] + tally.added[i]),
            "dropped_ids": int(tally.pending[i]),
            "added_ids": int(tally.added[i]),
            "evicted_ids": int(tally.evicted[i]),
            **_moved(tally.shares, i),
        }
    return {"min_count": job.options.min_count, OOV: job.options.oov, "fields": fields}


def _moved(shares: Shares | None, field: int) -> dict[str, float | None]:
    """Population stability index of a field against the days before, and the share of its values that are new.

    The index of two samples of one distribution is not 0 but about (bins - 1)(1/n + 1/m): that is taken off.
    """
    if shares is None or not shares.day[field].sum() or not shares.before[field].sum():
        return {PSI: None, NEW_SHARE: None}
    day, before = (np.maximum(each[field] / each[field].sum(), _LEAST_SHARE) for each in (shares.day, shares.before))
    index = float(((day - before) * np.log(day / before)).sum())
    chance = (carry.BINS - 1) * (1 / shares.day[field].sum() + 1 / max(shares.before[field].sum(), 1))
    index = max(index - float(chance), 0.0)
    return {PSI: round(index, 6), NEW_SHARE: round(float(shares.new[field].sum() / shares.day[field].sum()), 6)}
