"""Every model on worlds in which correction for selection can win, must not lose, or cannot help; judged on the truth.

python benchmarks/models.py --folder=OUT [--requests=3000] [--seeds=5] [--worlds=...] [--models=...] [--backbones=...]

A seed is a log and an initialization; all models of a seed see the same. Prints, for each world, mean and standard
deviation over the seeds of bias on all (D), clicked (O) and unclicked (N) impressions, RMSE, regret, AUC of what would
convert on D, calibration of CTR and CVR, and what the propensities alone would do; then the differences to esmm, seed
by seed, with their standard error. `MODEL+truth` is the model with the true propensities. What is finished is kept in
the folder: an interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
from collections.abc import Iterable

from pipeline import Workshop, mean_and_spread, write_table

from model_fn.models import MODELS

# What each world is for, and its flags.
WORLDS = {
    "default": (),
    "strong": ("--rho=0.9", "--click_strength=1.2", "--conversion_strength=1.2"),
    "bent": ("--rho=0", "--click_strength=1.5", "--conversion_strength=0.5", "--non_monotone=1.3"),
    "pairs": ("--hidden_interaction=0.8",),
    "hidden": ("--gamma=0.8",),
}
WITH_TRUTH = "+truth"
BASE = "esmm"
FIGURES = {
    "bias D": "cvr_bias_all",
    "bias O": "cvr_bias_clicked",
    "bias N": "cvr_bias_unclicked",
    "RMSE": "cvr_rmse",
    "regret": "cvr_regret",
    "AUC D": "cvr_auc_would_convert_all",
    "CTR AUC": "ctr_auc",
    "CVR AUC O": "cvr_auc",
    "CTR calibration": "ctr_calibration",
    "CVR calibration O": "cvr_calibration",
    "weighted clicks": "weighted_clicks_predicted",
}


def measure(workshop: Workshop, world: str, arguments: argparse.Namespace) -> dict[str, list[dict]]:
    """Judgements of each model and backbone in a world, one for each seed."""
    judged: dict[str, list[dict]] = {}
    for seed in range(1, arguments.seeds + 1):
        size = (f"--requests={arguments.requests}", f"--test_requests={arguments.test_requests}")
        shape = (f"--history_scale={arguments.history_scale}", f"--conversion_rate={arguments.conversion_rate}")
        log = workshop.log(*size, *shape, *WORLDS[world], f"--seed={seed}")
        records = workshop.records(log)
        for backbone in arguments.backbones.split(","):
            for name in arguments.models.split(","):
                flags = [f"--model={name.removesuffix(WITH_TRUTH)}", f"--backbone={backbone}", *arguments.train_flag]
                if name.endswith(WITH_TRUTH):
                    flags.append(f"--propensity_from={os.path.join(log, 'truth_train.csv')}")
                row = f"{backbone} {name}"
                judged.setdefault(row, []).append(workshop.judgement(log, records, *flags, f"--seed={seed}"))
                print(f"{world} seed {seed} {row}: {_short(judged[row][-1])}", flush=True)
    return judged


def _short(judgement: dict) -> str:
    return "  ".join(f"{title} {judgement[FIGURES[title]]:+.4f}" for title in ("bias D", "AUC D", "regret"))


def difference(ours: Iterable[dict], base: Iterable[dict], figure: str) -> str:
    """Mean and standard error of the differences, seed by seed."""
    found = [one[figure] - other[figure] for one, other in zip(ours, base, strict=True)]
    error = statistics.stdev(found) / math.sqrt(len(found)) if len(found) > 1 else math.nan
    return f"{statistics.mean(found):+.4f} ± {error:.4f}"


def tables(judged: dict[str, list[dict]]) -> tuple[list[dict], list[dict]]:
    """Figures of each row, and their differences to esmm on the same backbone."""
    figures = [
        {"model": row} | {title: mean_and_spread(one[key] for one in each) for title, key in FIGURES.items()}
        for row, each in judged.items()
    ]
    differences = []
    for row, each in judged.items():
        backbone, name = row.split()
        base = judged.get(f"{backbone} {BASE}")
        if base and name != BASE:
            differences.append({"model": row} | {title: difference(each, base, key) for title, key in FIGURES.items()})
    return figures, differences


def show(title: str, rows: list[dict]) -> None:
    """The rows as a table in Markdown."""
    if not rows:
        return
    print(f"\n{title}\n\n| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}")
    for row in rows:
        print(f"| {' | '.join(row.values())} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="keeps logs, records and results")
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--test_requests", type=int, default=1000)
    parser.add_argument("--history_scale", type=float, default=0.02)
    parser.add_argument("--conversion_rate", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--worlds", default=",".join(WORLDS))
    parser.add_argument("--models", default=",".join([*MODELS, "escm2_ips+truth", "escm2_dr+truth"]))
    parser.add_argument("--backbones", default="shared_embedding")
    parser.add_argument("--train_flag", action="append", default=[], help="one more flag for every training")
    arguments = parser.parse_args()
    workshop = Workshop(arguments.folder)
    for world in arguments.worlds.split(","):
        figures, differences = tables(measure(workshop, world, arguments))
        show(f"{world}: {' '.join(WORLDS[world])}", figures)
        show(f"{world}: difference to {BASE}, mean ± standard error", differences)
        write_table(os.path.join(arguments.folder, f"models_{world}.csv"), figures)


if __name__ == "__main__":
    main()
