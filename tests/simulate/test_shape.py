import collections

import numpy as np
import pytest
from features_in_log import COMBINATIONS, CONTEXT_FIELDS, DISTINCT_IDS, IMPRESSION_FIELDS

from features import names
from simulate.catalog import Catalog
from simulate.exposure import World
from simulate.options import ALICCP_REQUESTS, Options

WIDE = 1_500  # requests whose means are compared with the table


@pytest.fixture(scope="module")
def requests():
    return World(Options(requests=8_000, test_requests=0, seed=2)).draw(names.TRAIN, 0, WIDE)


def test_requests_are_long_tailed(requests):
    lengths = requests.lengths
    assert lengths.min() >= 1
    assert lengths.mean() == pytest.approx(58, rel=0.06)
    assert np.median(lengths) < 0.75 * lengths.mean()
    assert lengths.max() > 500


@pytest.mark.parametrize("scale", [1, 40])
def test_coverage_and_lengths_as_in_ali_ccp(scale):
    """The same shape whatever the size of the log that the world is made for."""
    requests = World(Options(requests=8_000 * scale, test_requests=0, seed=2)).draw(names.TRAIN, 0, WIDE)
    impressions = len(requests.rows)
    found = {field: ((values >= 0) * requests.lengths).sum() for field, values in requests.profile.items()}
    found |= {field: (history.lengths * requests.lengths).sum() for field, history in requests.histories.items()}
    found |= {field: (matches > 0).sum() for field, matches in requests.matches.items()}
    found |= {"216": (requests.items.brand >= 0).sum(), "210": len(requests.items.intents)}
    table = CONTEXT_FIELDS | IMPRESSION_FIELDS
    for field, number in found.items():
        absolute = 0.04 if table[field] < 1 else 0.12 * table[field]
        assert number / impressions == pytest.approx(table[field], abs=absolute), field


def test_a_written_log_has_that_coverage(log):
    """The columns reach the files. So small a world has few shops and brands, which histories then know by chance."""
    for table, rows in (
        (CONTEXT_FIELDS, [log.contexts(names.TRAIN)[row[3]] for row in log.impressions(names.TRAIN)]),
        (IMPRESSION_FIELDS, [row[4] for row in log.impressions(names.TRAIN)]),
    ):
        for field, wanted in table.items():
            found = np.mean([len(row.get(field, ())) for row in rows])
            assert found == pytest.approx(wanted, rel=0.8 if field in ("509", "702") else 0.25), field


def test_history_lists_are_long_tailed_and_may_be_empty(requests):
    for field, history in requests.histories.items():
        assert (history.lengths == 0).any(), field
        assert history.lengths.max() > 2.5 * history.lengths.mean(), field


def test_history_scale_scales_lists():
    narrow = World(Options(requests=8_000, test_requests=0, seed=2, history_scale=0.1)).draw(names.TRAIN, 0, WIDE)
    total = sum(history.lengths.mean() for history in narrow.histories.values())
    assert total == pytest.approx(61, rel=0.15)


