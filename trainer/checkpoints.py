"""Checkpoints that cannot be read or are another model's: errors that name them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf

import storage

_RESTORE = "RestoreV2"
_SHOWN = 3
_STATE = "checkpoint"


class CheckpointError(ValueError):
    """A checkpoint that is damaged or does not fit; the message names it."""


def latest(model_dir: str) -> str | None:
    """The newest checkpoint of a folder; None where none was ever there.

    TensorFlow gives None as well where the file `checkpoint` is damaged or gone, or names files that are: a training
    would begin anew beside what the model has learnt. (Files of step 0 alone are what a run leaves that was killed
    in its first save.)

    Raises:
        CheckpointError: that is so.
    """
    path = storage.join(model_dir, _STATE)
    try:
        found = tf.train.latest_checkpoint(model_dir)
    except (tf.errors.OpError, UnicodeDecodeError):
        found = None
    if found is not None or not (storage.exists(path) or any(steps(model_dir))):
        return found
    there = ", ".join(map(str, steps(model_dir))) or "none"
    raise CheckpointError(
        f"{path}: gone, damaged, or the files that it names are gone; checkpoints of these steps are there: {there}. "
        'Put back the files, or make one the latest by the line model_checkpoint_path: "model.ckpt-STEP" in it'
    )


def steps(model_dir: str) -> list[int]:
    """Steps of the checkpoints whose index is there, ascending."""
    found = (re.fullmatch(r"model\.ckpt-(\d+)\.index", name) for name in storage.names_in(model_dir))
    return sorted(int(match[1]) for match in found if match)


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
