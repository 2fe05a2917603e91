"""A word at the start of a training that will be too short for the recipe that it was started with."""

from __future__ import annotations

from trainer.options import Options

RECIPE = "configs/small.flags"
# Below so many steps the rows of most ids hardly leave their initial values at the rates of configs/recommended.flags.
FEWEST_STEPS = 1000


def advice(options: Options, impressions: int) -> str | None:
    """What to say before a new model trains on so many impressions; None where its steps are many, or were chosen."""
    steps = impressions * options.num_epochs // options.batch_size
    is_trained = bool(options.continue_from or options.warm_start_from)
    if is_trained or options.max_steps or options.num_epochs > 1 or not impressions or steps >= FEWEST_STEPS:
        return None
    return (
        f"this run has about {max(steps, 1):,} steps ({impressions:,} impressions once, in batches of "
        f"{options.batch_size:,}), which leaves most ids untrained: on a log this small try --flagfile={RECIPE}, or "
        "more --num_epochs"
    )
