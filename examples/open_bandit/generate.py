"""Writes a log in the shape of the Open Bandit Dataset: python examples/open_bandit/generate.py --output_dir=DIR.

Kept of the original's men.csv: the names and order of its 44 columns, an index without a name first; timestamps with
microseconds and time zone, item_id of 34 items, position of 1 to 3, click, propensity_score, four user features as
hashed words, an affinity to each item as a float. The original is CSV; --form=parquet is what pandas makes of it. There
are no conversions in it, and here neither. The values are made up.
"""

from __future__ import annotations

import argparse
import os
import random

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet

ITEMS = 34
UNQUOTED = arrow_csv.WriteOptions(quoting_style="none")


def shown_at(second: int) -> str:
    """A time of the first day."""
    return f"2019-11-24 {second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.004101+00:00"


def table(rng: random.Random, rows: int) -> pa.Table:
    """Rows of a campaign."""
    items = [rng.randrange(ITEMS) for _ in range(rows)]
    users = [[f"{rng.randrange(6):032x}" for _ in range(4)] for _ in range(rows)]
    clicks = [int(rng.random() < (0.3 if item % 3 == 0 else 0.05)) for item in items]
    columns = {
        "": list(range(rows)),
        "timestamp": [shown_at(number) for number in range(rows)],
        "item_id": items,
        "position": [1 + rng.randrange(3) for _ in range(rows)],
        "click": clicks,
        "propensity_score": [1 / ITEMS] * rows,
    }
    columns |= {f"user_feature_{k}": [user[k] for user in users] for k in range(4)}
    columns |= {f"user-item_affinity_{k}": [float(rng.random() < 0.1) for _ in range(rows)] for k in range(ITEMS)}
    return pa.table(columns)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--form", choices=("csv", "parquet"), default="parquet")
    arguments = parser.parse_args()
    os.makedirs(arguments.output_dir, exist_ok=True)
    path = os.path.join(arguments.output_dir, f"all.{arguments.form}")
    made = table(random.Random(1), arguments.rows)
    parquet.write_table(made, path) if arguments.form == "parquet" else arrow_csv.write_csv(made, path, UNQUOTED)


if __name__ == "__main__":
    main()
