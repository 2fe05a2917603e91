"""Bytes of records for each impression: request layout and flat layout of the same rows, plain and gzipped.

python -m simulate --output_dir=LOG --requests=2000
python benchmarks/preprocess_sizes.py LOG
"""

import argparse
import os
import tempfile

from preprocess import command, file_steps
from preprocess.options import COMPRESSIONS, Options

LAYOUTS = {"request": 0, "flat": 1}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("log")
    log = parser.parse_args().log
    for compression in COMPRESSIONS:
        sizes = {}
        for layout, limit in LAYOUTS.items():
            with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(log))) as folder:
                options = Options(
                    input_dir=log,
                    output_dir=os.path.join(folder, "out"),
                    splits=("train",),
                    impressions_per_record=limit,
                    compression=compression,
                )
                report = command.run(options, execute=file_steps.run_in_process)
            found = report.splits["train"]
            sizes[layout] = found["bytes"] / found["impressions"]
        history = sum(
            field["splits"]["train"]["values"] - field["splits"]["train"]["unknown_values"]
            for field in report.fields.values()
            if field["side"] == "context" and field["kind"] == "many"
        )
        text = ", ".join(f"{layout} {size:,.1f}" for layout, size in sizes.items())
        print(f"{compression}: bytes per impression {text}; 1/{sizes['flat'] / sizes['request']:.1f}; ", end="")
        print(f"{history / found['impressions']:.0f} history ids")


if __name__ == "__main__":
    main()
