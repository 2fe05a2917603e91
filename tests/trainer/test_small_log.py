import os

import pytest

from trainer import small_log
from trainer.options import Options

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def options(**changes):
    return Options(data_dir="d", model_dir="m", **changes)


def test_a_short_run_is_told_of_the_recipe_for_small_logs():
    said = small_log.advice(options(), 87_000, 590)
    assert said is not None and "about 84 steps (87,000 impressions once, in batches of 1,024)" in said
    assert said.endswith(f"with 147 impressions an id try --flagfile={small_log.RECIPE}")
    assert os.path.exists(os.path.join(REPOSITORY, small_log.RECIPE))


def test_how_many_passes_help_depends_on_how_often_ids_come():
    said = small_log.advice(options(), 58_000, 5_300)
    assert said is not None and said.endswith("with 11 impressions an id try --num_epochs=3")
    assert small_log.advice(options(), 58_000, 15_400) is None


@pytest.mark.parametrize(
    ("changes", "impressions"),
    [
        ({}, 4_000_000),
        ({"num_epochs": 20}, 87_000),
        ({"max_steps": 10}, 87_000),
        ({}, 0),
        ({"continue_from": "yesterday"}, 87_000),
    ],
)
def test_other_runs_are_told_nothing(changes, impressions):
    assert small_log.advice(options(**changes), impressions, 590) is None
