"""Trains, evaluates, applies and exports a model.

python -m trainer --task_type=train  --data_dir=OUT --model_dir=M [--flagfile=configs/X.flags] [flags]
python -m trainer --task_type=tune   --data_dir=OUT --model_dir=M --search=FILE.yaml --trials=20 [flags]
python -m trainer --task_type=eval   --data_dir=OUT --model_dir=M
python -m trainer --task_type=calibrate --data_dir=OUT --model_dir=M --split=valid
python -m trainer --task_type=importance --data_dir=OUT --model_dir=M
python -m trainer --task_type=infer  --data_dir=OUT --model_dir=M --predictions=FILE
python -m trainer --task_type=export --data_dir=OUT --model_dir=M --export_dir=E
python -m trainer --task_type=report --model_dir=M[,M2,M3] [--report=FILE.html]
"""

from __future__ import annotations

import signal
import sys

from absl import app, flags

import storage
from trainer import command_line, terminal
from trainer.options import CALIBRATE, EVAL, EXPORT, IMPORTANCE, INFER, REPORT, TUNE, Options
from trainer.terminal import StoppedError

command_line.define()

_HELP = ("--help", "-help", "--helpshort", "-helpshort")
_EXPECTED_ERRORS = (ValueError, OSError)
# What shells add to a signal's number.
_SIGNALLED = 128


def main() -> None:
    """The command. Ends the process with status 1 and a message where input or settings are at fault."""
    app.run(_run, flags_parser=_parse)


def _parse(arguments: list[str]) -> list[str]:
    if any(argument in _HELP for argument in arguments[1:]):
        print(f"{__doc__}\n{command_line.help_text()}")
        sys.exit(0)
    try:
        return flags.FLAGS(arguments)
    except (flags.Error, OSError) as error:
        sys.exit(f"trainer: {storage.told(error)}")


def _run(arguments: list[str]) -> None:
    if len(arguments) > 1:
        sys.exit(f"trainer: {arguments[1]!r} is no flag: flags are of the form --name=value")
    # absl raises a level that was not given.
    verbosity = flags.FLAGS.verbosity if flags.FLAGS["verbosity"].present else terminal.QUIET
    try:
        options, hyperparameters = command_line.options(), command_line.hyperparameters()
        for line in command_line.without_effect():
            terminal.say(line)
        _run_task(options, hyperparameters, verbosity)
    except _EXPECTED_ERRORS as error:
        print(f"trainer: {terminal.shown(storage.told(error))}", file=sys.stderr)
        terminal.leave(1)
    except KeyboardInterrupt:
        print("trainer: interrupted; training goes on from its last checkpoint when started again", file=sys.stderr)
        terminal.leave(_SIGNALLED + signal.SIGINT)
    except StoppedError as error:
        print(f"trainer: {terminal.shown(storage.told(error))}", file=sys.stderr)
        terminal.leave(_SIGNALLED + error.number)
    terminal.leave(0)


def _run_task(options: Options, hyperparameters: command_line.Hyperparameters, verbosity: int) -> None:
    # Imported after the flags are checked: --help and mistakes need not wait for TensorFlow.
    terminal.quiet_libraries(verbosity)
    from trainer import remote

    with remote.file_errors(), remote.within_reach(options) as reached:
        _dispatch(reached, hyperparameters)


def _dispatch(options: Options, hyperparameters: command_line.Hyperparameters) -> None:
    given = command_line.given_hyperparameters()
    if options.task_type == EVAL:
        from trainer.scoring import evaluate

        evaluate(options, given)
    elif options.task_type == TUNE:
        from trainer.tuning.command import tune

        tune(options, hyperparameters, command_line.given_flags())
    elif options.task_type == CALIBRATE:
        from trainer.calibrating import calibrate

        calibrate(options, given)
    elif options.task_type == IMPORTANCE:
        from trainer.importance import measure

        measure(options, given)
    elif options.task_type == INFER:
        from trainer.scoring import infer

        infer(options, given)
    elif options.task_type == EXPORT:
        from trainer.exporting import export

        export(options, given)
    elif options.task_type == REPORT:
        from trainer import reporting

        reporting.make(options)
    else:
        from trainer.training import train

        train(options, hyperparameters, given)


if __name__ == "__main__":
    main()
