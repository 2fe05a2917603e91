"""What the terminal shows: the command's own lines, and the libraries' noise only if asked for."""

from __future__ import annotations

import os
import warnings

from absl import logging

from model_fn import quiet_tensorflow

# absl's level for warnings: what --verbosity is unless given.
QUIET = -1


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
