import os

from trainer import small_log
from trainer.options import Options

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def options(**changes):
    return Options(data_dir="d", model_dir="m", **changes)


def test_a_short_run_is_told_of_the_recipe_for_small_logs():
    said = small_log.advice(options(), 87_000)
    assert said is not None and "about 84 steps (87,000 impressions once, in batches of 1,024)" in said
    assert small_log.RECIPE in said
    assert os.path.exists(os.path.join(REPOSITORY, small_log.RECIPE))


def test_other_runs_are_told_nothing():
    assert small_log.advice(options(), 4_000_000) is None
    assert small_log.advice(options(num_epochs=20), 87_000) is None
    assert small_log.advice(options(max_steps=10), 87_000) is None
    assert small_log.advice(options(), 0) is None
    assert small_log.advice(options(continue_from="yesterday"), 87_000) is None
