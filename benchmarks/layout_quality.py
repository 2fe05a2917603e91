"""What it costs to keep impressions of a request together: AUC and speed over --max_impressions_per_context.

python benchmarks/layout_quality.py --folder=OUT [--requests=80000] [--seeds=5] [--pieces=1,8,16,32,0]

One log, one epoch, several training seeds for each setting. `1` shuffles single impressions: what the other settings
are held against. `0` leaves requests whole.
"""

from __future__ import annotations

import argparse
import os
import statistics

from pipeline import Workshop, mean_and_spread, write_table

TASKS = ("ctr_auc", "cvr_auc", "ctcvr_auc")


def measure(arguments: argparse.Namespace) -> list[dict]:
    """A row for each setting."""
    workshop = Workshop(arguments.folder)
    log = workshop.log(
        f"--requests={arguments.requests}",
        f"--test_requests={arguments.test_requests}",
        f"--history_scale={arguments.history_scale}",
        "--seed=1",
    )
    records = workshop.records(log)
    rows = []
    for batch_size in arguments.batch_sizes.split(","):
        for piece in arguments.pieces.split(","):
            judged = [
                workshop.judgement(
                    log,
                    records,
                    f"--max_impressions_per_context={piece}",
                    f"--batch_size={batch_size}",
                    f"--seed={seed}",
                    *arguments.train_flag,
                )
                for seed in range(1, arguments.seeds + 1)
            ]
            row = {"batch_size": batch_size, "max_impressions_per_context": piece}
            row |= {task: mean_and_spread(one[task] for one in judged) for task in TASKS}
            speeds = [one["impressions_per_second"] for one in judged if one["impressions_per_second"]]
            row["impressions/s"] = f"{statistics.median(speeds):.0f}" if speeds else ""
            rows.append(row)
            print(row, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="keeps the log, its records and results")
    parser.add_argument("--requests", type=int, default=80000)
    parser.add_argument("--test_requests", type=int, default=10000)
    parser.add_argument("--history_scale", type=float, default=0.1)
    parser.add_argument("--pieces", default="1,8,16,32,0")
    parser.add_argument("--batch_sizes", default="1024")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--train_flag", action="append", default=[], help="one more flag for every training")
    arguments = parser.parse_args()
    write_table(os.path.join(arguments.folder, "layout_quality.csv"), measure(arguments))


if __name__ == "__main__":
    main()
