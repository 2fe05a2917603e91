"""How far pCVR is from the truth over the entire space: naive, ESMM, ESCM2-IPS and ESCM2-DR over several seeds.

python benchmarks/entire_space_bias.py --folder=OUT [--requests=16000] [--rho=0.6] [--seeds=5] [--models=esmm,...]

Each seed is a world, a log and an initialization of its own. Prints bias of mean pCVR on all (D), clicked (O) and
unclicked (N) impressions, RMSE, regret and AUCs as mean and standard deviation over the seeds.
"""

from __future__ import annotations

import argparse
import os

from pipeline import Workshop, mean_and_spread, write_table

from model_fn.models import MODELS

FIGURES = {
    "bias D": "cvr_bias_all",
    "bias O": "cvr_bias_clicked",
    "bias N": "cvr_bias_unclicked",
    "RMSE": "cvr_rmse",
    "logit RMSE": "cvr_logit_rmse",
    "regret": "cvr_regret",
    "AUC r(1) on D": "cvr_auc_would_convert_all",
    "AUC r(1) on N": "cvr_auc_would_convert_unclicked",
    "CTR AUC": "ctr_auc",
    "CVR AUC": "cvr_auc",
    "CTCVR AUC": "ctcvr_auc",
}


def measure(arguments: argparse.Namespace) -> dict[str, list[dict]]:
    """Judgements of each model, one for each seed."""
    workshop = Workshop(arguments.folder)
    judged: dict[str, list[dict]] = {name: [] for name in arguments.models.split(",")}
    for seed in range(1, arguments.seeds + 1):
        log = workshop.log(
            f"--requests={arguments.requests}",
            f"--test_requests={arguments.test_requests}",
            f"--rho={arguments.rho}",
            f"--gamma={arguments.gamma}",
            f"--history_scale={arguments.history_scale}",
            f"--seed={seed}",
        )
        records = workshop.records(log)
        for name, found in judged.items():
            flags = (f"--model={name}", *arguments.train_flag, f"--seed={seed}")
            found.append(workshop.judgement(log, records, *flags))
            print(f"seed {seed} {name}: bias on D {found[-1]['cvr_bias_all']:+.3f}", flush=True)
    return judged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="keeps logs, records and results")
    parser.add_argument("--requests", type=int, default=16000)
    parser.add_argument("--test_requests", type=int, default=10000)
    parser.add_argument("--rho", type=float, default=0.6)
    parser.add_argument("--gamma", type=float, default=0.0)
    parser.add_argument("--history_scale", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--train_flag", action="append", default=[], help="one more flag for every training")
    arguments = parser.parse_args()
    judged = measure(arguments)
    rows = [
        {"model": name}
        | {title: mean_and_spread(one[figure] for one in judgements) for title, figure in FIGURES.items()}
        for name, judgements in judged.items()
    ]
    for title in FIGURES:
        print(f"{title:>14}  " + "  ".join(f"{row['model']} {row[title]}" for row in rows))
    first = next(iter(judged.values()))
    for task in ("ctr", "cvr", "ctcvr"):
        print(f"oracle {task} AUC {mean_and_spread(one[f'{task}_auc_oracle'] for one in first)}")
    write_table(os.path.join(arguments.folder, f"bias_rho{arguments.rho}_gamma{arguments.gamma}.csv"), rows)


if __name__ == "__main__":
    main()