def test_popularity_falls_like_zipf(requests):
    """The most popular tenth of categories gets several times its share, and counts fall by a power of the rank."""
    counts = np.sort(np.bincount(requests.items.category))[::-1]
    counts = counts[counts > 0]
    assert counts[: len(counts) // 10].sum() > 0.35 * counts.sum()
    ranks = np.arange(10, 200)
    slope = np.polyfit(np.log(ranks), np.log(counts[ranks]), 1)[0]
    assert slope == pytest.approx(-0.75, abs=0.2)
    items = np.sort(np.bincount(requests.items.item))[::-1]
    assert items[: len(items) // 10].sum() > 0.35 * items.sum()


def test_ids_do_not_tell_popularity(requests):
    catalog = Catalog(Options(requests=8_000, test_requests=0, seed=2))
    for field, values in (("205", requests.items.item), ("206", requests.items.category)):
        ids, counts = np.unique(catalog.ids(field, values), return_counts=True)
        assert abs(np.corrcoef(ids, counts)[0, 1]) < 0.1, field


@pytest.mark.parametrize("field", ["205", "110_14", "853", "101"])
def test_ids_are_one_to_one(field):
    catalog = Catalog(Options(requests=3_000, test_requests=0, seed=2))
    items, shops, intents = int(catalog.items[-1]), int(catalog.shops[-1]), int(catalog.intents[-1])
    places = np.arange({"205": items, "110_14": shops, "853": intents, "101": 1_680}[field])
    ids = catalog.ids(field, places)
    assert len(np.unique(ids)) == len(places)
    assert np.array_equal(catalog.places(field, ids), places)
    assert {catalog.field_of(raw_id) for raw_id in (int(ids.min()), int(ids.max()))} == {field}


@pytest.mark.parametrize("number", [2_000, 8_000])
def test_distinct_ids_scale_with_the_log(number):
    world = World(Options(requests=number, test_requests=0, seed=3, history_scale=0.05))
    requests = world.draw(names.TRAIN, 0, number)
    scale = number / ALICCP_REQUESTS
    found = {"101": requests.users, "205": requests.items.item, "207": requests.items.shop}
    for field, values in found.items():
        assert len(np.unique(values)) == pytest.approx(DISTINCT_IDS[field] * scale, rel=0.25), field
    for field, values in {"206": requests.items.category, "210": requests.items.intents}.items():
        assert len(np.unique(values)) == pytest.approx(DISTINCT_IDS[field] * scale**0.5, rel=0.25), field


def test_a_full_world_has_the_ids_of_ali_ccp():
    """Number of ids that there are to be seen, at the size of the real log."""
    catalog = Catalog(Options(requests=ALICCP_REQUESTS, test_requests=0, seed=1))
    assert catalog.categories == 12_223
    assert catalog.item_categories == DISTINCT_IDS["206"]
    assert int(catalog.shops[-1]) == pytest.approx(2_545_609, rel=0.01)
    assert int(catalog.brands[-1]) == pytest.approx(396_460, rel=0.01)
    assert int(catalog.intents[-1]) == pytest.approx(99_226, rel=0.01)
    assert int(catalog.items[-1]) == pytest.approx(DISTINCT_IDS["205"] * 8 / 7, rel=0.1)  # one of eight is new in test
    assert int(catalog.stocked_shops.sum()) == pytest.approx(DISTINCT_IDS["207"], rel=0.02)
    assert int(catalog.stocked_brands.sum()) == pytest.approx(DISTINCT_IDS["216"], rel=0.05)


def test_the_test_split_has_users_and_items_that_training_never_saw(log):
    train, test = (
        {
            "101": {context["101"][0][0] for context in log.contexts(split).values()},
            "205": {row[4]["205"][0][0] for row in log.impressions(split)},
        }
        for split in (names.TRAIN, names.TEST)
    )
    for field in ("101", "205"):
        assert 0.04 < len(test[field] - train[field]) / len(test[field]) < 0.5, field


def test_combination_fields_are_what_the_history_says(log):
    """Field 508 is present where the item's category is in the history, with its weight; so the other three."""
    catalog = Catalog(Options(requests=600, test_requests=200, seed=5))
    for split in (names.TRAIN, names.TEST):
        contexts = {
            key: {
                field: dict(zip(_places(catalog, field, context), [value for _, value in context[field]], strict=True))
                for field, _, _ in COMBINATIONS
                if field in context
            }
            for key, context in log.contexts(split).items()
        }
        seen = collections.Counter()
        for _, _, _, key, features in log.impressions(split)[:20_000]:
            for history, item, combination in COMBINATIONS:
                known = contexts[key].get(history, {})
                expected = {place: known[place] for place in _places(catalog, item, features) if place in known}
                found = [value for _, value in features.get(combination, ())]
                assert dict(zip(_places(catalog, combination, features), found, strict=True)) == expected
                seen[combination] += len(found)
        assert all(seen[combination] > 100 for _, _, combination in COMBINATIONS)


def _places(catalog, field, features):
    return catalog.places(field, np.array([each for each, _ in features.get(field, ())], np.int64)).tolist()
