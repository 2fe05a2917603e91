"""What the terminal shows: the command's own lines, and the libraries' noise only if asked for."""

from __future__ import annotations

import os
import sys
import warnings

from absl import logging

# absl's level for warnings: what --verbosity is unless given.
QUIET = -1


def quiet_libraries(verbosity: int) -> None:
    """Silences TensorFlow's start-up messages, warnings and logs. To be called before TensorFlow is imported.

    Args:
        verbosity: absl's level: at QUIET nothing is shown; 0 shows information and warnings, 1 and more also debugging.
    """
    if verbosity > QUIET:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0")
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore")
    logging.set_verbosity(logging.FATAL)


def quiet_tensorflow(verbosity: int) -> None:
    """Does the rest after the import."""
    import tensorflow as tf

    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.FATAL if verbosity <= QUIET else tf.compat.v1.logging.INFO)


def say(line: str) -> None:
    """Prints a line at once, also into a pipe."""
    print(line, flush=True)


def leave(status: int) -> None:
    """Ends the process, after tensorflow-io by force: its threads abort at a regular exit, when all work is done."""
    if "tensorflow_io" in sys.modules:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
