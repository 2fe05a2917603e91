"""One embedding table: the rows that a batch needs are gathered once, and all fields are pooled by one sparse product.

Pooling is the product of a sparse [bags, rows] matrix of weights (`model_fn.lookup`) with the dense [rows, size] matrix
of gathered rows. Its gradient to the rows is the transposed product: one gradient for each distinct row, which is what
the optimizer needs. Nothing in a step grows with the table.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from features.schema import Schema
from model_fn import attention, dense, initial, lookup, narrow
from model_fn.hyperparameters import AUTO, Hyperparameters
from model_fn.lookup import Lookup
from model_fn.representation import Features, Representation, Requests, join, side_by_side

TABLE = "embedding_table"


@dataclasses.dataclass(frozen=True)
class Embedded:
    """What the embedding gives to the network.

    Attributes:
        requests: which request an impression belongs to.
        fields: pooled vectors of each field: float32 [requests or impressions, embedding_size]; of a dense field its
            numbers, [requests or impressions, numbers + 1].
        everything: the same side by side.
        looked_up: float32 [n, embedding_size], the rows that the batch uses; in training each of them once.
        attended: what attention found in histories, which is in `everything` as well.
    """

    requests: Requests
    fields: dict[str, tf.Tensor]
    everything: Representation
    looked_up: tf.Tensor
    attended: tuple[tf.Tensor, ...] = ()

    def with_attended(self, vectors: Sequence[tf.Tensor]) -> Embedded:
        """The same with vectors of impressions beside their fields: float32 [impressions, embedding_size] each."""
        beside = [Representation(self.requests, None, vector) for vector in vectors]
        return dataclasses.replace(
            self, everything=join(self.requests, [self.everything, *beside]), attended=tuple(vectors)
        )


def embed(
    features: Features,
    schema: Schema,
    vocabulary_size: int,
    settings: Hyperparameters,
    training: bool,
    partitions: int = 1,
) -> Embedded:
    """Looks up and pools every field of ids of a batch; dense fields stand beside them as they are.

    The table is cut into `partitions`, for as many parameter servers; in checkpoints it is one all the same.
    """
    found = lookup.make(features, schema, settings.combiner, distinct=training)
    with _device(settings, training):
        rows = _rows(embedding_table(vocabulary_size, settings, partitions), found.ids)
    requests = found.requests
    context_bags = requests.count * len(lookup.context_fields(schema))
    bags = context_bags + requests.impressions * len(lookup.impression_fields(schema))
    beside = dense.columns(features, schema)
    embedded = _embedded(requests, schema, _sparse_product(found, rows, bags), context_bags, rows, beside, settings)
    if not settings.attention:
        return embedded
    return embedded.with_attended(attention.attended(found, rows, embedded.fields, schema, settings))


def _embedded(
    requests: Requests,
    schema: Schema,
    pooled: tf.Tensor,
    context_bags: tf.Tensor,
    looked_up: tf.Tensor,
    beside: dict[str, tf.Tensor],
    settings: Hyperparameters,
) -> Embedded:
    """Cuts the pooled vectors [bags, size] up, by ops whose gradients only copy; those of slices add as well."""
    size = int(looked_up.shape[1])
    fields = dict(beside)
    parts: list[tf.Tensor | None] = []
    sides = (lookup.context_fields(schema), lookup.impression_fields(schema))
    vectors = tf.split(pooled, [context_bags, tf.shape(pooled)[0] - context_bags])
    for is_context, side, rows in zip((True, False), sides, vectors, strict=True):
        columns = tf.unstack(tf.reshape(rows, [-1, len(side), size]), axis=1) if side else []
        own = {field.name: narrow.widened(column, field, settings) for field, column in zip(side, columns, strict=True)}
        is_cut = any(field.embedding_size for field in side)
        columns_of_side = list(own.values()) if is_cut or not side else [tf.reshape(rows, [-1, len(side) * size])]
        columns_of_side += dense.of_side(beside, schema, is_context)
        parts.append(side_by_side(columns_of_side) if columns_of_side else None)
        fields |= own
    return Embedded(requests, fields, Representation(requests, *parts), looked_up)


def _device(settings: Hyperparameters, training: bool) -> contextlib.AbstractContextManager:
    """Where the table lies; else wherever TensorFlow or a cluster puts it, which tf.device(None) would forget."""
    if settings.embedding_device == AUTO or not training:
        return contextlib.nullcontext()
    return tf.device(f"/{settings.embedding_device}:0")


def _rows(table: tf.Variable, ids: tf.Tensor) -> tf.Tensor:
    if isinstance(table, tf.Variable):
        # Of a served model the table may be of float16.
        return tf.cast(tf.gather(table, ids), tf.float32)
    return tf.compat.v1.nn.embedding_lookup(list(table), ids, partition_strategy="div")


def embedding_table(vocabulary_size: int, settings: Hyperparameters, partitions: int = 1) -> tf.Variable:
    """The table: float32 [vocabulary_size, embedding_size], uniform around 0; in parts where there are several."""
    return tf.compat.v1.get_variable(
        TABLE,
        [vocabulary_size, settings.embedding_size],
        initializer=initial.uniform(settings.embedding_range, TABLE),
        partitioner=tf.compat.v1.fixed_size_partitioner(partitions) if partitions > 1 else None,
        use_resource=True,
    )


def _sparse_product(found: Lookup, rows: tf.Tensor, bags: tf.Tensor) -> tf.Tensor:
    """Sum of weight * row into each bag: float32 [bags, embedding_size]."""
    return tf.raw_ops.SparseTensorDenseMatMul(
        a_indices=found.cells,
        a_values=found.weights,
        a_shape=tf.cast(tf.stack([bags, tf.shape(rows)[0]]), tf.int64),
        b=rows,
    )
