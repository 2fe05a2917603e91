"""From a log in Ali-CCP's format to REST answers, and a page of what came out.

python examples/aliccp/run.py --output_dir=OUT                      on a simulated log, whose truth is known
python examples/aliccp/run.py --output_dir=OUT --input_dir=ALICCP   on the real files

An interrupted chain goes on where it was: a step that ended well is not run again unless its command changed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from aliccp.summary import Folders, write_summary  # noqa: E402
from steps import Chain, StepFailed, free_port  # noqa: E402

REPOSITORY = os.path.dirname(os.path.dirname(HERE))
RECIPE = os.path.join(REPOSITORY, "configs", "recommended.flags")
MODELS = "esmm,escm2_ips,escm2_dr"
# Clicks mislead here: conversions grow away from a middling interest in both directions, and clicks lie on one side
# (docs/simulation.md). In the simulation's default world no loss is far from another.
WORLD = ("--rho=0", "--click_strength=1.5", "--conversion_strength=0.5", "--non_monotone=1.3")
# As it was published; the recipe's own model has another CVR tower.
OF_MODEL = {"esmm": ["--nocvr_sees_ctr"]}
MODEL_STEPS = 4
# So that the learning curves of a short training have more than one point.
EVALUATE_OFTEN = ("--save_checkpoints_secs=8", "--eval_throttle_secs=8", "--eval_impressions=50000")


def run(
    folders: Folders, models: list[str], simulate_flags: list[str], train_flags: list[str], rest_requests: int
) -> None:
    """Runs every step that is not done yet; the first model is served. `simulate_flags` empty: the log is there."""
    steps = (1 + bool(simulate_flags)) + len(models) * (MODEL_STEPS if simulate_flags else MODEL_STEPS - 1) + 4
    chain = Chain(folders.output, steps)
    if simulate_flags:
        chain.run("Simulate", "simulate", f"--output_dir={folders.log}", *simulate_flags, "--overwrite")
    chain.run("Preprocess", "preprocess", f"--input_dir={folders.log}", f"--output_dir={folders.data}", "--overwrite")
    for model in models:
        train_and_judge(chain, folders, model, train_flags, judge=bool(simulate_flags))
    compared = ",".join(folders.model(model) for model in models)
    chain.run("Compare", "trainer", "--task_type=report", f"--model_dir={compared}", f"--report={folders.model_report}")
    export_and_serve(chain, folders, models[0], rest_requests)


def train_and_judge(chain: Chain, folders: Folders, model: str, train_flags: list[str], judge: bool) -> None:
    """Trains a model, evaluates it, scores the test split, and judges the scores where the truth is known."""
    where = [f"--data_dir={folders.data}", f"--model_dir={folders.model(model)}"]
    own = [f"--model={model}", *OF_MODEL.get(model, ())]
    recipe = [f"--flagfile={RECIPE}", *EVALUATE_OFTEN, *own, *train_flags]
    chain.run(f"Train {model}", "trainer", "--task_type=train", *recipe, *where)
    chain.run(f"Evaluate {model}", "trainer", "--task_type=eval", *where)
    predictions = f"--predictions={folders.predictions(model)}"
    chain.run(f"Infer {model}", "trainer", "--task_type=infer", *where, predictions)
    if judge:
        output = f"--output={folders.judged(model)}"
        chain.run(f"Judge {model}", "simulate.judge", f"--input_dir={folders.log}", predictions, output)


def export_and_serve(chain: Chain, folders: Folders, model: str, rest_requests: int) -> None:
    """Exports one model, serves it and sends raw rows of the test split to it."""
    where = [f"--data_dir={folders.data}", f"--model_dir={folders.model(model)}"]
    chain.run(
        f"Export {model}",
        "trainer",
        "--task_type=export",
        *where,
        f"--export_dir={folders.export}",
        before=lambda: shutil.rmtree(folders.export, ignore_errors=True),
    )
    port = free_port()
    flags = (f"--model_base_path={folders.export}", f"--model_name={model}", f"--rest_api_port={port}")
    with chain.server("Serve", "serving", *flags, port=port, model=model) as url:
        chain.run(
            "Predict over REST",
            "serving.predict",
            f"--server={url}",
            f"--model_name={model}",
            f"--input_dir={folders.log}",
            f"--predictions={folders.rest_predictions}",
            f"--max_requests={rest_requests}",
        )


def parse_arguments() -> argparse.Namespace:
    """The command's flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", default="demo_output", help="where everything that is made goes")
    parser.add_argument("--input_dir", help="folder with Ali-CCP's four files; without it a log is simulated")
    parser.add_argument("--requests", type=int, default=16000, help="requests of the simulated train split")
    parser.add_argument("--test_requests", type=int, default=3000, help="requests of the simulated test split")
    parser.add_argument("--seed", type=int, default=1, help="of the simulation")
    parser.add_argument("--history_scale", type=float, default=1.0, help="length of simulated histories; 1: Ali-CCP's")
    parser.add_argument("--rest_requests", type=int, default=500, help="test requests to send over REST")
    parser.add_argument("--models", default=MODELS, help="to train and compare; the first one is served")
    parser.add_argument("--train_flag", action="append", default=[], help="one more flag for training; may be repeated")
    return parser.parse_args()


def main() -> None:
    """The command."""
    arguments = parse_arguments()
    folders = Folders(arguments.output_dir, arguments.input_dir or os.path.join(arguments.output_dir, "log"))
    simulate_flags = (
        []
        if arguments.input_dir
        else [
            *WORLD,
            *(
                f"--{name}={getattr(arguments, name)}"
                for name in ("requests", "test_requests", "seed", "history_scale")
            ),
        ]
    )
    models = arguments.models.split(",")
    started = time.monotonic()
    try:
        run(folders, models, simulate_flags, arguments.train_flag, arguments.rest_requests)
    except StepFailed as error:
        sys.exit(f"\n{error}")
    print(write_summary(folders, models, models[0]))
    print(f"\nThis run took {time.monotonic() - started:.0f} s. Nothing is left running.")


if __name__ == "__main__":
    main()
