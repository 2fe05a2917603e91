"""The order of the requests, and how it is cut into shards.

A request's order key is a mixed fingerprint of its key. Sorted by it, requests are in a random order that depends on
the log and the seed alone. A partition is a range of order keys, so what makes the order also partitions the join, and
no later step has to shuffle anything. A shard (a record file) is one partition, or several in a row where a
partition must be smaller than a shard to be joined in memory.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import pyarrow as pa

from features import keys, names
from preprocess.options import MIB, Options
from preprocess.read.inputs import InputFile

_BYTES_PER_PARTITION = 32 * MIB
# As few as this so that a small log, too, keeps several workers busy and its readers can shuffle files.
_MIN_SHARDS = 8
# Told apart from the order key, or a shard would hold requests of one split alone.
_SPLIT_SALT = 0x5EED
# Partitions whose rows have about as many sample ids as are compared at a time.
_PARTITIONS_PER_SAMPLE_ID_PART = 8
# Partitions of the train split that have about as many distinct keys as are counted at a time.
_PARTITIONS_PER_KEY_RANGE = 12
_MIN_KEY_RANGES = 4


@dataclasses.dataclass(frozen=True)
class Partitions:
    """Partitions of all splits, numbered through.

    Attributes:
        seed: of the order.
        shards: number of shards of each split, in order of the splits.
        per_shard: number of partitions that make a shard, of each split.
        test_fraction: share of the last split's requests in a log that is not split into files.
        test_from: seconds since 1970 from which on rows of such a log are of the last split; None: by share.
    """

    seed: int
    shards: dict[str, int]
    per_shard: dict[str, int]
    test_fraction: float
    test_from: int | None = None

    @functools.cached_property
    def ranges(self) -> dict[str, range]:
        """Partitions of each split."""
        ranges, first = {}, 0
        for split, count in self.shards.items():
            ranges[split] = range(first, first + count * self.per_shard[split])
            first = ranges[split].stop
        return ranges

    @property
    def count(self) -> int:
        """Number of partitions of all splits."""
        return sum(len(partitions) for partitions in self.ranges.values())

    @property
    def shard_count(self) -> int:
        """Number of shards of all splits."""
        return sum(self.shards.values())

    @property
    def sample_id_parts(self) -> int:
        """In how many parts sample ids are compared, by their hash."""
        return math.ceil(self.count / _PARTITIONS_PER_SAMPLE_ID_PART)

    @property
    def key_ranges(self) -> int:
        """At most so many ranges of keys are counted on their own."""
        return max(_MIN_KEY_RANGES, math.ceil(len(self.ranges.get(names.TRAIN, ())) / _PARTITIONS_PER_KEY_RANGE))

    def shard_of(self, partition: int) -> int:
        """Shard that a partition is part of, numbered through over the splits."""
        first = 0
        for split, partitions in self.ranges.items():
            if partition in partitions:
                return first + (partition - partitions.start) // self.per_shard[split]
            first += self.shards[split]
        raise IndexError(partition)

    def split_of(self, partition: int) -> str:
        """Split of a partition."""
        return next(split for split, partitions in self.ranges.items() if partition in partitions)

    def order_keys(self, request: pa.Array) -> np.ndarray:
        """Order key of each request key: binary [rows] -> uint64 [rows]."""
        encoded = request.dictionary_encode()
        prints = np.array([keys.fingerprint64(key) for key in encoded.dictionary.to_pylist()], np.int64)
        mixed = keys.mix64(prints ^ keys.mix64(np.array([self.seed], np.int64)))
        return mixed.view(np.uint64)[encoded.indices.to_numpy()]

    def of(self, order_key: np.ndarray, split: str | None, time: np.ndarray | None = None) -> np.ndarray:
        """Partition of each request: uint64 [rows], and its times (int64 [rows]) -> int64 [rows]."""
        if split is not None:
            return self._in_split(order_key, split)
        splits = list(self.shards)
        if len(splits) == 1:
            return self._in_split(order_key, splits[0])
        first, last = self._in_split(order_key, splits[0]), self._in_split(order_key, splits[-1])
        if self.test_from is not None and time is not None:
            return np.where(time >= self.test_from, last, first)
        drawn = keys.mix64(order_key.view(np.int64) ^ _SPLIT_SALT).view(np.uint64) / 2.0**64
        return np.where(drawn < self.test_fraction, last, first)

    def _in_split(self, order_key: np.ndarray, split: str) -> np.ndarray:
        partitions = self.ranges[split]
        high = (order_key >> np.uint64(32)) * np.uint64(len(partitions))
        return (high >> np.uint64(32)).astype(np.int64) + partitions.start


def plan(files: list[InputFile], options: Options) -> Partitions:
    """Partitions that fit the size of the input."""
    last = len(options.splits) - 1
    sizes = {}
    for place, split in enumerate(options.splits):
        share = options.test_fraction if place == last and last else 1 - options.test_fraction
        sizes[split] = sum(
            file.raw_size * (1 if file.split else share) for file in files if file.split in (split, None)
        )
    largest = max(sizes.values()) or 1
    shards, per_shard = {}, {}
    for split, size in sizes.items():
        wanted = max(1, round(size / _BYTES_PER_PARTITION))
        shards[split] = max(1, round(options.shards * size / largest)) if options.shards else max(wanted, _MIN_SHARDS)
        per_shard[split] = math.ceil(wanted / shards[split])
    return Partitions(options.seed, shards, per_shard, options.test_fraction, options.test_from_seconds)
