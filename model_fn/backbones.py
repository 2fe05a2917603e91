"""What stands between embeddings and towers: from the pooled fields of a batch to the input of each task's tower.

A backbone gives either one representation that all towers start from, or one for each task.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import tensorflow as tf

from features.schema import Schema
from model_fn import hyperparameters, scopes
from model_fn.embedding import Embedded
from model_fn.hyperparameters import Hyperparameters
from model_fn.layers import Layers
from model_fn.representation import Representation, join, side_by_side

TowerInputs = Representation | list[Representation]
Backbone = Callable[[Embedded, Schema, Hyperparameters, Layers, Sequence[str]], TowerInputs]


def tower_inputs(
    embedded: Embedded, schema: Schema, settings: Hyperparameters, layers: Layers, tasks: Sequence[str]
) -> TowerInputs:
    """Applies the backbone that the settings name; `tasks` are the towers."""
    return BACKBONES[settings.backbone](embedded, schema, settings, layers, tasks)


def _shared_embedding(
    embedded: Embedded, schema: Schema, settings: Hyperparameters, layers: Layers, tasks: Sequence[str]
) -> TowerInputs:
    """Towers directly on the fields (ESMM, arXiv 1804.07931, figure 2)."""
    return embedded.everything


def _group_towers(
    embedded: Embedded, schema: Schema, settings: Hyperparameters, layers: Layers, tasks: Sequence[str]
) -> TowerInputs:
    """Each group of fields through layers of its own (EasyRec); a group of context fields only, once a request.

    Raises:
        ValueError: `group_layers` names a group that the schema does not have.
    """
    known = {*schema.groups, hyperparameters.OTHER_GROUPS}
    if unknown := hyperparameters.parse_group_layers(settings.group_layers).keys() - known:
        raise ValueError(f"group_layers names {', '.join(sorted(unknown))}; the schema has {', '.join(schema.groups)}")
    parts = []
    for group, fields in schema.groups.items():
        sides = [
            [embedded.fields[field.name] for field in fields if field.is_context == is_context]
            for is_context in (True, False)
        ]
        inputs = Representation(embedded.requests, *(side_by_side(side) if side else None for side in sides))
        parts.append(layers.stack(inputs, settings.layers_of_group(group), scopes.scope("group", group)))
    parts += [Representation(embedded.requests, None, vector) for vector in embedded.attended]
    # Attention and groups without layers give float32, which does not stand beside another type.
    return join(embedded.requests, [layers.entered(part) for part in parts])


def _mmoe(
    embedded: Embedded, schema: Schema, settings: Hyperparameters, layers: Layers, tasks: Sequence[str]
) -> TowerInputs:
    """Experts that all tasks share, mixed by a softmax gate for each task (MMoE, KDD 2018, equations 6 and 7)."""
    inputs = embedded.everything
    names = [f"expert_{number}" for number in range(settings.num_experts)]
    experts = layers.parallel_stacks(inputs, settings.expert_layers, "experts", names)
    gates = layers.linear(inputs, len(names) * len(tasks), "gates", heads=len(tasks))
    return [_mixture(inputs, experts, gate) for gate in tf.split(gates, len(tasks), axis=1)]


def _mixture(inputs: Representation, experts: Sequence[Representation], gate: tf.Tensor) -> Representation:
    """Experts [n, units] weighted by the softmax of gate [n, experts]."""
    weights = tf.nn.softmax(gate)
    columns = tf.stack([_rows(expert) for expert in experts], 1)
    return inputs.with_rows(tf.reduce_sum(weights[:, :, tf.newaxis] * columns, 1))


def _rows(representation: Representation) -> tf.Tensor:
    return representation.context if representation.impression is None else representation.impression


def _ple(
    embedded: Embedded, schema: Schema, settings: Hyperparameters, layers: Layers, tasks: Sequence[str]
) -> TowerInputs:
    """Levels of shared and task experts (PLE, RecSys 2020, equations 6 to 9).

    In each level a task's gate mixes the task's own experts and the shared ones; between levels one more gate mixes
    all experts for the shared experts of the next level.
    """
    sources = [embedded.everything] * (len(tasks) + 1)
    for level in range(settings.ple_levels):
        last = level == settings.ple_levels - 1
        sources = _extraction(sources, settings, layers, f"ple_{level}", tasks, with_shared=not last)
    return sources[: len(tasks)]


def _extraction(
    sources: Sequence[Representation],
    settings: Hyperparameters,
    layers: Layers,
    scope: str,
    tasks: Sequence[str],
    with_shared: bool,
) -> list[Representation]:
    """One level: sources are the input of each task and, last, of the shared experts; so is the result."""
    owners = [*tasks, "shared"]
    experts = []
    for owner, source in zip(owners, sources, strict=True):
        count = settings.ple_shared_experts if owner == "shared" else settings.ple_task_experts
        names = [f"expert_{number}" for number in range(count)]
        experts.append(layers.parallel_stacks(source, settings.expert_layers, f"{scope}/{owner}", names))
    mixed = []
    for place, owner in enumerate(owners if with_shared else tasks):
        seen = [*itertools.chain(*experts)] if owner == "shared" else experts[place] + experts[-1]
        gate = layers.linear(sources[place], len(seen), f"{scope}/{owner}/gate")
        mixed.append(_mixture(sources[place], seen, gate))
    return mixed


def _dcn(
    embedded: Embedded, schema: Schema, settings: Hyperparameters, layers: Layers, tasks: Sequence[str]
) -> TowerInputs:
    """Explicit crosses of all pooled fields, stacked (DCN-V2, WWW 2021), and towers or experts on what they give."""
    inputs = embedded.everything
    start = inputs.to_impressions()
    for number in range(settings.cross_layers):
        inputs = layers.cross(start, inputs, settings.cross_rank, f"cross_{number}")
    behind = BACKBONES[settings.behind_crosses]
    return behind(dataclasses.replace(embedded, everything=inputs), schema, settings, layers, tasks)


BACKBONES: dict[str, Backbone] = {
    hyperparameters.SHARED_EMBEDDING: _shared_embedding,
    hyperparameters.GROUP_TOWERS: _group_towers,
    hyperparameters.MMOE: _mmoe,
    hyperparameters.PLE: _ple,
    hyperparameters.DCN: _dcn,
}
