"""Writes tables in the shape of torch-rechub's Ali-CCP files: python examples/rechub/generate.py --output_dir=DIR.

Kept of the original: the names and order of its 33 columns, click and purchase first; a single id in each, where 0
stands for none; the weights of eight columns in others (D109_14 beside 109_14, and 0.0 beside no id);
ali_ccp_train.csv, ali_ccp_val.csv and ali_ccp_test.csv. The values are made up.
"""

from __future__ import annotations

import argparse
import csv
import os
import random

PLAIN = ["101", "121", "122", "124", "125", "126", "127", "128", "129", "205", "206", "207", "210", "216"]
WEIGHTED = ["508", "509", "702", "853"]
HISTORIES = ["109_14", "110_14", "127_14", "150_14"]
WEIGHTS = [f"D{name}" for name in HISTORIES + WEIGHTED]
COLUMNS = ["click", "purchase", *PLAIN, *WEIGHTED, "301", *HISTORIES, *WEIGHTS]


def row(rng: random.Random) -> list[str | int]:
    """One impression."""
    plain = [rng.randrange(3 * (k + 2)) for k in range(len(PLAIN))]
    weighted = [rng.randrange(8) for _ in WEIGHTED]
    histories = [rng.randrange(1, 30) for _ in HISTORIES]
    weights = [f"{rng.random():.4f}" if found else "0.0" for found in histories + weighted]
    click = int(rng.random() < (0.4 if plain[9] % 3 == 0 else 0.1))
    purchase = int(click and rng.random() < (0.5 if histories[0] % 2 else 0.1))
    return [click, purchase, *plain, *weighted, rng.randrange(1, 4), *histories, *weights]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--rows", type=int, default=3000, help="of the train split; val and test have a quarter each")
    arguments = parser.parse_args()
    rng = random.Random(1)
    os.makedirs(arguments.output_dir, exist_ok=True)
    for split, part in (("train", 1), ("val", 4), ("test", 4)):
        path = os.path.join(arguments.output_dir, f"ali_ccp_{split}.csv")
        with open(path, "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *(row(rng) for _ in range(arguments.rows // part))])


if __name__ == "__main__":
    main()
