"""Which recipe a log of a given size needs: AUCs on the test split by size, recipe and passes.

python benchmarks/small_logs.py --folder=OUT [--requests=1000,5000,20000] [--seeds=3] [--tables]
python benchmarks/small_logs.py --folder=OUT --requests=1000 --log_flag=--items=100 --log_flag=--users=100

About 58 impressions a request; the world has items and users in Ali-CCP's proportion to them, so that most ids are rare
on a log of any size, unless --log_flag says otherwise (or --preprocess_flag: a schema of fewer fields). A recipe is a
flagfile of configs/ with passes, and may have settings of its own: small:10:embedding_learning_rate=0.001. What is
finished is kept in the folder.
"""

from __future__ import annotations

import argparse
import os

from pipeline import Workshop, mean_and_spread, write_table

RECIPES = ("recommended:1", "recommended:3", "recommended:10", "small:3", "small:10", "small:20")
AUCS = ("ctr_auc", "cvr_auc", "ctcvr_auc")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--requests", default="1000,5000,20000")
    parser.add_argument("--recipes", default=",".join(RECIPES))
    parser.add_argument("--log_flag", action="append", default=[], help="of the simulation; may be repeated")
    parser.add_argument("--preprocess_flag", action="append", default=[], help="may be repeated")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of each training")
    parser.add_argument("--tables", action="store_true", help="train nothing: print what is finished")
    arguments = parser.parse_args()
    workshop = Workshop(arguments.folder, arguments.threads)
    find = workshop.finished_judgement if arguments.tables else workshop.judgement
    judged: dict[tuple[str, str], list[dict]] = {}
    for seed in range(1, arguments.seeds + 1):
        for requests in arguments.requests.split(","):
            size = [f"--requests={requests}", "--test_requests=1000", "--history_scale=0.05"]
            log = workshop.log(*size, f"--seed={seed}", *arguments.log_flag)
            records = workshop.records(log, *arguments.preprocess_flag)
            for recipe in arguments.recipes.split(","):
                name, passes, *own = recipe.split(":")
                flags = [f"--flagfile=configs/{name}.flags", f"--num_epochs={passes}", f"--seed={seed}"]
                flags += [f"--{setting}" for setting in own]
                found = find(log, records, *flags)
                if found is not None:
                    judged.setdefault((requests, recipe), []).append(found)
                    print(requests, recipe, seed, *(f"{auc} {found[auc]:.4f}" for auc in AUCS), flush=True)
    rows = [_row(*key, found) for key, found in judged.items()]
    write_table(os.path.join(arguments.folder, "small_logs.csv"), rows)
    print(f"\n| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}")
    for row in rows:
        print(f"| {' | '.join(row.values())} |")


def _row(requests: str, recipe: str, found: list[dict]) -> dict[str, str]:
    name, passes, *own = recipe.split(":")
    aucs = {auc: mean_and_spread(one[auc] for one in found) for auc in AUCS}
    oracles = {f"{auc} of the truth": f"{sum(one[f'{auc}_oracle'] for one in found) / len(found):.4f}" for auc in AUCS}
    head = {
        "requests": requests,
        "recipe": " ".join([f"{name}.flags", *own]),
        "passes": passes,
        "seeds": str(len(found)),
    }
    return head | aucs | oracles


if __name__ == "__main__":
    main()
