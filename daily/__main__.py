"""A model every day.

python -m daily --log_root=LOGS --output_root=OUT [--days=2026-01-01..2026-01-14] [--flagfile=daily.flags]
python -m daily --output_root=OUT --rollback

LOGS holds a folder a day. Each day that is not done is preprocessed, scored by the model of the day before, trained on
from it, exported, and served if the gate lets it. Started again, a run goes on where it was.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys

from absl import app, flags

import storage
from daily import run
from daily.options import Options
from daily.processes import StoppedError

_DEFAULT = {field.name: field.default for field in dataclasses.fields(Options)}


def define_flags() -> None:
    """Defines the flags; the processes of the steps import this module and have flags of their own."""
    flags.DEFINE_string("log_root", "", "Holds a folder of raw log for each day, named YYYY-MM-DD.")
    flags.DEFINE_string(
        "output_root", "", "Gets days/ (data, models, decisions) and served/ (versions for the server)."
    )
    flags.DEFINE_string("days", "", "FIRST..LAST, either may be left out; empty: every day that is there.")
    flags.DEFINE_integer("keep", Options.keep, "Days whose data and models stay, and versions that stay served.")
    flags.DEFINE_string("preprocess_flags", "", "Flags for python -m preprocess, as on a command line.")
    flags.DEFINE_string("train_flags", "", "Flags for python -m trainer --task_type=train, as on a command line.")
    flags.DEFINE_string("export_flags", "", "Flags for python -m trainer --task_type=export, as on a command line.")
    flags.DEFINE_float(
        "max_regression",
        Options.max_regression,
        "Gate: by how much an AUC may be lower than that of yesterday's model on the same rows.",
    )
    flags.DEFINE_list("gate_metrics", list(Options.gate_metrics), "Gate: the AUCs that are compared.")
    flags.DEFINE_list(
        "calibration",
        [f"{bound:g}" for bound in Options.calibration],
        "Gate: lowest and highest ratio of predicted to observed clicks, and conversions.",
    )
    flags.DEFINE_bool("dry_run", False, "Print the commands and do nothing.")
    flags.DEFINE_bool("rollback", False, "Take the newest version out of service.")


def main() -> None:
    """Entry point of the console command. Ends with status 1 and a line where something is at fault."""
    define_flags()
    app.run(_run, flags_parser=_parse)


def _parse(arguments: list[str]) -> list[str]:
    try:
        return flags.FLAGS(arguments)
    except (flags.Error, OSError) as error:
        sys.exit(f"daily: {storage.told(error)}")


def _run(arguments: list[str]) -> None:
    if len(arguments) > 1:
        sys.exit(f"daily: {arguments[1]!r} is no flag: flags are of the form --name=value")
    try:
        options = _options()
        if flags.FLAGS.rollback:
            run.rollback(options, _say)
        else:
            run.run(options, _say)
    except KeyboardInterrupt:
        sys.exit("daily: interrupted; the next run goes on there")
    except StoppedError as error:
        print(f"daily: {error}; the next run goes on there", file=sys.stderr)
        sys.exit(error.status)
    except (ValueError, OSError) as error:
        sys.exit(f"daily: {storage.told(error)}")


def _options() -> Options:
    values = {name: flags.FLAGS[name].value for name in _DEFAULT}
    values |= {name: _words(name, values[name]) for name in ("preprocess_flags", "train_flags", "export_flags")}
    values["gate_metrics"] = tuple(values["gate_metrics"])
    try:
        low, high = map(float, values["calibration"])
    except ValueError:
        raise ValueError(f"--calibration={','.join(values['calibration'])}: allowed is LOW,HIGH") from None
    if flags.FLAGS.rollback:
        values["log_root"] = values["log_root"] or "-"
    return Options(**{**values, "calibration": (low, high)})


def _words(name: str, text: str) -> tuple[str, ...]:
    try:
        found = tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"--{name}={text}: {error}; allowed are flags as on a command line") from None
    if other := [word for word in found if not word.startswith("-")]:
        raise ValueError(f"--{name}={text}: {other[0]!r} is no flag: flags are of the form --name=value")
    return found


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
