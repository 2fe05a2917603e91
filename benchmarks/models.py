"""Every model on worlds in which correction for selection can win, must not lose, or cannot help; judged on the truth.

python benchmarks/models.py --folder=OUT [--seeds=5] [--worlds=...] [--models=...] [--backbones=...] [--tables]

A seed is a log and an initialization; all models of a seed see the same. A model is NAME, or NAME:SETTING=VALUE:...
with settings of its own; NAME+truth has the true propensities. Seed by seed, world by world; what is finished is kept
in the folder, so that an interrupted run goes on where it was, and --tables prints what is there.

Prints, for each world, mean and standard deviation over the seeds of bias on all (D), clicked (O) and unclicked (N)
impressions, RMSE, regret, AUC of what would convert on D, AUC and calibration of clicks, the same of conversions on O,
and what the propensities alone would do (`simulate.judge`); then the differences to ESMM as published, seed by seed,
with their standard error. Models have the recommended recipe, so their CVR towers see the click logit where nothing
else is said.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
from collections.abc import Iterable, Iterator
from typing import NamedTuple

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
# ESMM as published.
BASE = "esmm:cvr_sees_ctr=false"
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
Judged = dict[str, list[dict]]


class Cell(NamedTuple):
    """One training."""

    seed: int
    world: str
    backbone: str
    model: str

    @property
    def row(self) -> str:
        """What a table calls it."""
        return f"{self.backbone} {self.model}"

    def flags(self, log: str) -> list[str]:
        """Of the training."""
        name, *settings = self.model.split(":")
        found = [f"--model={name.removesuffix(WITH_TRUTH)}", f"--backbone={self.backbone}", f"--seed={self.seed}"]
        if name.endswith(WITH_TRUTH):
            found.append(f"--propensity_from={os.path.join(log, 'truth_train.csv')}")
        return found + [f"--{setting}" for setting in settings]


def cells(arguments: argparse.Namespace) -> Iterator[Cell]:
    """Every training, seed by seed, so that what is finished first compares all models."""
    for seed in range(1, arguments.seeds + 1):
        for world in arguments.worlds.split(","):
            for backbone in arguments.backbones.split(","):
                for model in arguments.models.split(","):
                    yield Cell(seed, world, backbone, model)


def measure(workshop: Workshop, arguments: argparse.Namespace) -> dict[str, Judged]:
    """Judgements by world, model and backbone, one for each seed; with --tables of the finished seeds alone."""
    judged: dict[str, Judged] = {}
    find = workshop.finished_judgement if arguments.tables else workshop.judgement
    for cell in cells(arguments):
        log = workshop.log(*_log_flags(cell, arguments))
        found = find(log, workshop.records(log), *cell.flags(log))
        if found is None:
            continue
        judged.setdefault(cell.world, {}).setdefault(cell.row, []).append(found | {"seed": cell.seed})
        if not arguments.tables:
            print(f"{cell.world} seed {cell.seed} {cell.row}: {_short(found)}", flush=True)
    return judged


def _log_flags(cell: Cell, arguments: argparse.Namespace) -> list[str]:
    sizes = [f"--{name}={getattr(arguments, name)}" for name in ("requests", "test_requests", "history_scale")]
    return [*sizes, f"--conversion_rate={arguments.conversion_rate}", *WORLDS[cell.world], f"--seed={cell.seed}"]


def _short(judgement: dict) -> str:
    shown = ("bias D", "AUC D", "regret", "CTR AUC", "CVR AUC O", "weighted clicks")
    return "  ".join(f"{title} {judgement[FIGURES[title]]:+.4f}" for title in shown)


def difference(ours: Iterable[dict], base: Iterable[dict], figure: str) -> str:
    """Mean and standard error of the differences, seed by seed."""
    others = {one["seed"]: one[figure] for one in base}
    found = [one[figure] - others[one["seed"]] for one in ours if one["seed"] in others]
    error = statistics.stdev(found) / math.sqrt(len(found)) if len(found) > 1 else math.nan
    return f"{statistics.mean(found):+.4f} ± {error:.4f}" if found else ""


def tables(judged: Judged) -> tuple[list[dict], list[dict]]:
    """Figures of each row, and their differences to esmm on the same backbone."""
    figures, differences = [], []
    for row, each in judged.items():
        head = {"model": row, "seeds": str(len(each))}
        figures.append(head | {title: mean_and_spread(one[key] for one in each) for title, key in FIGURES.items()})
        backbone, name = row.split()
        base = judged.get(f"{backbone} {BASE}")
        if base and name != BASE:
            differences.append(head | {title: difference(each, base, key) for title, key in FIGURES.items()})
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
    parser.add_argument("--models", default=",".join([BASE, *MODELS, "escm2_ips+truth", "escm2_dr+truth"]))
    parser.add_argument("--backbones", default="shared_embedding")
    parser.add_argument("--threads", type=int, default=1, help="of each training")
    parser.add_argument("--tables", action="store_true", help="train nothing: print what is finished")
    arguments = parser.parse_args()
    for world, judged in measure(Workshop(arguments.folder, arguments.threads), arguments).items():
        figures, differences = tables(judged)
        show(f"{world}: {' '.join(WORLDS[world])}", figures)
        show(f"{world}: difference to {BASE}, mean ± standard error", differences)
        write_table(os.path.join(arguments.folder, f"models_{world}.csv"), figures)


if __name__ == "__main__":
    main()
