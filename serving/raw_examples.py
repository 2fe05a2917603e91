"""Raw requests as tf.train.Examples of raw values, for the signatures `examples` and `classification`."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
from tensorflow_serving.apis import input_pb2

from features.raw_requests import RawRequest
from features.raw_values import Value
from features.schema import ID, STRING, Field, Schema


def context_example(request: RawRequest, schema: Schema) -> tf.train.Example:
    """The context alone, as the `context` of a classify call."""
    found: dict[str, tf.train.Feature] = {}
    for field in schema.context_fields:
        found[field.name] = _values(field, request.context[field.name])
        if field.weighted:
            found[field.weight_key] = _floats(request.context[field.weight_key])
    return _example(found)


def impression_example(request: RawRequest, place: int, schema: Schema) -> tf.train.Example:
    """One impression without its context, as an entry of `examples` of a classify call."""
    found: dict[str, tf.train.Feature] = {}
    for field in schema.impression_fields:
        found[field.name] = _values(field, request.impressions[field.name][place])
        if field.weighted:
            found[field.weight_key] = _floats(request.impressions[field.weight_key][place])
    return _example(found)


def serialized_examples(request: RawRequest, schema: Schema) -> list[bytes]:
    """One Example for each impression, the context copied into each: the input of the signature `examples`."""
    # Messages that stand one behind the other are read as one that has the fields of both.
    context = context_example(request, schema).SerializeToString()
    places = range(len(request.sample_ids))
    return [context + impression_example(request, place, schema).SerializeToString() for place in places]


def fill(target: input_pb2.Input, request: RawRequest, schema: Schema) -> None:
    """Puts the request into a classify call: the context once, an example for each impression."""
    given = target.example_list_with_context
    given.context.CopyFrom(context_example(request, schema))
    places = range(len(request.sample_ids))
    given.examples.extend(impression_example(request, place, schema) for place in places)


def _example(found: dict[str, tf.train.Feature]) -> tf.train.Example:
    # A field without values is left out, which is how an Example says that it is missing.
    present = {name: feature for name, feature in found.items() if feature.WhichOneof("kind")}
    return tf.train.Example(features=tf.train.Features(feature=present))


def _values(field: Field, values: Sequence[Value]) -> tf.train.Feature:
    if not values:
        return tf.train.Feature()
    if field.type == ID:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    if field.type == STRING:
        words = [str(value).encode() for value in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=words))
    return _floats(values)


def _floats(values: Sequence[Value]) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values)) if values else tf.train.Feature()
