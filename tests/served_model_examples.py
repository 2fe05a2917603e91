"""A log with fields of every shape, its vocabulary, raw requests of it, and an exported model: for tests of serving.

`record` is the map from raw values to new ids, written once more in plain Python: what the served model is held to.
"""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import record_examples
import tensorflow as tf

from features import keys, names, parse_spec
from features.raw_requests import RawRequest
from features.schema import NUMBER, STRING, Columns, Field, Schema
from features.vocabulary import OOV, OOV_DROP, UNKNOWN, Vocabulary
from model_fn import network
from model_fn.hyperparameters import Hyperparameters
from serving import columnar, export, raw_examples, saved_model_files
from serving.export_options import ExportOptions

v1 = tf.compat.v1

# A wide table and small towers: each id moves the scores, so that a wrong one shows.
SETTINGS = Hyperparameters(embedding_size=4, embedding_range=1.0, deep_layers=(8, 4))

EDGES = {"age": (18.0, 30.5, 60.0), "price": (-1.5, 0.0, 0.1, 1e10)}
# Values of a log: those at even places are in the vocabulary, the others were filtered.
IDS = [0, 1, 7, 2**31, 2**53 + 1, 2**62, 2**63 - 1, 12, 13, 14]
WORDS = ["a", "b", "Rio de Janeiro", "中文", "ü", "x" * 70, "-1", "NaN", " ", "0"]
NUMBERS = [18.0, 30.5, 59.999, 60.0, -1.5, 0.0, 0.1, float(np.float32(0.1)), 0.0999, 1e10, -1e30, 1e30, 25.0]
# Never seen.
STRANGE = {"id": [5, 2**40, 2**61 + 3], "string": ["c", "🙂"], NUMBER: []}


def mixed_schema() -> Schema:
    """Every side, kind, type and weight that a field can have."""
    return Schema(
        "mixed",
        (
            Field("user", "user", "context", "one", "id"),
            Field("city", "user", "context", "one", "string"),
            Field("age", "user", "context", "one", "number", boundaries=EDGES["age"]),
            Field("trust", "user", "context", "one", "id", weighted=True),
            Field("history", "user", "context", "many", "id", weighted=True),
            Field("queries", "user", "context", "many", "string"),
            Field("item", "item", "impression", "one", "id"),
            Field("brand", "item", "impression", "one", "string"),
            Field("price", "item", "impression", "one", "number", quantiles=5),
            Field("tags", "item", "impression", "many", "id"),
            Field("words", "item", "impression", "many", "string", weighted=True),
            Field("match", "cross", "impression", "one", "id", weighted=True),
            Field("matches", "cross", "impression", "many", "id", weighted=True),
        ),
        Columns(request="request", sample_id="sample_id", click="click", conversion="conversion"),
    )


def raw_values(field: Field, with_strange: bool = True) -> list:
    """Values that a log of the field may hold."""
    usual = NUMBERS if field.type == NUMBER else WORDS if field.type == STRING else IDS
    return usual + (STRANGE[field.type] if with_strange else [])


def make_vocabulary(schema: Schema, oov: str = OOV_DROP) -> Vocabulary:
    """Every second value of each field; of numbers every second bucket."""
    kept = []
    for field in schema.fields:
        if field.type == NUMBER:
            kept.append(keys.keys_of_ids(schema, field, np.arange(len(EDGES[field.name]) + 1))[::2])
        elif field.type == STRING:
            kept.append(keys.keys_of_strings(field, WORDS[::2]))
        else:
            kept.append(keys.keys_of_ids(schema, field, np.array(IDS[::2])))
    found = np.unique(np.concatenate(kept))
    ids = np.random.default_rng(0).permutation(len(found)) + schema.reserved_ids
    edges = {name: edges for name, edges in EDGES.items() if name in schema.by_name}
    return Vocabulary(schema, found, ids.astype(np.int32), edges, {OOV: oov})


