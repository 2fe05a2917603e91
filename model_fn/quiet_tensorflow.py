"""TensorFlow imported without its greetings, and without Keras."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


def import_quietly() -> None:
    """Imports TensorFlow and lets it say what it says at its start, out of sight.

    From 2.18 on it writes lines about its build and missing GPUs whatever TF_CPP_MIN_LOG_LEVEL says: some at the
    import, some when it looks for devices, some with the first session. All three are done here, once. Where one of
    them fails, what was written comes with the error.
    """
    import_alone()
    with _held_back():
        import tensorflow as tf

        tf.config.list_physical_devices()
        no_gpu = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
        with tf.Graph().as_default(), tf.compat.v1.Session(config=no_gpu) as session:
            session.run(tf.constant(0) + 1)


def import_alone() -> None:
    """Only imports it, out of sight: nothing of its runtime has begun, so that the process may still be forked."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _held_back(), _keras_left_out():
        import tensorflow  # noqa: F401


@contextlib.contextmanager
def _keras_left_out() -> Iterator[None]:
    """Keeps TensorFlow from importing Keras 3 (and Matplotlib with it) at once: a quarter of the start of a command.

    TensorFlow imports the Keras that this variable names, where it is installed. tf.keras comes when it is asked for,
    as it would have.
    """
    name = "TF_USE_LEGACY_KERAS"
    if name in os.environ:
        yield
        return
    os.environ[name] = "1"
    try:
        yield
    finally:
        del os.environ[name]


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Keeps from the terminal what is written to standard error, by libraries of C too, unless the block fails."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        except BaseException:
            written.seek(0)
            os.write(kept, written.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
