"""The walk over blocks against a dictionary that does the same the plain way."""

import numpy as np
import pytest

from features.schema import Columns, Field, Schema
from features.vocabulary import Vocabulary
from preprocess.generations import carry, history
from preprocess.generations.carry import Rules
from preprocess.generations.history import NO_FIELD, Counted, History

FIELDS = tuple(Field(name, "user", "impression", "one", "id") for name in ("a", "b", "c"))
SCHEMA = Schema("test", FIELDS, Columns("click", "conversion"))


def counted(keys, counts, fields):
    return Counted(np.array(keys, np.int64), np.array(counts, np.float32), np.array(fields, np.uint16))


def random_counted(random, size):
    keys = np.unique(random.integers(-200, 200, size))
    return counted(keys, random.integers(1, 9, len(keys)), random.integers(0, 3, len(keys)))


def random_days(seed):
    """A vocabulary with free ids, its history, a day, and rules."""
    random = np.random.default_rng(seed)
    known = random_counted(random, random.integers(0, 80))
    others = random_counted(random, random.integers(0, 80))
    pending = others.take(~np.isin(others.keys, known.keys))
    free = int(random.integers(0, 5))
    numbers = random.permutation(len(known.keys) + free) + SCHEMA.reserved_ids
    ids, unused = numbers[: len(known.keys)].astype(np.int32), np.sort(numbers[len(known.keys) :]).astype(np.int32)
    vocabulary = Vocabulary(SCHEMA, known.keys, ids, unused_ids=free)
    before = History(known.counts, known.fields, pending, unused)
    rules = Rules(0.5, 4, random.choice([0.0, 2.5]), np.array([0, 1, 2, NO_FIELD], np.uint16), 3, 0)
    return vocabulary, before, random_counted(random, random.integers(0, 120)), rules


def plainly(vocabulary, before, day, rules):
    """(ids by key, counts by key with an id, counts by pending key, free ids)."""
    counts = dict(zip(day.keys.tolist(), day.counts.tolist(), strict=True))
    ids = dict(zip(vocabulary.keys.tolist(), vocabulary.ids.tolist(), strict=True))
    have, waiting, freed = {}, {}, []
    for key, count in zip(vocabulary.keys.tolist(), before.counts.tolist(), strict=True):
        total = count * rules.decay + counts.pop(key, 0)
        if total < rules.evict_below:
            freed.append(ids.pop(key))
            waiting[key] = total
        else:
            have[key] = total
    for key, count in zip(before.pending.keys.tolist(), before.pending.counts.tolist(), strict=True):
        waiting[key] = count * rules.decay + counts.pop(key, 0)
    evicted = set(waiting) - set(before.pending.keys.tolist())
    waiting |= counts
    admitted = {key: n for key, n in waiting.items() if n >= rules.min_count and key not in evicted}
    pending = {key: n for key, n in waiting.items() if key not in admitted and n >= carry.FORGOTTEN}
    free = sorted(before.free_ids.tolist())
    size = vocabulary.size
    for key in sorted(admitted, key=lambda key: (-admitted[key], key)):
        if free:
            ids[key] = free.pop(0)
        else:
            ids[key] = size
            size += 1
    return ids, have | admitted, pending, sorted(free + freed)


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_equals_the_plain_way(monkeypatch, block):
    monkeypatch.setattr(carry, "BLOCK", block)
    for seed in range(60):
        vocabulary, before, day, rules = random_days(seed)
        ids, counts, pending, free = plainly(vocabulary, before, day, rules)
        found = list(carry.blocks(vocabulary, before, day, rules))
        new = Counted(*(np.concatenate([getattr(b.admitted, n) for b in found]) for n in ("keys", "counts", "fields")))
        given = carry.give_ids(new, before.free_ids, vocabulary.size)
        made = dict(zip(new.keys.tolist(), given.ids.tolist(), strict=True))
        made |= {k: i for b in found for k, i in zip(b.kept.keys.tolist(), b.ids.tolist(), strict=True)}
        assert made == ids
        parts = [part for b in found for part in (b.kept, b.admitted)]
        assert {k: n for p in parts for k, n in zip(p.keys.tolist(), p.counts.tolist(), strict=True)} == counts
        assert {
            k: n for b in found for k, n in zip(b.pending.keys.tolist(), b.pending.counts.tolist(), strict=True)
        } == pending
        assert sorted([*given.still_free.tolist(), *(i for b in found for i in b.freed.tolist())]) == free


def test_no_id_goes_to_another_key_on_the_day_it_is_freed():
    vocabulary = Vocabulary(SCHEMA, np.array([10], np.int64), np.array([6], np.int32))
    before = History(np.array([2.0], np.float32), np.array([0], np.uint16), counted([], [], []), np.empty(0, np.int32))
    rules = Rules(0.1, 2, 1.0, np.array([0, 1, 2, NO_FIELD], np.uint16), 3, 0)
    (block,) = carry.blocks(vocabulary, before, counted([11], [5], [0]), rules)
    assert block.freed.tolist() == [6] and block.evicted.keys.tolist() == [10]
    assert carry.give_ids(block.admitted, before.free_ids, vocabulary.size).ids.tolist() == [7]


def test_ids_run_out_loudly():
    with pytest.raises(OverflowError):
        carry.give_ids(counted([1], [5], [0]), np.empty(0, np.int32), np.iinfo(np.int32).max)


def test_a_vocabulary_without_history_counts_each_key_as_just_frequent_enough(tmp_path):
    made = Vocabulary(SCHEMA, np.arange(4), np.arange(6, 10, dtype=np.int32), statistics={"min_count": 20})
    made.save(str(tmp_path / "vocabulary"))
    found = history.load(str(tmp_path / "vocabulary"), made)
    assert found.counts.tolist() == [20.0] * 4 and not len(found.pending.keys)
