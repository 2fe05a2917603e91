"""Starts a model from the weights of another: of whatever both have, by name and shape."""

from __future__ import annotations

import os

import tensorflow as tf

from trainer import checkpoints
from trainer.terminal import say

v1 = tf.compat.v1
# What batch norm learns without a gradient belongs to the weights.
_MOVING = ("moving_mean", "moving_variance")


def take(checkpoint: str, shown: bool) -> None:
    """Lets the graph's variables begin with the values of a checkpoint, and says by variable which do.

    The optimizer's state, steps and positions are not taken. Where the model has a checkpoint of its own, that counts.

    Args:
        checkpoint: of the other model.
        shown: whether it is said; of several replicas one says it.

    Raises:
        ValueError: the models have no variable in common.
    """
    with checkpoints.reading(checkpoint):
        there = tf.train.load_checkpoint(checkpoint).get_variable_to_shape_map()
    weights = {_name(variable): variable for variable in v1.global_variables() if _is_weight(variable)}
    taken = {name: variable for name, variable in weights.items() if there.get(name) == _shape(variable)}
    if not taken:
        raise ValueError(f"--warm_start_from: {checkpoint} has no variable of this model in its shape")
    v1.train.init_from_checkpoint(checkpoint, {name: name for name in taken})
    if shown:
        _say(checkpoint, weights, taken, there)


def _say(
    checkpoint: str, weights: dict[str, tf.Variable], taken: dict[str, tf.Variable], there: dict[str, list[int]]
) -> None:
    new = sorted(
        f"{name} {_shape(variable)}" + (f" (there {there[name]})" if name in there else "")
        for name, variable in weights.items()
        if name not in taken
    )
    left = sorted(
        name for name in there if name.startswith("model/") and _is_value(name, there) and name not in weights
    )
    say(f"warm start from {os.path.basename(checkpoint)} in {os.path.dirname(checkpoint)}:")
    for title, found in (("taken", sorted(taken)), ("new here", new), ("left there", left)):
        say(f"  {title} ({len(found)}): {', '.join(found) or 'nothing'}")


def _is_weight(variable: tf.Variable) -> bool:
    name = _name(variable)
    return name.startswith("model/") and (variable.trainable or name.endswith(_MOVING))


def _is_value(name: str, there: dict[str, list[int]]) -> bool:
    """Whether a name of a checkpoint is that of a weight: an optimizer's slot has the name of one before its own."""
    return name.rsplit("/", 1)[0] not in there


def _name(variable: tf.Variable) -> str:
    """Without the part of a table that is spread over parameter servers."""
    found = variable._save_slice_info
    return found.full_name if found else variable.op.name


def _shape(variable: tf.Variable) -> list[int]:
    found = variable._save_slice_info
    return list(found.full_shape) if found else variable.shape.as_list()
