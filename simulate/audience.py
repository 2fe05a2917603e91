"""The people: their profile, what they like, and the weighted lists of what they did before."""

from __future__ import annotations

import dataclasses

import numpy as np

from simulate import randomness
from simulate.catalog import PROFILE_SIZES, SCRAMBLE, Catalog, ragged_indices
from simulate.options import Options

CATEGORY, SHOP, BRAND, INTENT = "109_14", "110_14", "127_14", "150_14"
# Mean lengths of the history lists in Ali-CCP.
MEAN_LENGTHS = {CATEGORY: 69.0, SHOP: 250.0, BRAND: 154.0, INTENT: 136.0}

# Share of people whose profile is known, and of those the share for whom a field is.
PROFILE_KNOWN = 0.87
PROFILE_FIELD_KNOWN = {"126": 0.42 / 0.87, "129": 0.64 / 0.87}
WITHOUT_HISTORY = 0.02
ACTIVITY_SIGMA = 0.6
# Part of what someone likes that is in the history of a given request: histories of a person differ a little.
LIKED_IN_HISTORY = 0.9
MAX_COUNT = 1000
LENGTH_SAMPLE = 512
LENGTH_ROUNDS = 4


@dataclasses.dataclass(frozen=True)
class History:
    """What the users of some requests did before, in one field; no value occurs twice in a request.

    Attributes:
        values: int64 [sum of lengths], places in the catalog, in no order that means anything.
        rows: int64 [sum of lengths], index of the request.
        counts: int64 [sum of lengths], how often; 1 and up.
        lengths: int64 [requests].
        size: number of different values that there are.
    """

    values: np.ndarray
    rows: np.ndarray
    counts: np.ndarray
    lengths: np.ndarray
    size: int

    def counts_of(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """How often the value is in the history of the request, 0 if it is not: int64 [n] twice -> int64 [n]."""
        if not len(self.values):
            return np.zeros(len(values), np.int64)
        known = _scrambled(self.rows, self.values, self.size)
        asked = _scrambled(rows, values, self.size)
        found = np.minimum(np.searchsorted(known, asked), len(known) - 1)
        return np.where((known[found] == asked) & (values >= 0), self.counts[found], 0)


class Audience:
    """Users as functions of their number: no memory per user.

    Each user likes a sequence of values of each history field, the first ones most: liked value number j of user u is
    a hash of u and j. Shops, brands and intents are those of liked categories.
    """

    def __init__(self, options: Options, catalog: Catalog) -> None:
        self._catalog = catalog
        self._profile = randomness.stream(options.seed, "profile")
        self._activity = randomness.stream(options.seed, "activity")
        self._liked = {field: randomness.stream(options.seed, f"liked {field}") for field in MEAN_LENGTHS}
        self._sizes = {
            CATEGORY: catalog.categories,
            SHOP: int(catalog.shops[-1]),
            BRAND: int(catalog.brands[-1]),
            INTENT: int(catalog.intents[-1]),
        }
        self._mean_liked = self._calibrated_lengths(options)

    def profile(self, users: np.ndarray) -> dict[str, np.ndarray]:
        """Profile fields of users: int64 [n], -1 where unknown."""
        state = randomness.bits(self._profile, users)
        known = randomness.unit(state) < PROFILE_KNOWN
        values = {}
        for number, (field, size) in enumerate(PROFILE_SIZES.items()):
            drawn, present = randomness.half_units(randomness.bits(state, np.full(len(users), number)))
            field_known = known & (present < PROFILE_FIELD_KNOWN.get(field, 1.0))
            values[field] = np.where(field_known, randomness.zipf_ranks(drawn, size, size / 2), -1)
        return values

    def liked_lengths(self, field: str, users: np.ndarray) -> np.ndarray:
        """How many values of a field users like: int64 [n]."""
        random_bits = randomness.bits(self._activity, users)
        activity = randomness.lognormal_table(ACTIVITY_SIGMA)[randomness.lane(random_bits, 0)]
        lengths = np.ceil(activity * self._mean_liked[field]).astype(np.int64)
        return np.where(randomness.lane(random_bits, 1) < WITHOUT_HISTORY * randomness.LANES, 0, lengths)

    def liked(self, field: str, users: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Category, and place in the category's block, of liked values: int64 [n] twice.

        Args:
            field: a history field; of `CATEGORY` the place means nothing.
            users: int64 [n].
            numbers: int64 [n], which of the user's liked values.
        """
        state = randomness.bits(randomness.bits(self._liked[CATEGORY], users), numbers)
        if field == CATEGORY:
            return self._catalog.popular_categories(randomness.unit(state)), np.zeros_like(numbers)
        which, place = randomness.half_units(randomness.bits(randomness.bits(self._liked[field], users), numbers))
        liked_categories = self.liked_lengths(CATEGORY, users)
        favour = which * which if field != INTENT else which * which * which * which
        category, _ = self.liked(CATEGORY, users, (favour * liked_categories).astype(np.int64))
        if field == INTENT:
            return category, self._catalog.liked_intents(category, place) - self._catalog.intents[category]
        starts = self._catalog.shops if field == SHOP else self._catalog.brands
        block = starts[category + 1] - starts[category]
        return category, (place * place * block).astype(np.int64)

    def history(self, field: str, users: np.ndarray, states: np.ndarray) -> History:
        """Histories of requests by `users` (int64 [requests]) with random `states` (uint64 [requests])."""
        lengths = self.liked_lengths(field, users)
        rows, numbers = ragged_indices(lengths)
        values = self._values(field, users[rows], numbers)
        random_bits = randomness.bits(states[rows] + self._liked[field], numbers)
        kept = randomness.lane(random_bits, 0) < LIKED_IN_HISTORY * randomness.LANES
        rank = (numbers + 1) / lengths[rows]
        surprise = randomness.lognormal_table(1.0)[randomness.lane(random_bits, 1)]
        counts = np.clip((surprise / np.sqrt(rank)).astype(np.int64) + 1, 1, MAX_COUNT - 1)
        return _merged(rows[kept], values[kept], counts[kept], self._sizes[field], len(users))

    def _values(self, field: str, users: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        category, place = self.liked(field, users, numbers)
        if field == CATEGORY:
            return category
        starts = {SHOP: self._catalog.shops, BRAND: self._catalog.brands, INTENT: self._catalog.intents}[field]
        return starts[category] + place

    def _calibrated_lengths(self, options: Options) -> dict[str, float]:
        """Mean numbers of liked values that give histories of the wanted mean lengths, duplicates merged."""
        wanted = {field: mean * options.history_scale for field, mean in MEAN_LENGTHS.items()}
        self._mean_liked = {field: mean / LIKED_IN_HISTORY for field, mean in wanted.items()}
        state = randomness.stream(options.seed, "length sample")
        states = randomness.bits(state, np.arange(LENGTH_SAMPLE))
        users = (randomness.unit(states) * options.users).astype(np.int64)
        for _ in range(LENGTH_ROUNDS):
            for field, mean in wanted.items():
                found = self.history(field, users, states).lengths.mean()
                longest = 3 * mean / LIKED_IN_HISTORY
                self._mean_liked[field] = round(min(longest, self._mean_liked[field] * mean / max(found, 0.1)), 3)
        return self._mean_liked


def _merged(rows: np.ndarray, values: np.ndarray, counts: np.ndarray, size: int, requests: int) -> History:
    """Merges equal values of a request, keeping the largest count: one sort of a packed int64."""
    packed = np.sort(_scrambled(rows, values, size) * MAX_COUNT + counts)
    keys = packed // MAX_COUNT
    last = np.ones(len(keys), bool)
    last[:-1] = keys[1:] != keys[:-1]
    keys = keys[last]
    merged_rows = keys // size
    merged_values = (keys - merged_rows * size) * pow(SCRAMBLE, -1, size) % size
    lengths = np.bincount(merged_rows, minlength=requests)
    return History(merged_values, merged_rows, packed[last] % MAX_COUNT, lengths, size)


def _scrambled(rows: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """One number for a request and a value. Sorted by it, a history does not tell which values are popular."""
    return rows * size + values * SCRAMBLE % size
