import csv
import itertools
import math

import numpy as np
import pytest
from raw_log import Log

from features import names
from preprocess import command, file_steps
from preprocess.options import Options as JobOptions
from simulate import tables
from simulate.calendar import GENERATIONS, Calendar, holders
from simulate.catalog import Catalog
from simulate.exposure import World
from simulate.interest import Interest
from simulate.options import Options
from simulate.simulation import simulate_days

OPTIONS = Options(requests=150, test_requests=40, seed=3, history_scale=0.05)
CALENDAR = Calendar(days=4, item_life_days=3, user_life_days=4, drift=0.2)


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    folder = tmp_path_factory.mktemp("days") / "log"
    reports = simulate_days(OPTIONS, CALENDAR, str(folder))
    return {date: Log(str(folder / date)) for date in reports}


def ids_of(log, split, field):
    if field == "101":
        return {features["101"][0][0] for features in log.contexts(split).values()}
    return {feature[0] for row in log.impressions(split) for feature in row[4].get(field, [])}


def test_a_folder_a_day_with_the_rhythm_of_the_week(days):
    assert list(days) == ["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"]
    requests = [log.json("simulation.json")["splits"]["train"]["requests"] for log in days.values()]
    assert requests == [144, 153, 168, 159]


def test_a_day_does_not_depend_on_how_many_are_written(days, tmp_path):
    simulate_days(OPTIONS, Calendar(days=2, item_life_days=3, user_life_days=4, drift=0.2), str(tmp_path))
    again, first = Log(str(tmp_path / "2026-01-02")), days["2026-01-02"]
    for name in (names.skeleton_file("train"), names.common_file("test"), names.truth_file("test")):
        assert again.data(name) == first.data(name)


