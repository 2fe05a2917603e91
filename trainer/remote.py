"""Remote file systems that TensorFlow itself does not read."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterable, Iterator

import tensorflow as tf

# gs:// is built in; for s3:// set S3_ENDPOINT (with its scheme) and AWS_REGION where they are not Amazon's.
_SCHEMES = ("s3://", "hdfs://", "viewfs://", "az://")


def load_file_systems(paths: Iterable[str]) -> None:
    """Registers what the paths need.

    Raises:
        ValueError: it is not installed.
    """
    needed = [path for path in paths if path.startswith(_SCHEMES)]
    if not needed:
        return
    try:
        importlib.import_module("tensorflow_io")
    except ImportError as error:
        raise ValueError(
            f"{needed[0]}: needs tensorflow-io; install it with: pip install 'entire-space[io]'"
        ) from error


@contextlib.contextmanager
def file_errors() -> Iterator[None]:
    """Raises what TensorFlow's file functions raise as OSError, as Python's own do."""
    try:
        yield
    except (tf.errors.NotFoundError, tf.errors.PermissionDeniedError, tf.errors.FailedPreconditionError) as error:
        raise OSError(error.message) from error
