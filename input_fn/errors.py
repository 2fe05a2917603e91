"""Names the file of an error that came out of a running input pipeline."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence

import tensorflow as tf

from input_fn import files
from input_fn.tfrecord import RecordError

# What the checks of this package raise in the graph; what the op that parses records says of one whose file it was
# told; and what it says of bytes that are no record.
_CHECK_FAILED = re.compile(r"assertion failed: \[(.*?)\](?=\s*(?:\[\[|\n|$))", re.DOTALL)
_NOT_PARSED = re.compile(r"Name: (?P<file>[^\n]*?), (?P<problem>(?:Key|Feature): [^\n]*)")
_NO_EXAMPLE = "Could not parse example input"


@contextlib.contextmanager
def naming_files(paths: Sequence[str]) -> Iterator[None]:
    """Turns what TensorFlow raises over the records of these files, inside the block, into RecordError.

    Raises:
        RecordError: with the file. For damage it reads the files again until it finds it.
    """
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        found = _explained(error, paths)
        if found is None:
            raise
        raise found from error


def _explained(error: tf.errors.OpError, paths: Sequence[str]) -> RecordError | None:
    if isinstance(error, tf.errors.DataLossError) or _NO_EXAMPLE in error.message:
        return files.find_damage(paths)
    if check := _CHECK_FAILED.search(error.message):
        return RecordError(check.group(1))
    if parse := _NOT_PARSED.search(error.message):
        return RecordError(f"{parse['file']}: {parse['problem'].strip()} Were the records made for another schema?")
    return None