def record(raw: RawRequest, vocabulary: Vocabulary) -> record_examples.Request:
    """The request as preprocessing maps it."""
    context: dict[str, list] = {}
    impressions: dict[str, list[list]] = {}
    for field in vocabulary.schema.fields:
        side = raw.context if field.is_context else raw.impressions
        values = [side[field.name]] if field.is_context else side[field.name]
        given = side.get(field.weight_key, [])
        weights = ([given] if field.is_context else given) if field.weighted else [[1.0] * len(row) for row in values]
        pairs = [_mapped(vocabulary, field, *row) for row in zip(values, weights, strict=True)]
        columns = {field.name: [ids for ids, _ in pairs]}
        if field.weighted:
            columns[field.weight_key] = [kept for _, kept in pairs]
        if field.is_context:
            context |= {key: rows[0] for key, rows in columns.items()}
        else:
            impressions |= columns
    count = len(raw.sample_ids)
    return record_examples.Request(context, impressions, raw.sample_ids, [0] * count, [0] * count)


def _mapped(vocabulary: Vocabulary, field: Field, values: list, weights: list) -> tuple[list, list]:
    schema = vocabulary.schema
    if field.type == STRING:
        found = vocabulary.lookup(keys.keys_of_strings(field, values))
    elif field.type == NUMBER:
        buckets = keys.buckets_of_numbers(np.array(vocabulary.boundaries[field.name]), np.array(values))
        found = vocabulary.lookup(keys.keys_of_ids(schema, field, buckets))
    else:
        found = vocabulary.lookup(keys.keys_of_ids(schema, field, np.array(values, np.int64)))
    if not field.is_many or not vocabulary.drops_unknown:
        found = np.where(found == UNKNOWN, schema.oov_id(field), found)
    kept = [(int(new_id), weight) for new_id, weight in zip(found, weights, strict=True) if new_id != UNKNOWN]
    return ([i for i, _ in kept], [w for _, w in kept]) if kept else ([schema.missing_id(field)], [1.0])


@dataclasses.dataclass(frozen=True)
class Trained:
    """A model on disk as a trainer leaves it: checkpoint (with optimizer slots) and vocabulary."""

    vocabulary: Vocabulary
    vocabulary_dir: str
    checkpoint: str
    settings: Hyperparameters

    def export(self, base: str, **options: str | bool) -> str:
        """A new version below `base`; not tried in a process of its own unless `checked`."""
        given = ExportOptions(**{"checked": False, **options})
        return export.export_saved_model(base, self.checkpoint, self.vocabulary_dir, self.settings, given)


class Reference:
    """The same weights by the way of training: requests are mapped by `record`, written as records and parsed."""

    def __init__(self, trained: Trained) -> None:
        self._vocabulary = trained.vocabulary
        schema = trained.vocabulary.schema
        with tf.Graph().as_default() as graph:
            serialized = v1.placeholder(tf.string, [None])
            batch = tf.io.parse_example(serialized, parse_spec.record_spec(schema))
            scores = network.scores(network.logits(batch, schema, trained.vocabulary.size, trained.settings, False))
            session = v1.Session(graph=graph)
            v1.train.Saver().restore(session, trained.checkpoint)
        self._run = session.make_callable(scores, [serialized])

    def scores(self, requests: list[RawRequest]) -> dict[str, np.ndarray]:
        """Scores of all impressions of the requests."""
        mapped = [record(raw, self._vocabulary) for raw in requests]
        schema = self._vocabulary.schema
        return self._run([record_examples.example(schema, request).SerializeToString() for request in mapped])


