"""The whole pipeline on a log of words and numbers: python examples/hillstrom/run.py --input_dir=DIR."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from steps import Chain, StepFailed, free_port  # noqa: E402

MODEL = "hillstrom"


def run(input_dir: str, output_dir: str) -> dict[str, list[float]]:
    """Runs every step; gives the scores of request.json's candidates."""
    data, model, export = (os.path.join(output_dir, name) for name in ("data", "model", "export"))
    log = [
        f"--input_dir={input_dir}",
        "--input_format=csv",
        f"--schema={os.path.join(HERE, 'schema.yaml')}",
    ]
    trained = [f"--data_dir={data}", f"--model_dir={model}"]
    chain = Chain(output_dir, total=7)
    chain.run("Preprocess", "preprocess", *log, f"--output_dir={data}", "--overwrite")
    chain.run(
        "Train",
        "trainer",
        "--task_type=train",
        f"--flagfile={os.path.join(HERE, 'hillstrom.flags')}",
        *trained,
        before=lambda: shutil.rmtree(model, ignore_errors=True),
    )
    chain.run("Evaluate", "trainer", "--task_type=eval", *trained)
    chain.run("Infer", "trainer", "--task_type=infer", *trained, f"--predictions={output_dir}/batch.csv")
    chain.run("Export", "trainer", "--task_type=export", *trained, f"--export_dir={export}")
    port = free_port()
    flags = (f"--model_base_path={export}", f"--model_name={MODEL}", f"--rest_api_port={port}")
    with chain.server("Serve", "serving", *flags, port=port, model=MODEL) as url:
        rest = [
            f"--server={url}",
            f"--model_name={MODEL}",
            f"--predictions={output_dir}/rest.csv",
            "--max_requests=2000",
        ]
        chain.run("Predict", "serving.predict", *log, *rest)
        return ask(f"{url}/v1/models/{MODEL}:predict")


def ask(url: str) -> dict[str, list[float]]:
    """Posts request.json."""
    with open(os.path.join(HERE, "request.json"), "rb") as file:
        body = file.read()
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=30) as answer:
        return json.load(answer)["outputs"]


def show(scores: dict[str, list[float]]) -> None:
    """Prints one line for each candidate e-mail."""
    with open(os.path.join(HERE, "request.json"), encoding="utf-8") as file:
        candidates = [values[0] for values in json.load(file)["inputs"]["segment"]]
    print("\nOne customer, three e-mails:\n  e-mail            visit   purchase after a visit   both")
    for row in zip(candidates, scores["pctr"], scores["pcvr"], scores["pctcvr"], strict=True):
        print("  {:<15} {:7.3f} {:24.4f} {:6.4f}".format(*row))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input_dir", required=True, help="folder that holds the published CSV file")
    parser.add_argument("--output_dir", default="hillstrom_output", help="where everything that is made goes")
    args = parser.parse_args()
    try:
        show(run(args.input_dir, args.output_dir))
    except StepFailed as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
