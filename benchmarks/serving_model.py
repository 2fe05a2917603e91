"""A served model of Ali-CCP's size without Ali-CCP: made-up ids, weights as initialized, and requests to ask it.

python benchmarks/serving_model.py --folder=OUT [--ids=4500000]

Writes OUT/export/<version> (once: a folder that has one is used again) and prints its path.
"""

from __future__ import annotations

import argparse
import os

import numpy as np
import tensorflow as tf

from features import names, raw_requests, schema_file, vocabulary
from features.raw_requests import RawRequest
from features.schema import Field, Schema
from model_fn import network
from model_fn.hyperparameters import Hyperparameters
from serving import export, saved_model_files
from serving.graph import receivers, remap
from serving.graph.graph_vocabulary import GraphVocabulary

v1 = tf.compat.v1

# Distinct ids of each field in Ali-CCP; they are scaled to the number of ids that is asked for.
DISTINCT_IDS = {
    "101": 295_787,
    "121": 97,
    "122": 13,
    "124": 2,
    "125": 7,
    "126": 3,
    "127": 3,
    "128": 2,
    "129": 4,
    "109_14": 12_223,
    "110_14": 2_545_609,
    "127_14": 396_460,
    "150_14": 99_226,
    "205": 3_200_000,
    "206": 8_627,
    "207": 614_739,
    "210": 98_714,
    "216": 210_973,
    "508": 7_753,
    "509": 389_788,
    "702": 143_919,
    "853": 86_895,
    "301": 3,
}
# Values of an impression on average (docs/simulation.md): how 600 history ids are shared out, and the lists of items.
VALUES = {"109_14": 69, "110_14": 250, "127_14": 154, "150_14": 136, "210": 6.1, "853": 1.4}
COVERAGE = {"126": 0.42, "129": 0.64, "216": 0.71, "508": 0.70, "509": 0.22, "702": 0.22}
HISTORY_FIELDS = ("109_14", "110_14", "127_14", "150_14")

# DeepMTL's towers and width.
SETTINGS = Hyperparameters(embedding_size=16, deep_layers=(256, 128))


def version_dir(folder: str, ids: int = 4_500_000) -> str:
    """Path of the exported model with so many ids; made where it is not there yet."""
    base = os.path.join(folder, "export")
    if not saved_model_files.versions(base):
        vocabulary_dir = os.path.join(folder, names.VOCABULARY_DIR)
        if not os.path.exists(vocabulary_dir):
            _save_vocabulary(vocabulary_dir, ids)
        export.export_saved_model(base, _checkpoint(folder, vocabulary_dir), vocabulary_dir, SETTINGS)
    return os.path.join(base, str(saved_model_files.versions(base)[-1]))


def make_requests(ids: int, count: int, candidates: int = 500, history: int = 600, seed: int = 0) -> list[RawRequest]:
    """Raw requests in Ali-CCP's shape: so many history ids in four fields, so many candidates, 5 % of ids unknown."""
    rng = np.random.default_rng(seed)
    schema = schema_file.load(names.ALICCP)
    first = _first_ids(schema, ids)
    made = []
    for number in range(count):
        context: dict[str, list] = {}
        impressions: dict[str, list[list]] = {}
        for field in schema.fields:
            rows = 1 if field.is_context else candidates
            lengths = _lengths(rng, field, rows, history)
            values = _split(_raw_ids(rng, first[field.name], int(lengths.sum())), lengths)
            columns = {field.name: values}
            if field.weighted:
                columns[field.weight_key] = _split(rng.uniform(0.5, 5, int(lengths.sum())).round(5), lengths)
            if field.is_context:
                context |= {key: column[0] for key, column in columns.items()}
            else:
                impressions |= columns
        made.append(RawRequest([number * candidates + i for i in range(candidates)], context, impressions))
    return made


def _first_ids(schema: Schema, ids: int) -> dict[str, tuple[int, int]]:
    """Lowest raw id and number of ids of each field; a third of the raw ids of a field is in the vocabulary."""
    wanted = np.array([DISTINCT_IDS[field.name] for field in schema.fields], float)
    counts = np.maximum(1, (wanted / wanted.sum() * ids).astype(int))
    starts = np.cumsum(counts * 3) - counts * 3 + 1000
    return {field.name: (int(starts[i]), int(counts[i])) for i, field in enumerate(schema.fields)}


def _raw_ids(rng: np.random.Generator, first: tuple[int, int], count: int) -> np.ndarray:
    start, size = first
    # Popular ids are asked for more often: the square of a uniform number favours low ones.
    places = (rng.random(count) ** 2 * size).astype(np.int64) * 3
    return start + places + (rng.random(count) < 0.05)


def _lengths(rng: np.random.Generator, field: Field, rows: int, history: int) -> np.ndarray:
    if field.name in HISTORY_FIELDS:
        share = VALUES[field.name] / sum(VALUES[name] for name in HISTORY_FIELDS)
        return np.full(rows, round(share * history))
    if field.is_many:
        return np.minimum(rng.poisson(VALUES[field.name], rows), 20)
    return (rng.random(rows) < COVERAGE.get(field.name, 1.0)).astype(int)


def _split(values: np.ndarray, lengths: np.ndarray) -> list[list]:
    listed = values.tolist()
    ends = np.cumsum(lengths).tolist()
    return [listed[end - length : end] for end, length in zip(ends, lengths.tolist(), strict=True)]


def _save_vocabulary(directory: str, ids: int) -> None:
    schema = schema_file.load(names.ALICCP)
    keys = np.concatenate([start + 3 * np.arange(size) for start, size in _first_ids(schema, ids).values()])
    new_ids = np.random.default_rng(0).permutation(len(keys)) + schema.reserved_ids
    vocabulary.Vocabulary(schema, keys, new_ids.astype(np.int32)).save(directory)
    path = os.path.join(directory, names.SAMPLE_REQUESTS_FILE)
    with open(path, "w", encoding="utf-8") as file:
        file.write(raw_requests.to_json(make_requests(ids, 1)))


def _checkpoint(folder: str, vocabulary_dir: str) -> str:
    """A checkpoint of the model with weights as initialized."""
    known = vocabulary.load(vocabulary_dir)
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(0)
        _, call = receivers.shared_context(known.schema)
        features = remap.features_of(call, GraphVocabulary(known, vocabulary_dir))
        network.logits(features, known.schema, known.size, SETTINGS, False)
        session.run(v1.global_variables_initializer())
        return v1.train.Saver().save(session, os.path.join(folder, "model", "model.ckpt"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="keeps vocabulary, checkpoint and exported model")
    parser.add_argument("--ids", type=int, default=4_500_000, help="size of the vocabulary")
    arguments = parser.parse_args()
    print(version_dir(arguments.folder, arguments.ids))


if __name__ == "__main__":
    main()
