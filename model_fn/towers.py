"""The towers: from what the backbone gives to the logit of each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from model_fn.backbones import TowerInputs
from model_fn.hyperparameters import Hyperparameters
from model_fn.layers import Layers
from model_fn.losses import Logits
from model_fn.models import CTR
from model_fn.representation import Representation, join

# Click logits at which what a tower sees of them may bend: chances of 1.2e-4 to 0.88, a logit apart.
_KNOTS = tuple(float(knot) for knot in range(-9, 3))
# Adam moves a weight by its rate in a step, whatever the input: with inputs of 2 the bend is there in half the steps.
_HEIGHT = 2.0


def logits(
    inputs: TowerInputs, layers: Layers, tasks: Sequence[str], starts: Mapping[str, float], settings: Hyperparameters
) -> Logits:
    """A logit of each task for each impression.

    Args:
        inputs: of all towers, or of each.
        layers: makes the layers.
        tasks: the towers; the first is that of the click.
        starts: what the logits' biases begin with, by tower; 0 unless given.
        settings: of the model.
    """

    def made(part: TowerInputs, some: Sequence[str]) -> dict[str, tf.Tensor]:
        tops = _tops(part, layers, some, settings)
        return {
            task: layers.logit(top, f"towers/{task}", starts.get(task, 0.0))
            for task, top in zip(some, tops, strict=True)
        }

    if not settings.cvr_sees_ctr:
        return Logits.of_towers(made(inputs, tasks))
    others = tasks[1:]
    of_click, rest = (inputs, inputs) if isinstance(inputs, Representation) else (inputs[:1], inputs[1:])
    found = made(of_click, tasks[:1])
    bends = _bends(found[CTR])
    seen = _beside(rest, bends) if isinstance(rest, Representation) else [_beside(part, bends) for part in rest]
    return Logits.of_towers(found | made(seen, others))


def _tops(inputs: TowerInputs, layers: Layers, tasks: Sequence[str], settings: Hyperparameters) -> list[Representation]:
    """Last hidden layer of each tower."""
    units, rates = settings.deep_layers, settings.dropout
    if isinstance(inputs, Representation) and len(tasks) > 1:
        return layers.parallel_stacks(inputs, units, "towers", tasks, rates)
    inputs = [inputs] if isinstance(inputs, Representation) else inputs
    return [layers.stack(part, units, f"towers/{task}", rates) for task, part in zip(tasks, inputs, strict=True)]


def _bends(click: tf.Tensor) -> tf.Tensor:
    """A click logit [n] so that a linear layer makes any piecewise linear function of it: [n, knots].

    Between two knots it is divided among them, and beyond the last ones all of it is theirs. Held: what a CVR tower
    wants of its inputs must not move the chance of a click.
    """
    inside = tf.clip_by_value(tf.stop_gradient(click), _KNOTS[0], _KNOTS[-1])
    return _HEIGHT * tf.nn.relu(1.0 - tf.abs(inside[:, tf.newaxis] - tf.constant(_KNOTS)))


def _beside(inputs: Representation, columns: tf.Tensor) -> Representation:
    """Columns of impressions [n, width] beside what a tower sees, in the type that it has."""
    kind = columns.dtype if inputs.impression is None else inputs.impression.dtype
    return join(inputs.requests, [inputs, Representation(inputs.requests, None, tf.cast(columns, kind))])
