"""What there is to be shown: categories, their shops, brands, intents and items, and the ids that logs call them by.

Everything about an item is a function of its category and its place therein, so that a world of any size takes a few
numbers per category, and an item can be found from a shop or brand as well as the other way round.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from simulate import calendar, randomness
from simulate.options import ALICCP_REQUESTS, Options

PROFILE_SIZES = {"121": 97, "122": 13, "124": 2, "125": 7, "126": 3, "127": 3, "128": 2, "129": 4}
PLACES = 3

# Distinct ids in Ali-CCP's train split, and the power of the log's size by which a smaller log has fewer of them.
HISTORY_CATEGORIES = (12_223, 0.5)
HISTORY_SHOPS = (2_545_609, 1.0)
HISTORY_BRANDS = (396_460, 0.75)
INTENTS = (99_226, 0.5)
# Part of those categories, shops and brands that have items to show.
ITEM_CATEGORIES = 8_627 / 12_223
ITEM_SHOPS = 614_739 / 2_545_609
ITEM_BRANDS = 210_973 / 396_460
# A world smaller than that of so many requests has too few shops to fill a history.
SMALLEST_WORLD = 2_000

CATEGORY_HEAD = 2.0
ITEM_HEAD = 0.5
ITEM_ROOTS = 3
BRANDED_ITEMS = 0.71
INTENTS_SPREAD = 6.6
INTENT_STEPS = 65_536
# Larger than the number of items of any category, and prime: multiplying by it permutes them.
SCRAMBLE = 2_147_483_647


@dataclasses.dataclass(frozen=True)
class Items:
    """Items of some impressions, each part by its place in the catalog.

    Attributes:
        item: int64 [n].
        category: int64 [n].
        shop: int64 [n].
        brand: int64 [n], -1 where the item has none.
        intents: int64 [sum of lengths].
        intent_rows: int64 [sum of lengths], index of the item that the intent is of.
    """

    item: np.ndarray
    category: np.ndarray
    shop: np.ndarray
    brand: np.ndarray
    intents: np.ndarray
    intent_rows: np.ndarray


class Catalog:
    """Categories, most popular first, and for each a block of shops, brands, intents and items.

    Attributes:
        categories: number of categories that people know; the first `item_categories` of them have items.
        shops, brands, intents, items: int64 [categories + 1] (items: [item_categories + 1]), where each block begins.
        stocked_shops, stocked_brands: int64 [item_categories], how many of a block's have items, the first ones.
    """

    def __init__(self, options: Options, has_days: bool = False) -> None:
        scale = max(options.requests, SMALLEST_WORLD) / ALICCP_REQUESTS
        self.categories = _scaled(HISTORY_CATEGORIES, scale)
        self.item_categories = max(1, round(self.categories * ITEM_CATEGORIES))
        shares = randomness.zipf_shares(self.categories, CATEGORY_HEAD)
        self.shops = _block_starts(shares, _scaled(HISTORY_SHOPS, scale))
        self.brands = _block_starts(shares, _scaled(HISTORY_BRANDS, scale))
        self.intents = _block_starts(shares, _scaled(INTENTS, scale))
        self.items = _block_starts(shares[: self.item_categories] / shares[: self.item_categories].sum(), options.items)
        self.stocked_shops = _stocked(self.shops, self.item_categories, ITEM_SHOPS)
        self.stocked_brands = _stocked(self.brands, self.item_categories, ITEM_BRANDS)
        self._description = randomness.stream(options.seed, "item description")
        self._generations = {"101": calendar.GENERATIONS, "205": calendar.GENERATIONS} if has_days else {}
        self._ids = _public_ids(self._sizes(options.users), self._generations, options.seed)

    def ids(self, field: str, places: np.ndarray) -> np.ndarray:
        """Ids by which the log calls a field's values: int64 [n] -> int64 [n], one to one over all fields.

        Users and items beyond the world's size are later holders of a place (`simulate.calendar`).
        """
        start, size, multiplier, shift = self._ids[field]
        return start + places // size * size + (places % size * multiplier + shift) % size

    def places(self, field: str, ids: np.ndarray) -> np.ndarray:
        """Inverse of `ids`: int64 [n] -> int64 [n]."""
        start, size, multiplier, shift = self._ids[field]
        inverse = pow(multiplier, -1, size) if size > 1 else 0
        return (ids - start) // size * size + (ids - start - shift) % size * inverse % size

    def field_of(self, raw_id: int) -> str:
        """The field that an id belongs to."""
        for field, (start, size, _, _) in self._ids.items():
            if start <= raw_id < start + size * self._generations.get(field, 1):
                return field
        raise KeyError(f"id {raw_id} belongs to no field of this world")

    def popular_categories(self, units: np.ndarray) -> np.ndarray:
        """Categories by Zipf's law: float64 [n] -> int64 [n]."""
        return randomness.zipf_ranks(units, self.categories, CATEGORY_HEAD)

    def popular_positions(self, category: np.ndarray, units: np.ndarray) -> np.ndarray:
        """Places within their category of items drawn by Zipf's law: int64 [n]."""
        size = self.items[category + 1] - self.items[category]
        return randomness.zipf_ranks(units, size, ITEM_HEAD, ITEM_ROOTS) * SCRAMBLE % size

    def shop_positions(self, category: np.ndarray, shop: np.ndarray, units: np.ndarray) -> np.ndarray:
        """Items of a stocked shop, the first ones more often: int64 [n], places within the category.

        Args:
            category: int64 [n].
            shop: int64 [n], place of the shop within the category.
            units: float64 [n] in [0, 1).
        """
        size = self.items[category + 1] - self.items[category]
        drawn = ((shop + _square(units * units)) * size / self.stocked_shops[category]).astype(np.int64)
        return np.minimum(drawn, size - 1)

    def brand_positions(self, category: np.ndarray, brand: np.ndarray, units: np.ndarray) -> np.ndarray:
        """Items of a stocked brand, the first ones more often; arguments as for `shop_positions`."""
        size = self.items[category + 1] - self.items[category]
        brands = self.stocked_brands[category]
        rounds = np.maximum(1, (size - brand + brands - 1) // brands)
        return (brand + brands * (_square(units * units) * rounds).astype(np.int64)) % size

    def describe(self, category: np.ndarray, position: np.ndarray, item: np.ndarray) -> Items:
        """Items `item` at places of their categories: int64 [n] each."""
        first = self.items[category]
        random_bits = randomness.bits(self._description, item)
        branded, run = randomness.half_units(random_bits)
        shop = self.shops[category] + position * self.stocked_shops[category] // (self.items[category + 1] - first)
        brand = self.brands[category] + position % self.stocked_brands[category]
        intents, rows = self._intents_of(item, category, run)
        return Items(item, category, shop, np.where(branded < BRANDED_ITEMS, brand, -1), intents, rows)

    def liked_intents(self, category: np.ndarray, units: np.ndarray) -> np.ndarray:
        """Intents of people who like a category, as its items have them: int64 [n]; may lie beyond its block.

        The first 16 bits of a unit say how far into a run the intent is, the others where the run begins.
        """
        digits = units * INTENT_STEPS
        step = np.floor(digits)
        steps = (_square(step / INTENT_STEPS) * INTENTS_SPREAD).astype(np.int64)
        return (self._first_intents(category, digits - step) + steps) % self.intents[-1]

    def _first_intents(self, category: np.ndarray, units: np.ndarray) -> np.ndarray:
        """Where a run of intents begins: mostly at the head of the category's block."""
        block = self.intents[category + 1] - self.intents[category]
        return self.intents[category] + (_square(_square(units)) * units * units * block).astype(np.int64)

    def _intents_of(self, item: np.ndarray, category: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A run of intents that begins in the category's block: so an item never has one twice."""
        one, other = randomness.half_units(randomness.bits(self._description + np.uint64(1), item))
        lengths = (INTENTS_SPREAD * (one + other)).astype(np.int64)
        rows, steps = ragged_indices(lengths)
        return (self._first_intents(category, units)[rows] + steps) % self.intents[-1], rows

    def _sizes(self, users: int) -> dict[str, int]:
        categories, shops, brands = self.categories, int(self.shops[-1]), int(self.brands[-1])
        intents, item_categories = int(self.intents[-1]), self.item_categories
        history = {"109_14": categories, "110_14": shops, "127_14": brands, "150_14": intents}
        item = {"205": int(self.items[-1]), "206": item_categories, "207": shops, "216": brands, "210": intents}
        combination = {"508": item_categories, "509": shops, "702": brands, "853": intents}
        return {"101": users, **PROFILE_SIZES, **history, **item, **combination, "301": PLACES}


def ragged_indices(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and place within the row of each value of a ragged array: int64 [n] -> int64 [sum] twice."""
    rows = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    return rows, np.arange(len(rows)) - starts[rows]


def _square(values: np.ndarray) -> np.ndarray:
    return values * values


def _scaled(size_and_power: tuple[int, float], scale: float) -> int:
    size, power = size_and_power
    return max(1, round(round(size * scale**power, 6)))


def _block_starts(shares: np.ndarray, total: int) -> np.ndarray:
    """Cuts `total` places into blocks, one place each and the rest by share: int64 [blocks + 1]."""
    blocks = len(shares)
    rest = max(total - blocks, 0)
    edges = np.floor(np.concatenate([[0], np.cumsum(shares)]) * rest + 1e-6).astype(np.int64)
    edges[-1] = rest
    return edges + np.arange(blocks + 1)


def _stocked(starts: np.ndarray, categories: int, part: float) -> np.ndarray:
    """How many of each block have items, such that they are `part` of all there are."""
    sizes = np.diff(starts)[:categories]
    return np.clip(np.rint(sizes * (part * starts[-1] / starts[categories])), 1, sizes).astype(np.int64)


def _public_ids(sizes: dict[str, int], generations: dict[str, int], seed: int) -> dict[str, tuple[int, int, int, int]]:
    """For each field: first id, number of ids, and an affine permutation of them, so that ids tell no popularity.

    A field with generations has room for so many times its ids.
    """
    ids, start = {}, 1
    for field, size in sizes.items():
        high, low = randomness.half_units(randomness.stream(seed, f"ids of {field}"))
        multiplier = max(1, int(high[0] * size))
        while math.gcd(multiplier, size) != 1:
            multiplier += 1
        ids[field] = (start, size, multiplier, int(low[0] * size))
        start += size * generations.get(field, 1)
    return ids
