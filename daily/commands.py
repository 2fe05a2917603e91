"""The public commands of a day: what a person would type."""

from __future__ import annotations

import os
import sys

from daily import day as days
from daily.day import Day
from daily.options import Options

PREPROCESS, TRAIN, EXPORT, GATE = "preprocess", "train", "export", "gate"


def of_day(options: Options, day: Day, parent: Day | None) -> dict[str, list[str]]:
    """Command of each step, in order.

    Args:
        options: of the run.
        day: to process.
        parent: the last day before it whose model was accepted; None: the day starts from nothing.
    """
    python = [sys.executable, "-m"]
    return {
        PREPROCESS: [*python, "preprocess", *_preprocess(options, day, parent), *options.preprocess_flags],
        TRAIN: [*python, "trainer", "--task_type=train", *_train(day, parent), *options.train_flags],
        EXPORT: [*python, "trainer", "--task_type=export", *_export(day), *options.export_flags],
        GATE: [*python, "daily.gate", *_gate(options, day, parent)],
    }


def _preprocess(options: Options, day: Day, parent: Day | None) -> list[str]:
    flags = [f"--input_dir={_log(options, day)}", f"--output_dir={day.data}"]
    if parent is None:
        return flags
    elapsed = days.days_between(parent.date, day.date)
    return [*flags, f"--previous_vocabulary={parent.vocabulary}", f"--elapsed_days={elapsed}"]


def _log(options: Options, day: Day) -> str:
    return os.path.join(options.log_root, day.date)


def _of_model(day: Day) -> list[str]:
    return [f"--data_dir={day.data}", f"--model_dir={day.model}"]


def _export(day: Day) -> list[str]:
    # The gate loads and tries the version.
    return [*_of_model(day), f"--export_dir={day.export}", "--nocheck_export"]


def _train(day: Day, parent: Day | None) -> list[str]:
    # Of all test rows: what the gate then need not evaluate again.
    flags = [*_of_model(day), "--eval_impressions=0"]
    return [*flags, *([f"--continue_from={parent.model}", "--validate_first"] if parent else [])]


def _gate(options: Options, day: Day, parent: Day | None) -> list[str]:
    low, high = options.calibration
    return [
        f"--day={day.folder}",
        f"--log={_log(options, day)}",
        f"--parent={parent.folder if parent else ''}",
        f"--max_regression={options.max_regression:g}",
        f"--gate_metrics={','.join(options.gate_metrics)}",
        f"--calibration={low:g},{high:g}",
    ]
