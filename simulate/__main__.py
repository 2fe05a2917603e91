"""Command: python -m simulate --output_dir=D --requests=N --test_requests=M --seed=S.

With --days=K a world with days: one folder a day, named after its date.
"""

from __future__ import annotations

import sys
from typing import Any

from absl import app, flags

import storage
from simulate.calendar import Calendar
from simulate.options import Options
from simulate.simulation import simulate, simulate_days

FLAGS = flags.FLAGS

flags.DEFINE_string("output_dir", None, "Folder to write the log to.", required=True)
flags.DEFINE_integer("requests", None, "Requests of the train split, about 58 impressions each.", required=True)
flags.DEFINE_integer("test_requests", 0, "Requests of the test split: same world, other requests.")
flags.DEFINE_integer("seed", 1, "Equal seed and parameters give equal bytes.")
flags.DEFINE_float("click_rate", Options.click_rate, "Clicks per impression.")
flags.DEFINE_float("conversion_rate", Options.conversion_rate, "Conversions per click; in Ali-CCP 0.0054.")
flags.DEFINE_float("rho", Options.rho, "Correlation of click and conversion interest, -1 to 1: the selection bias.")
flags.DEFINE_float("kappa", Options.kappa, "Share of clicks owed to the place instead of the interest, 0 to 1.")
flags.DEFINE_float("gamma", Options.gamma, "Strength of a cause of clicks and conversions that no feature shows.")
flags.DEFINE_float(
    "hidden_interaction",
    Options.hidden_interaction,
    "Strength of an effect of pairs of profile and category on clicks and conversions, which no field carries.",
)
flags.DEFINE_float(
    "non_monotone", Options.non_monotone, "Weight of |click interest - 0.5| in the conversion logit; 0: none."
)
flags.DEFINE_float("click_strength", Options.click_strength, "Standard deviation of the click logit.")
flags.DEFINE_float("conversion_strength", Options.conversion_strength, "Standard deviation of the conversion logit.")
flags.DEFINE_integer("users", Options.users, "Users in the world; 0: in Ali-CCP's proportion to --requests.")
flags.DEFINE_integer("items", Options.items, "Items in the world; 0: in Ali-CCP's proportion to --requests.")
flags.DEFINE_float("history_scale", Options.history_scale, "Lengths of history lists, relative to Ali-CCP's.")
flags.DEFINE_integer("malformed", Options.malformed, "Broken rows of each kind to put in; malformed.json lists them.")
flags.DEFINE_integer("chunk_requests", Options.chunk_requests, "Requests made at once: memory, not content.")
flags.DEFINE_integer("days", 0, "Days to write, one folder each; 0: one log without days.")
flags.DEFINE_string("first_day", Calendar.first_day, "With --days: date of the first, YYYY-MM-DD.")
flags.DEFINE_float("drift", Calendar.drift, "With --days: how far effects turn in a day, in radians.")
flags.DEFINE_float("item_life_days", Calendar.item_life_days, "With --days: from an item's birth to its successor's.")
flags.DEFINE_float("user_life_days", Calendar.user_life_days, "With --days: the same of a user.")
flags.DEFINE_float("item_share", Calendar.item_share, "With --days: variance of the interests that is the item's own.")
flags.DEFINE_float(
    "conversion_delay_days",
    Calendar.conversion_delay_days,
    "With --days: mean days from a click to its conversion; times_SPLIT.csv tells all times. 0: no times.",
)
flags.DEFINE_bool("overwrite", False, "Replace the log in a folder that is not empty.")

OPTION_FLAGS = tuple(Options.__dataclass_fields__)
CALENDAR_FLAGS = tuple(Calendar.__dataclass_fields__)


def run(argv: list[str]) -> None:
    """Writes the log that the flags ask for."""
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]!r} is no flag: flags are of the form --name=value")
    try:
        options = Options(**{name: FLAGS[name].value for name in OPTION_FLAGS})
        for date, report in _simulate(options).items():
            _print(f"{date} " if date else "", report)
    except (ValueError, OSError) as error:
        sys.exit(f"simulate: {storage.told(error)}")


def _simulate(options: Options) -> dict[str, dict[str, Any]]:
    """Reports by date; by an empty one where there are no days."""
    if FLAGS.days:
        calendar = Calendar(**{name: FLAGS[name].value for name in CALENDAR_FLAGS})
        return simulate_days(options, calendar, FLAGS.output_dir, FLAGS.overwrite, progress=True)
    given = [f"--{name}" for name in CALENDAR_FLAGS if FLAGS[name].present and name != "days"]
    if given:
        raise ValueError(f"{', '.join(given)}: only with --days=N")
    return {"": simulate(options, FLAGS.output_dir, FLAGS.overwrite, progress=True)}


def _print(head: str, report: dict[str, Any]) -> None:
    for split, found in report["splits"].items():
        print(
            f"{head}{split}: {found['requests']} requests, {found['impressions']} impressions, "
            f"{found['clicks']} clicks, {found['conversions']} conversions, bias ratio {found['bias_ratio']}"
        )


def main() -> None:
    """Entry point of the console command."""
    app.run(run)


if __name__ == "__main__":
    main()
