"""Requests: who looks, at which items, and what the user's history says about each."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np

from features import names
from simulate import calendar, randomness
from simulate.audience import BRAND, CATEGORY, INTENT, MEAN_LENGTHS, SHOP, Audience, History
from simulate.calendar import Calendar
from simulate.catalog import Catalog, Items, ragged_indices
from simulate.options import Options

MEAN_IMPRESSIONS = 58
IMPRESSIONS_SIGMA = 0.9

# Why an item is shown: the user likes its shop, brand or category, or it is just popular.
FOR_SHOP, FOR_BRAND, FOR_CATEGORY, FOR_ALL = range(4)
MOTIVES = 4
# Share of impressions whose category, shop and brand are in the user's history (fields 508, 509, 702).
WANTED_MATCHES = (0.70, 0.22, 0.22)
MOTIVE_SAMPLE = 512
LEAST_POPULAR_SHARE = 0.03

# Of so many neighbouring items of a category, the last came up after training: the test split alone shows it.
ITEMS_PER_NEW_ONE = 8

# Share of impressions at each place (field 301).
PLACE_SHARES = (0.55, 0.30, 0.15)


@dataclasses.dataclass(frozen=True)
class Requests:
    """Some requests of a split in order, and their impressions.

    Attributes:
        users: int64 [requests].
        states: uint64 [requests], of all randomness below a request.
        lengths: int64 [requests], impressions of each.
        rows: int64 [impressions], the request of each.
        numbers: int64 [impressions], 0 and up within the request.
        profile: int64 [requests] by field, -1 where unknown.
        histories: by field.
        items: of each impression.
        places: int64 [impressions], where the item was shown.
        matches: int64 [impressions] by field 508, 509, 702, and [intents] for 853: how often the item's category,
            shop, brand or intent is in the history, 0 where it is not.
        day: of the world, 0 where it has none.
    """

    users: np.ndarray
    states: np.ndarray
    lengths: np.ndarray
    rows: np.ndarray
    numbers: np.ndarray
    profile: dict[str, np.ndarray]
    histories: dict[str, History]
    items: Items
    places: np.ndarray
    matches: dict[str, np.ndarray]
    day: int = 0

    def impression_bits(self, seed: int, name: str) -> np.ndarray:
        """64 random bits for each impression: uint64 [impressions]."""
        return randomness.bits(self.states[self.rows] + randomness.stream(seed, name), self.numbers)


class World:
    """Users, items and how they meet; the same for both splits. Of a world with days, one day: at first day 0.

    Attributes:
        options: of the simulation.
        calendar: of a world with days, else None.
        day: from 0.
        catalog: what there is to show.
        audience: who it is shown to.
        motives: probability of each motive, such that histories match items as often as in Ali-CCP.
    """

    def __init__(self, options: Options, days: Calendar | None = None) -> None:
        self.options = options
        self.calendar = days
        self.day = 0
        self.catalog = Catalog(options, days is not None)
        self.audience = Audience(options, self.catalog)
        self._requests = {
            split: randomness.stream(options.seed, f"{split} requests") for split in (names.TRAIN, names.TEST)
        }
        self.motives = np.full(MOTIVES, 1 / MOTIVES)
        self.motives = self._calibrated_motives()

    def on(self, day: int) -> World:
        """The same world on another day."""
        later = copy.copy(self)
        later.day = day
        later._requests = {
            split: randomness.stream(self.options.seed, f"{split} requests of day {day}")
            for split in (names.TRAIN, names.TEST)
        }
        return later

    def context_keys(self, split: str, start: int, stop: int) -> list[str]:
        """Keys of requests start to stop: 16 hexadecimal digits, none twice in a split."""
        return [f"{state:016x}" for state in self._states(split, start, stop).tolist()]

    def lengths(self, split: str, start: int, stop: int) -> np.ndarray:
        """Impressions of requests start to stop: int64 [requests], mean 58 with a long tail."""
        random_bits = randomness.bits(self._states(split, start, stop), np.zeros(stop - start))
        factor = randomness.lognormal_table(IMPRESSIONS_SIGMA)[randomness.lane(random_bits, 0)]
        return np.ceil(factor * (MEAN_IMPRESSIONS - 0.5)).astype(np.int64)

    def draw(self, split: str, start: int, stop: int) -> Requests:
        """Requests start to stop of a split, whatever was drawn before."""
        states = self._states(split, start, stop)
        units = randomness.unit(randomness.bits(states, np.ones(len(states))))
        users = self._users((units * units * self.options.users).astype(np.int64))
        lengths = self.lengths(split, start, stop)
        rows, numbers = ragged_indices(lengths)
        histories = {field: self.audience.history(field, users, states) for field in MEAN_LENGTHS}
        random_bits = randomness.bits(states[rows], numbers + 2)
        items = self._shown_items(split, users[rows], random_bits)
        place_edges = np.cumsum(PLACE_SHARES)[:-1] * randomness.LANES
        places = np.searchsorted(place_edges, randomness.lane(random_bits, 3), side="right")
        profile = self.audience.profile(users)
        matches = _matches(items, rows, histories)
        return Requests(users, states, lengths, rows, numbers, profile, histories, items, places, matches, self.day)

    def _states(self, split: str, start: int, stop: int) -> np.ndarray:
        return randomness.bits(self._requests[split], np.arange(start, stop))

    def _shown_items(self, split: str, users: np.ndarray, random_bits: np.ndarray) -> Items:
        edges = np.cumsum(self.motives)[:-1] * randomness.LANES
        motive = np.searchsorted(edges, randomness.lane(random_bits, 0), side="right")
        first, second = randomness.half_units(randomness.bits(random_bits, np.zeros(len(users))))
        category = self.catalog.popular_categories(first)
        position: np.ndarray = np.full(len(users), -1)
        for reason, field in ((FOR_SHOP, SHOP), (FOR_BRAND, BRAND), (FOR_CATEGORY, CATEGORY)):
            chosen = np.flatnonzero(motive == reason)
            liked_lengths = self.audience.liked_lengths(field, users[chosen])
            chosen, liked_lengths = chosen[liked_lengths > 0], liked_lengths[liked_lengths > 0]
            number = (first[chosen] * first[chosen] * liked_lengths).astype(np.int64)
            category[chosen], place = self.audience.liked(field, users[chosen], number)
            if reason != FOR_CATEGORY:
                position[chosen] = self._stocked_positions(reason, category[chosen], place, second[chosen])
        category = category % self.catalog.item_categories
        position = np.where(position >= 0, position, self.catalog.popular_positions(category, second))
        if split == names.TRAIN and self.calendar is None:
            position -= position % ITEMS_PER_NEW_ONE == ITEMS_PER_NEW_ONE - 1
        return self.catalog.describe(category, position, self._items(self.catalog.items[category] + position))

    def _users(self, places: np.ndarray) -> np.ndarray:
        if self.calendar is None:
            return places
        return self._living("user lives", places, self.options.users, self.calendar.user_life_days)

    def _items(self, places: np.ndarray) -> np.ndarray:
        if self.calendar is None:
            return places
        return self._living("item lives", places, int(self.catalog.items[-1]), self.calendar.item_life_days)

    def _living(self, name: str, places: np.ndarray, size: int, life: float) -> np.ndarray:
        return calendar.holders(randomness.stream(self.options.seed, name), places, size, self.day, life)

    def _stocked_positions(self, motive: int, category: np.ndarray, place: np.ndarray, units: np.ndarray) -> np.ndarray:
        """Positions of items of a liked shop or brand, -1 where it has none to show."""
        sold = np.minimum(category, self.catalog.item_categories - 1)
        stocked = self.catalog.stocked_shops if motive == FOR_SHOP else self.catalog.stocked_brands
        find = self.catalog.shop_positions if motive == FOR_SHOP else self.catalog.brand_positions
        return np.where((category == sold) & (place < stocked[sold]), find(sold, place, units), -1)

    def _calibrated_motives(self) -> np.ndarray:
        """Solves for the mix of motives whose matches add up to those wanted, measured with all motives alike."""
        requests = self.draw(names.TRAIN, 0, MOTIVE_SAMPLE)
        motive = randomness.lane(randomness.bits(requests.states[requests.rows], requests.numbers + 2), 0)
        motive = motive * MOTIVES // randomness.LANES
        found = np.ones((MOTIVES, MOTIVES))
        for row, field in enumerate(("508", "509", "702")):
            matched = requests.matches[field] > 0
            found[row] = [matched[motive == each].mean() for each in range(MOTIVES)]
        mix = np.linalg.lstsq(found, np.array([*WANTED_MATCHES, 1.0]), rcond=None)[0]
        mix = np.clip(mix, 0, None)
        mix[FOR_ALL] = max(mix[FOR_ALL], LEAST_POPULAR_SHARE)
        return np.round(mix / mix.sum(), 4)


def _matches(items: Items, rows: np.ndarray, histories: dict[str, History]) -> dict[str, np.ndarray]:
    return {
        "508": histories[CATEGORY].counts_of(rows, items.category),
        "509": histories[SHOP].counts_of(rows, items.shop),
        "702": histories[BRAND].counts_of(rows, items.brand),
        "853": histories[INTENT].counts_of(rows[items.intent_rows], items.intents),
    }
