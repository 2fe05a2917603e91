"""A word at the start of a training that will be too short for the recipe that it was started with."""

from __future__ import annotations

from trainer.options import Options

RECIPE = "configs/small.flags"
# Below so many steps the rows of most ids hardly leave their initial values at the rates of configs/recommended.flags.
FEWEST_STEPS = 1000
# Impressions an id from which on more passes help, and many do: rarer ids are learned by heart in the second pass
# (docs/training.md, small logs).
OFTEN, VERY_OFTEN = 8, 50


def advice(options: Options, impressions: int, ids: int) -> str | None:
    """What to say before a new model trains on so many impressions of so many ids.

    None where its steps are many or were chosen, or where more passes would not help.
    """
    steps = impressions * options.num_epochs // options.batch_size
    is_trained = bool(options.continue_from or options.warm_start_from)
    if is_trained or options.max_steps or options.num_epochs > 1 or not impressions or steps >= FEWEST_STEPS:
        return None
    each = impressions / max(ids, 1)
    if each < OFTEN:
        return None
    return (
        f"this run has about {max(steps, 1):,} steps ({impressions:,} impressions once, in batches of "
        f"{options.batch_size:,}), which leaves most ids untrained; with {each:,.0f} impressions an id try "
        + (f"--flagfile={RECIPE}" if each >= VERY_OFTEN else "--num_epochs=3")
    )