@pytest.mark.parametrize("field", ["205", "101"])
def test_what_died_never_comes_back_and_new_ones_come_daily(days, field):
    by_day = [ids_of(log, "train", field) | ids_of(log, "test", field) for log in days.values()]
    world = World(OPTIONS, CALENDAR)
    size = OPTIONS.items if field == "205" else OPTIONS.users
    holders_by_day = [world.catalog.places(field, np.array(sorted(ids))) for ids in by_day]
    newest = [dict(zip((places % size).tolist(), (places // size).tolist(), strict=True)) for places in holders_by_day]
    for before, after in itertools.pairwise(newest):
        shared = before.keys() & after.keys()
        assert shared and all(after[place] >= before[place] for place in shared)
    for day, after in enumerate(newest[1:], 1):
        assert any(generation for generation in after.values()), day


def test_ids_of_all_generations_belong_to_one_field():
    catalog = Catalog(OPTIONS, has_days=True)
    places = np.array([0, OPTIONS.items - 1, OPTIONS.items, OPTIONS.items * GENERATIONS - 1])
    ids = catalog.ids("205", places)
    assert len(set(ids.tolist())) == 4 and {catalog.field_of(each) for each in ids.tolist()} == {"205"}
    np.testing.assert_array_equal(catalog.places("205", ids), places)


def test_a_life_is_as_long_as_asked():
    places = np.arange(1000)
    stream = np.array([7], np.uint64)
    generations = np.stack([holders(stream, places, 1000, day, 5.0) // 1000 for day in range(50)])
    assert (np.diff(generations, axis=0) >= 0).all()
    np.testing.assert_array_equal(generations[5:], generations[:-5] + 1)
    assert np.mean(generations[1] != generations[0]) == pytest.approx(0.2, abs=0.04)


def test_effects_drift_as_told():
    interest = Interest(World(OPTIONS, CALENDAR))
    values = np.arange(20000)
    first, *others = (interest._effect("item", values, day)[0] for day in (0, 1, 4, 8, 20))
    for day, other in zip((1, 4, 8, 20), others, strict=True):
        expected = max(math.cos(0.2 * day), 0) if day < 8 else 0
        assert np.corrcoef(first, other)[0, 1] == pytest.approx(expected, abs=0.04)
        assert other.std() == pytest.approx(1, abs=0.03)


def test_without_drift_the_same_truth_every_day():
    interest = Interest(World(OPTIONS, Calendar(days=4, drift=0)))
    values = np.arange(100)
    np.testing.assert_array_equal(interest._effect("brand", values, 0), interest._effect("brand", values, 300))


@pytest.mark.parametrize("wrong", [{"days": 0}, {"days": 3, "drift": -1}, {"days": 3, "first_day": "1.1.2026"}])
def test_wrong_parameters_are_named(wrong):
    name = list(wrong)[-1]
    with pytest.raises(ValueError, match=f"--{name}={wrong[name]}: allowed is"):
        Calendar(**wrong)


@pytest.fixture(scope="module")
def delayed(tmp_path_factory):
    """Two days whose conversions come late, and what the times files of the train splits tell."""
    folder = tmp_path_factory.mktemp("delayed") / "log"
    options = Options(requests=60, test_requests=5, seed=3, history_scale=0.01, click_rate=0.3, conversion_rate=0.4)
    simulate_days(options, Calendar(days=2, conversion_delay_days=1.5), str(folder))
    times = []
    for day in sorted(folder.glob("2026*")):
        with open(day / names.times_file("train"), encoding="utf-8") as file:
            times += [{key: int(value or -1) for key, value in row.items()} for row in csv.DictReader(file)]
    return folder, times


def test_conversions_come_late(delayed, tmp_path):
    folder, times = delayed
    delays = [row["conversion_time"] - row["click_time"] for row in times if row["conversion_time"] >= 0]
    assert len(delays) > 300 and np.mean(delays) / 86400 == pytest.approx(1.5, rel=0.15)
    assert all(row["click_time"] == -1 or 0 < row["click_time"] - row["time"] <= 60 for row in times)
    dates = {str(np.datetime64(row["time"], "s"))[:10] for row in times}
    assert {"2026-01-01", "2026-01-02"} <= dates <= {"2026-01-01", "2026-01-02", "2026-01-03"}
    # All else is as without delays.
    options = Options(requests=60, test_requests=5, seed=3, history_scale=0.01, click_rate=0.3, conversion_rate=0.4)
    simulate_days(options, Calendar(days=1), str(tmp_path))
    for name in (names.skeleton_file("train"), names.truth_file("test")):
        assert Log(str(tmp_path / "2026-01-01")).data(name) == Log(str(folder / "2026-01-01")).data(name)


def preprocessed(folder, tmp_path, **settings):
    """The job's report on two days, as if their log had been written at the end of the second."""
    days = ("2026-01-01", "2026-01-02")
    for day in days:
        tables.write(str(folder / day), str(tmp_path / day), names.PARQUET)
    options = JobOptions(
        ",".join(str(tmp_path / day) for day in days),
        str(tmp_path / "out"),
        names.PARQUET,
        str(tmp_path / days[0] / names.SCHEMA_FILE),
        keep_useless=True,
        log_cut="2026-01-03",
        **settings,
    )
    return command.run(options, execute=file_steps.run_in_process)


def test_the_window_sees_what_a_log_that_was_cut_would_hold(delayed, tmp_path):
    folder, times = delayed
    cut, window = int(np.datetime64("2026-01-03", "s").astype(int)), 2 * 86400
    found = preprocessed(folder, tmp_path, conversion_window="2d")
    shown = [row for row in times if row["time"] < cut]
    counts = [row for row in shown if 0 <= row["conversion_time"] < min(cut, row["click_time"] + window + 1)]
    assert found.rejected == {}
    assert found.splits["train"]["impressions"] == len(shown)
    assert found.splits["train"]["conversions"] == len(counts)
    clicks = [row for row in shown if row["click_time"] >= 0]
    assert found.conversions["open_share"] > 0.9 and found.conversions["clicks"] >= len(clicks)
    assert found.conversions["held_back_impressions"] >= len(times) - len(shown)


def test_how_soon_conversions_come_is_estimated_as_the_world_has_it(delayed, tmp_path):
    folder, _ = delayed
    found = preprocessed(folder, tmp_path, conversion_window="1d", weigh_open_clicks=True)
    assert found.conversions["conversions_of_closed_windows"] > 100
    assert sum(split["open_clicks"] for split in found.splits.values()) == found.conversions["open_clicks"]
    for share in (0.25, 0.5, 0.75):
        hours = -1.5 * 24 * np.log1p(share * np.expm1(-1 / 1.5))
        assert found.conversions["hours_until_share"][f"{share:.0%}"] == pytest.approx(hours, abs=1.5)
