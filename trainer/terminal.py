"""What the terminal shows: the command's own lines, and the libraries' noise only if asked for."""

from __future__ import annotations

import os
import sys
import warnings

from absl import logging

from model_fn import quiet_tensorflow

# absl's level for warnings: what --verbosity is unless given.
QUIET = -1


class StoppedError(Exception):
    """The process was asked to end, and what was to be saved is saved.

    Attributes:
        number: of the signal.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


def quiet_libraries(verbosity: int) -> None:
    """Imports TensorFlow, without its messages, warnings and logs unless they are asked for.

    Args:
        verbosity: absl's level: at QUIET nothing is shown; 0 shows information and warnings, 1 and more also debugging.
    """
    if verbosity > QUIET:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0")
    else:
        warnings.filterwarnings("ignore")
        logging.set_verbosity(logging.FATAL)
        quiet_tensorflow.import_quietly()
    import tensorflow as tf

    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.FATAL if verbosity <= QUIET else tf.compat.v1.logging.INFO)


def say(line: str) -> None:
    """Prints a line at once, also into a pipe."""
    print(shown(line), flush=True)


# Paths as the user knows them, by those that are worked with.
_SHOWN: dict[str, str] = {}


def show_as(path: str, known: str) -> None:
    """Lets all further lines name a path as the user does."""
    _SHOWN[path] = known


def shown(line: str) -> str:
    """A line with the user's names of paths."""
    for path, known in _SHOWN.items():
        line = line.replace(path, known)
    return line


def leave(status: int) -> None:
    """Ends the process when all work is done; by force in a cluster, whose server holds a regular exit up."""
    if os.environ.get("TF_CONFIG"):
        end_at_once("", status)
    sys.exit(status)


def end_at_once(line: str, status: int) -> None:
    """Ends the process from any of its threads, whatever the others wait for, with a line on standard error."""
    if line:
        print(shown(line), file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
