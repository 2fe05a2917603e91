"""Checkpoints that cannot be read or are another model's: errors that name them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

_RESTORE = "RestoreV2"
_SHOWN = 3


class CheckpointError(ValueError):
    """A checkpoint that is damaged or does not fit; the message names it."""


@contextlib.contextmanager
def naming(model_dir: str, checkpoint: str = "") -> Iterator[None]:
    """Turns what TensorFlow raises when a graph's variables cannot be read, inside the block, into CheckpointError.

    Args:
        model_dir: its latest checkpoint is the one that is read,
        checkpoint: or this one.

    Raises:
        CheckpointError: it is damaged.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if error.op is None or error.op.type != _RESTORE:
            raise
        raise _damaged(checkpoint or tf.train.latest_checkpoint(model_dir) or model_dir, error.message) from error


@contextlib.contextmanager
def reading(checkpoint: str) -> Iterator[None]:
    """The same for a block that reads a checkpoint without a graph.

    Raises:
        CheckpointError: it is damaged, or lacks what the block needs.
    """
    try:
        yield
    # IndexError: a file that ends too early.
    except (tf.errors.OpError, ValueError, LookupError) as error:
        message = error.message if isinstance(error, tf.errors.OpError) else str(error)
        raise _damaged(checkpoint, message) from error


def refuse_another_models(checkpoint: str, own: str) -> None:
    """Refuses a checkpoint with variables of the model's names in other shapes: a graph takes them, and fails later.

    Args:
        checkpoint: that is to be used.
        own: one of the model.

    Raises:
        CheckpointError: it has some.
    """
    with reading(own):
        wanted = tf.train.load_checkpoint(own).get_variable_to_shape_map()
    with reading(checkpoint):
        found = tf.train.load_checkpoint(checkpoint).get_variable_to_shape_map()
    wrong = [
        f"{name} {shape} (there: {found[name]})"
        for name, shape in sorted(wanted.items())
        if found.get(name, shape) != shape
    ]
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise CheckpointError(
            f"--checkpoint={checkpoint} is of another model: this one has {'; '.join(wrong[:_SHOWN])}{more}. "
            f"Name one of its own, such as {own}"
        )


def _damaged(checkpoint: str, message: str) -> CheckpointError:
    reason = message.split("\n", 1)[0].strip()
    return CheckpointError(
        f"{checkpoint}: damaged or not all there ({reason}); put back its files from a copy, or name another with "
        "--checkpoint. Training goes on from an earlier one when the file named checkpoint beside it names that"
    )
