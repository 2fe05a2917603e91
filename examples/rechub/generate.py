"""Writes tables in the shape of torch-rechub's AliExpress and Ali-CCP files: python examples/rechub/generate.py.

Kept of the originals: 16 columns categorical_N and 63 numerical_N (79 in all) before click and conversion; the
single ids of lists in columns such as 109_14, with their weights in D109_14; train.csv and test.csv. The values are
made up.
"""

from __future__ import annotations

import argparse
import csv
import os
import random

CATEGORICAL = [f"categorical_{number}" for number in range(1, 17)]
NUMERICAL = [f"numerical_{number}" for number in range(1, 64)]
COLUMNS = [*CATEGORICAL, *NUMERICAL, "109_14", "D109_14", "click", "conversion"]


def row(rng: random.Random) -> list[str | int]:
    """One impression."""
    ids = [rng.randrange(5 * (k + 2)) for k in range(len(CATEGORICAL))]
    numbers = [rng.gauss(0, 1 + k % 5) for k in range(len(NUMERICAL))]
    click = int(rng.random() < (0.5 if ids[0] % 3 == 0 else 0.15))
    conversion = int(click and rng.random() < (0.5 if numbers[0] > 0 else 0.1))
    return [*ids, *(f"{number:.4f}" for number in numbers), rng.randrange(40), f"{rng.random():.3f}", click, conversion]


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
            csv.writer(file).writerows([COLUMNS, *(row(rng) for _ in range(count))])


if __name__ == "__main__":
    main()
