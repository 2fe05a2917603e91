"""How near trained models come to the oracle as the log grows: AUC over the number of training impressions.

python benchmarks/learning_curve.py --folder=OUT [--requests=4000,16000,80000] [--seeds=3]

Every log size is a world in Ali-CCP's proportions with its own seed; the test split is judged against the truth.
Writes learning_curve.csv and learning_curve.png to the folder.
"""

from __future__ import annotations

import argparse
import os
import statistics

import matplotlib
from pipeline import Workshop, mean_and_spread, write_table

matplotlib.use("Agg")
from matplotlib import pyplot

IMPRESSIONS_PER_REQUEST = 58
TASKS = ("ctr", "cvr", "ctcvr")


def measure(arguments: argparse.Namespace) -> list[dict]:
    """A row for each log size: mean AUC of each task, and of the truth."""
    workshop = Workshop(arguments.folder)
    rows = []
    for requests in map(int, arguments.requests.split(",")):
        judged = []
        for seed in range(1, arguments.seeds + 1):
            log = workshop.log(
                f"--requests={requests}",
                f"--test_requests={arguments.test_requests}",
                f"--history_scale={arguments.history_scale}",
                f"--seed={seed}",
            )
            judged.append(workshop.judgement(log, workshop.records(log), *arguments.train_flag, f"--seed={seed}"))
        row: dict = {"impressions": requests * IMPRESSIONS_PER_REQUEST}
        for task in TASKS:
            row[f"{task}_auc"] = statistics.mean(one[f"{task}_auc"] for one in judged)
            row[f"{task}_auc_oracle"] = statistics.mean(one[f"{task}_auc_oracle"] for one in judged)
            row[f"{task}_gap"] = mean_and_spread(one[f"{task}_auc_oracle"] - one[f"{task}_auc"] for one in judged)
        rows.append(row)
        print(row, flush=True)
    return rows


def draw(rows: list[dict], path: str) -> None:
    """Model (line) and oracle (dashes) for each task over the number of impressions."""
    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    impressions = [row["impressions"] for row in rows]
    for task in TASKS:
        (line,) = axes.plot(
            impressions, [row[f"{task}_auc"] for row in rows], marker="o", label=f"{task.upper()} model"
        )
        oracle = [row[f"{task}_auc_oracle"] for row in rows]
        axes.plot(impressions, oracle, "--", color=line.get_color(), label=f"{task.upper()} truth")
    axes.set(xscale="log", xlabel="training impressions", ylabel="AUC on the test split")
    axes.set_xticks(impressions, [f"{count / 1e6:.2g} million" for count in impressions])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.15), frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="keeps logs, records and results")
    parser.add_argument("--requests", default="4000,16000,80000")
    parser.add_argument("--test_requests", type=int, default=10000)
    parser.add_argument("--history_scale", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train_flag", action="append", default=[], help="one more flag for every training")
    arguments = parser.parse_args()
    rows = measure(arguments)
    write_table(os.path.join(arguments.folder, "learning_curve.csv"), rows)
    draw(rows, os.path.join(arguments.folder, "learning_curve.png"))


if __name__ == "__main__":
    main()