def make_trained(directory: str, vocabulary: Vocabulary, settings: Hyperparameters = SETTINGS) -> Trained:
    """Weights as initialized, which differ by id as much as trained ones do."""
    vocabulary_dir = os.path.join(directory, names.VOCABULARY_DIR)
    os.makedirs(directory, exist_ok=True)
    vocabulary.save(vocabulary_dir)
    schema = vocabulary.schema
    record_of_nothing = record_examples.random_requests(schema, vocabulary.size, 1)[0]
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(7)
        serialized = [record_examples.example(schema, record_of_nothing).SerializeToString()]
        batch = tf.io.parse_example(serialized, parse_spec.record_spec(schema))
        network.logits(batch, schema, vocabulary.size, settings, True)
        slots = [v1.get_variable(f"{v.op.name}/Slot", initializer=tf.zeros_like(v)) for v in v1.trainable_variables()]
        assert slots
        v1.train.get_or_create_global_step()
        session.run(v1.global_variables_initializer())
        checkpoint = v1.train.Saver().save(session, os.path.join(directory, "model", "model.ckpt"), global_step=3)
    return Trained(vocabulary, vocabulary_dir, checkpoint, settings)


def random_raw_requests(schema: Schema, count: int, seed: int = 0, with_strange: bool = True) -> list[RawRequest]:
    """Requests of 1 to 5 impressions with known, filtered, repeated and missing values; unknown ones `with_strange`."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        size = int(rng.integers(1, 6))
        context: dict[str, list] = {}
        impressions: dict[str, list[list]] = {}
        for field in schema.fields:
            rows = [_random_values(rng, field, with_strange) for _ in range(1 if field.is_context else size)]
            columns = {field.name: rows}
            if field.weighted:
                columns[field.weight_key] = [[float(w) for w in rng.uniform(0, 2, len(row))] for row in rows]
            if field.is_context:
                context |= {key: column[0] for key, column in columns.items()}
            else:
                impressions |= columns
        made.append(RawRequest([100 * number + i for i in range(size)], context, impressions))
    return made


def _random_values(rng: np.random.Generator, field: Field, with_strange: bool) -> list:
    values = raw_values(field, with_strange)
    count = int(rng.integers(0, 7)) if field.is_many else int(rng.random() < 0.8)
    return [values[int(place)] for place in rng.integers(0, len(values), count)]


class Served:
    """An exported model, called as a server calls it."""

    def __init__(self, path: str, schema: Schema) -> None:
        self.schema = schema
        self.signatures = tf.saved_model.load(path).signatures

    def shared_context(self, columns: dict[str, list]) -> dict[str, np.ndarray]:
        """Call of `serving_default` with columns as JSON has them; fields that are left out are sent as []."""
        tensors = {}
        for key, spec in self.signatures[saved_model_files.SHARED_CONTEXT].structured_input_signature[1].items():
            tensors[key] = tf.constant(columns.get(key, []), spec.dtype)
        return self._numpy(self.signatures[saved_model_files.SHARED_CONTEXT](**tensors))

    def examples(self, serialized: list[bytes]) -> dict[str, np.ndarray]:
        """Call of `examples`."""
        return self._numpy(self.signatures[saved_model_files.EXAMPLES](examples=tf.constant(serialized, tf.string)))

    def classification(self, serialized: list[bytes]) -> dict[str, np.ndarray]:
        """Call of `classification`: scores by name, and the classes as they came."""
        found = self._numpy(self.signatures[saved_model_files.CLASSIFICATION](inputs=tf.constant(serialized)))
        return dict(zip(names.SCORES, found["scores"].T, strict=True)) | {"classes": found["classes"]}

    def scores(self, raw: RawRequest) -> dict[str, dict[str, np.ndarray]]:
        """Scores of a request by each signature."""
        serialized = raw_examples.serialized_examples(raw, self.schema)
        classified = self.classification(serialized)
        return {
            saved_model_files.SHARED_CONTEXT: self.shared_context(columnar.columnar_inputs(raw, self.schema)),
            saved_model_files.EXAMPLES: self.examples(serialized),
            saved_model_files.CLASSIFICATION: {name: classified[name] for name in names.SCORES},
        }

    @staticmethod
    def _numpy(found: dict[str, tf.Tensor]) -> dict[str, np.ndarray]:
        return {name: tensor.numpy() for name, tensor in found.items()}
