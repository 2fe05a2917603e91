"""Writes a log in the shape of Criteo's attribution data: python examples/criteo_attribution/generate.py.

Kept of the original: its 22 columns, names and order, tabs between them, a header; whole seconds from 0 as times; -1
for "none"; conversions in rows without a click, about 3 % of rows here. The values are made up.
"""

from __future__ import annotations

import argparse
import csv
import os
import random

COLUMNS = [
    "timestamp",
    "uid",
    "campaign",
    "conversion",
    "conversion_timestamp",
    "conversion_id",
    "attribution",
    "click",
    "click_pos",
    "click_nb",
    "cost",
    "cpo",
    "time_since_last_click",
    *(f"cat{number}" for number in range(1, 10)),
]


def row(rng: random.Random, number: int) -> list[str | int | float]:
    """One impression."""
    uid, campaign = rng.randrange(300), rng.randrange(30)
    click = int(rng.random() < (0.55 if (uid + campaign) % 3 == 0 else 0.25))
    converted = int(rng.random() < (0.2 if click else 0.03))
    conversion = [converted, number + 900, number * 7 + 1] if converted else [0, -1, -1]
    since = rng.randrange(90000) if rng.random() < 0.3 else -1
    amounts = [f"{rng.random() / 1000:.6g}", f"{rng.random():.6g}", since]
    categories = [(uid * 31 + k * campaign) % (10 * k) for k in range(1, 10)]
    return [number, uid, campaign, *conversion, converted & click, click, -1, -1, *amounts, *categories]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--rows", type=int, default=4000)
    arguments = parser.parse_args()
    rng = random.Random(1)
    os.makedirs(arguments.output_dir, exist_ok=True)
    path = os.path.join(arguments.output_dir, "criteo_attribution.csv")
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerows([COLUMNS, *(row(rng, number) for number in range(arguments.rows))])


if __name__ == "__main__":
    main()
