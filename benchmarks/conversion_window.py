"""Late conversions: what a model learns from a log that was cut, and how to keep it from learning too low rates.

python benchmarks/conversion_window.py --folder=DIR [--days=6] [--requests=1500] [--delay=1] [--window=3d] [--seeds=1,2]

A simulated log of some days is cut at the end of the last one, when conversions come some days after their click. Four
models are trained: on what the log shows then (open), without the impressions whose window was still open
(--hold_back), with open clicks weighed (--weigh_open_clicks), and on all conversions within the window, as nobody
could (known). Each scores the day after, and the judge holds its scores against the truth: calibration is the mean
pCVR of clicks, or pCTCVR of all impressions, over the true rate of conversions, those behind the window included.
Finished commands are kept.
"""

from __future__ import annotations

import argparse
import json
import os

from pipeline import RECIPE, mean_and_spread, run_forked

from features import names

FIGURES = ("cvr_calibration", "ctcvr_calibration", "cvr_auc_would_convert_all", "cvr_auc", "ctcvr_auc", "ctr_auc")


def once(out: str, module: str, *flags: str) -> str:
    """Runs a command unless what it makes is there; returns the path."""
    if not os.path.exists(out + ".done"):
        printed = run_forked(module, *flags).printed
        with open(out + ".done", "w", encoding="utf-8") as file:
            file.write(printed)
    return out


def tables_of_days(folder: str, seed: str, arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """The log, and its days as Parquet."""
    log = os.path.join(folder, "log")
    size = (f"--requests={arguments.requests}", "--test_requests=0", f"--days={arguments.days + 1}", f"--seed={seed}")
    world = (f"--conversion_delay_days={arguments.delay}", "--history_scale=0.05", "--conversion_rate=0.2")
    once(log, "simulate", f"--output_dir={log}", *size, *world)
    dates = sorted(name for name in os.listdir(log) if name[:1].isdigit())
    made = []
    for date in dates:
        out = os.path.join(folder, f"tables_{date}")
        made.append(
            once(out, "simulate.tables", f"--input_dir={log}/{date}", f"--output_dir={out}", f"--form={names.PARQUET}")
        )
    return log, made


def judge(folder: str, seed: str, arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Figures of each model on the day after."""
    os.makedirs(folder, exist_ok=True)
    log, days = tables_of_days(folder, seed, arguments)
    last = os.path.basename(days[-1]).removeprefix("tables_")
    form = (f"--input_format={names.PARQUET}", f"--schema={days[0]}/{names.SCHEMA_FILE}", "--splits=train")
    cut = (f"--conversion_window={arguments.window}", f"--log_cut={last}")
    found = {}
    for name, flags in {
        "open": cut,
        "held back": (*cut, f"--hold_back={arguments.window}"),
        "weighed": (*cut, "--weigh_open_clicks"),
        "known": cut[:1],
    }.items():
        data, model, after, scores = (os.path.join(folder, f"{kind}_{name}".replace(" ", "_")) for kind in "dmas")
        once(data, "preprocess", f"--input_dir={','.join(days[:-1])}", f"--output_dir={data}", *form, *flags)
        known = (f"--vocabulary={data}/{names.VOCABULARY_DIR}", f"--output_dir={after}")
        once(after, "preprocess", f"--input_dir={days[-1]}", *known, *form)
        where = (f"--data_dir={data}", f"--model_dir={model}")
        small = ("--embedding_size=8", "--deep_layers=64,32", "--num_threads=1", "--eval_splits=")
        once(model, "trainer", "--task_type=train", *where, RECIPE, *small)
        infer = ("--task_type=infer", "--split=train", f"--data_dir={after}", f"--model_dir={model}")
        once(scores, "trainer", *infer, f"--predictions={scores}.csv")
        figures = scores + ".json"
        on = (f"--input_dir={log}/{last}", f"--predictions={scores}.csv", "--split=train", f"--output={figures}")
        once(figures, "simulate.judge", *on)
        with open(figures, encoding="utf-8") as file:
            found[name] = json.load(file)
        with open(data + ".done", encoding="utf-8") as file:
            print(f"seed {seed}, {name}: " + next(line for line in file if line.startswith("conversions")).strip())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--days", type=int, default=6)
    parser.add_argument("--requests", type=int, default=1500, help="of a mean day")
    parser.add_argument("--delay", type=float, default=1.0, help="mean days from click to conversion")
    parser.add_argument("--window", default="3d")
    parser.add_argument("--seeds", default="1,2")
    arguments = parser.parse_args()
    judged = [
        judge(os.path.join(os.path.abspath(arguments.folder), f"seed{seed}"), seed, arguments)
        for seed in arguments.seeds.split(",")
    ]
    for name in judged[0]:
        values = ", ".join(f"{figure} {mean_and_spread(one[name][figure] for one in judged)}" for figure in FIGURES)
        print(f"{name}: {values}")


if __name__ == "__main__":
    main()
