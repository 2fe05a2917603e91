"""The gate: may a day's exported model be served? Writes gate.json in the day's folder; a refusal is no error.

python -m daily.gate --day=OUT/days/2026-01-02 --log=LOGS/2026-01-02 --parent=OUT/days/2026-01-01

It may, if the version loads and answers its warm-up (what `python -m serving.check` looks at), if it scores raw rows of
the day through its signatures as the checkpoint scores their records, if it is not worse than the parent's model on the
same rows (the day's test split, and the parent's, which a spoilt day cannot have touched), and if it predicts about as
many clicks and conversions as there are.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import app, flags

import storage
from daily import day as days
from daily.day import Day, Scores
from daily.options import Options

_CALIBRATIONS = ("ctr_calibration", "ctcvr_calibration")
# Fewer clicks or conversions than this in a split say nothing.
_FEWEST = 50


def define_flags() -> None:
    """Defines the flags; only the command calls this, since other commands and tests import the module."""
    flags.DEFINE_string("day", None, "Folder of the day.", required=True)
    flags.DEFINE_string("log", None, "Folder of the day's raw log.", required=True)
    flags.DEFINE_string("parent", "", "Folder of the day whose model it goes on from; empty: none.")
    flags.DEFINE_float("max_regression", Options.max_regression, "By how much an AUC may be lower on the same rows.")
    flags.DEFINE_list("gate_metrics", list(Options.gate_metrics), "The AUCs that are compared.")
    flags.DEFINE_list("calibration", [f"{bound:g}" for bound in Options.calibration], "Lowest and highest ratio.")


def main() -> None:
    """Entry point of the command."""
    define_flags()
    app.run(_run)


def _run(arguments: list[str]) -> None:
    del arguments
    from trainer import terminal

    terminal.quiet_libraries(terminal.QUIET)
    found = flags.FLAGS
    day = _day(found.day)
    low, high = map(float, found.calibration)
    try:
        verdict = decide(
            day,
            found.log,
            _day(found.parent) if found.parent else None,
            found.max_regression,
            tuple(found.gate_metrics),
            (low, high),
        )
    except (ValueError, OSError) as error:
        sys.exit(f"daily.gate: {storage.told(error)}")
    days.write_json(day.gate_file, verdict)
    print(f"gate: {'accepted' if verdict['accepted'] else 'refused: ' + '; '.join(verdict['reasons'])}")


def _day(folder: str) -> Day:
    path = os.path.abspath(folder)
    return Day(os.path.dirname(os.path.dirname(path)), os.path.basename(path))


def decide(
    day: Day,
    log: str,
    parent: Day | None,
    max_regression: float,
    metrics: tuple[str, ...],
    calibration: tuple[float, float],
) -> dict[str, Any]:
    """The decision on a day's newest version.

    Args:
        day: to decide on.
        log: folder of its raw log.
        parent: whose model it goes on from.
        max_regression: by how much an AUC may be lower than the parent's.
        metrics: the AUCs that are compared.
        calibration: lowest and highest ratio of predicted to observed.

    Returns:
        accepted, reasons, version, and metrics of each model by rows.

    Raises:
        ValueError: no version, model or data there.
    """
    version = _newest_version(day)
    reasons = _faults_of(version, day, log)
    scores = _scores_of(day, parent)
    for rows, found in scores.items():
        reasons += _regressions(rows, found, max_regression, metrics)
        reasons += _miscalibrations(rows, found, calibration)
    return {
        "accepted": not reasons,
        "reasons": reasons,
        "version": version,
        "parent": parent.date if parent else None,
        "scores": scores,
    }


def _newest_version(day: Day) -> str:
    names = [name for name in sorted(os.listdir(day.export), key=len) if name.isdigit()]
    if not names:
        raise ValueError(f"{day.export}: no version there; run python -m trainer --task_type=export first")
    return os.path.join(day.export, max(names, key=int))


def _faults_of(version: str, day: Day, log: str) -> list[str]:
    """What is wrong with a version: by itself, and in its scores of the day's raw rows. It is loaded once for both."""
    from daily import parity
    from serving import trial
    from serving.saved_model_files import CheckError

    with contextlib.ExitStack() as stack:
        try:
            with trial.naming(version):
                loaded = stack.enter_context(trial.LoadedVersion(version))
                loaded.checked()
            fault = parity.compare(day, log, loaded).fault
        except CheckError as error:
            return str(error).splitlines()[:1]
    return [fault] if fault else []


def _scores_of(day: Day, parent: Day | None) -> Scores:
    from daily import scores

    return scores.of_models(day, parent)


def _regressions(
    rows: str, found: Mapping[str, Mapping[str, Any]], max_regression: float, metrics: tuple[str, ...]
) -> list[str]:
    if "before" not in found:
        return []
    reasons = []
    for metric in _tellable(metrics, found):
        new, before = (found[which].get(metric, math.nan) for which in ("new", "before"))
        if math.isnan(new) or math.isnan(before):
            reasons.append(f"{metric} cannot be told on {rows}'s test rows (--gate_metrics)")
        elif new < before - max_regression:
            reasons.append(
                f"{metric} on {rows}'s test rows is {new:.4f}, yesterday's model has {before:.4f} (--max_regression)"
            )
    return reasons


def _miscalibrations(rows: str, found: Mapping[str, Mapping[str, Any]], bounds: tuple[float, float]) -> list[str]:
    reasons = []
    for metric in _tellable(_CALIBRATIONS, found):
        value = found["new"].get(metric)
        if value is not None and not bounds[0] <= value <= bounds[1]:
            allowed = f"allowed is {bounds[0]:g} to {bounds[1]:g} (--calibration)"
            reasons.append(f"{metric} on {rows}'s test rows is {value:.3f}, {allowed}")
    return reasons


def _tellable(metrics: Sequence[str], found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Metrics that the rows have enough clicks or conversions for."""
    counts = {
        task: found["rows"].get("clicks" if task == "ctr" else "conversions", 0) for task in ("ctr", "ctcvr", "cvr")
    }
    return [metric for metric in metrics if counts.get(metric.split("_")[0], _FEWEST) >= _FEWEST]


if __name__ == "__main__":
    main()
