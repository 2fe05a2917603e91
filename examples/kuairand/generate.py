"""Writes a log in the shape of KuaiRand's log_standard files: python examples/kuairand/generate.py --output_dir=DIR.

Kept of the original: its 19 columns, names, types and order, comma-separated with a header; dates as 20220408, times in
milliseconds; several feedback flags of 0 and 1; `long_view` without `is_click`, which occurs. A folder for each date is
how such logs lie in a data lake; the original has one file for several weeks. The values are made up.
"""

from __future__ import annotations

import argparse
import csv
import os
import random

COLUMNS = [
    "user_id",
    "video_id",
    "date",
    "hourmin",
    "time_ms",
    "is_click",
    "is_like",
    "is_follow",
    "is_comment",
    "is_forward",
    "is_hate",
    "long_view",
    "play_time_ms",
    "duration_ms",
    "profile_stay_time",
    "comment_stay_time",
    "is_profile_enter",
    "is_rand",
    "tab",
]
DATES = ("20220408", "20220409", "20220410")


def rows(rng: random.Random, date: str, count: int) -> list[list[str | int]]:
    """Rows of one date; what a user likes depends on user and video."""
    found = []
    for number in range(count):
        user, video, tab = rng.randrange(80), rng.randrange(200), rng.randrange(4)
        click = int(rng.random() < (0.6 if (user + video) % 3 == 0 else 0.2))
        view = int(rng.random() < (0.5 if click else 0.01))
        duration = 5000 + video * 137
        played = duration if view else rng.randrange(3000)
        flags = [click, *(int(rng.random() < 0.02) for _ in range(5)), view]
        stays = [played, duration, 0, 0, 0, 0, tab]
        found.append([user, video, date, 100 * (number % 24), 1649376000000 + number, *flags, *stays])
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--rows", type=int, default=1500, help="of each date")
    arguments = parser.parse_args()
    rng = random.Random(1)
    for date in DATES:
        folder = os.path.join(arguments.output_dir, f"date={date}")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "log_standard.csv"), "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *rows(rng, date, arguments.rows)])


if __name__ == "__main__":
    main()
