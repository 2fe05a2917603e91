"""Writes tables in the shape of the AliExpress search logs: python examples/aliexpress/generate.py --output_dir=DIR.

Kept of the original, as torch-rechub and other libraries read it: the names and order of its 82 columns, search_id,
categorical_1 to 16, numerical_1 to 63 (79 features), click and conversion; train.csv and test.csv; rows of a search
one after the other; numbers mostly between 0 and 1, many of them 0. The values are made up.
"""

from __future__ import annotations

import argparse
import csv
import os
import random

CATEGORICAL = [f"categorical_{number}" for number in range(1, 17)]
NUMERICAL = [f"numerical_{number}" for number in range(1, 64)]
COLUMNS = ["search_id", *CATEGORICAL, *NUMERICAL, "click", "conversion"]


def rows(rng: random.Random, count: int) -> list[list[str | int]]:
    """Rows of searches of one to four items."""
    found: list[list[str | int]] = []
    search = 0
    while len(found) < count:
        search += rng.randrange(1, 60)
        asked = [rng.randrange(5 * (k + 2)) for k in range(8)]
        for _ in range(min(rng.randrange(1, 5), count - len(found))):
            ids = asked + [rng.randrange(5 * (k + 2)) for k in range(8)]
            numbers = [round(rng.random(), 6) if rng.random() < 0.6 else 0.0 for _ in NUMERICAL]
            click = int(rng.random() < (0.5 if ids[0] % 3 == 0 else 0.15))
            conversion = int(click and rng.random() < (0.5 if numbers[0] > 0.3 else 0.1))
            found.append([search, *ids, *map(str, numbers), click, conversion])
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--rows", type=int, default=2000, help="of the train split; test has a quarter")
    arguments = parser.parse_args()
    rng = random.Random(1)
    os.makedirs(arguments.output_dir, exist_ok=True)
    for split, count in (("train", arguments.rows), ("test", arguments.rows // 4)):
        with open(os.path.join(arguments.output_dir, f"{split}.csv"), "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *rows(rng, count)])


if __name__ == "__main__":
    main()
