"""The whole way, twice: a raw log through preprocessing and training's reader, and the same log raw through serving."""

import csv
import dataclasses
import datetime
import glob
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from served_model_examples import IDS, SETTINGS, STRANGE, Served, make_trained, mixed_schema, random_raw_requests

from features import keys, names, parse_spec, raw_requests, schema_file, vocabulary
from features.vocabulary import OOV_MODES
from model_fn import network
from preprocess import command, file_steps
from preprocess.options import Options
from serving import saved_model_files

v1 = tf.compat.v1
LARGEST_DIFFERENCE = 1e-6


def write_csv(path, schema, requests, seed):
    """A log with the request's context in each row; a fifth of the impressions are clicked."""
    rng = np.random.default_rng(seed)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*schema.columns.named(), *(field.column for field in schema.fields)])
        for number, raw in enumerate(requests):
            for place, sample_id in enumerate(raw.sample_ids):
                cells = [cell(raw, field, place) for field in schema.fields]
                writer.writerow([f"request {number}", sample_id, int(rng.random() < 0.2), 0, *cells])


def cell(raw, field, place):
    side = raw.context if field.is_context else {key: rows[place] for key, rows in raw.impressions.items()}
    values = [str(value) for value in side[field.name]]
    if field.weighted:
        pairs = zip(values, side[field.weight_key], strict=True)
        values = [f"{value}{field.weight_separator}{weight!r}" for value, weight in pairs]
    return field.value_separator.join(values)


def scores_of_records(data_dir, trained):
    """Scores of the test split by sample id: records, the parse spec of training, and the network."""
    known = trained.vocabulary
    serialized = []
    for path in sorted(glob.glob(names.records_pattern(data_dir, names.TEST))):
        serialized += list(tf.data.TFRecordDataset(path, "GZIP").as_numpy_iterator())
    with tf.Graph().as_default(), v1.Session() as session:
        spec = parse_spec.record_spec(known.schema) | parse_spec.sample_id_spec()
        batch = tf.io.parse_example(serialized, spec)
        found = network.scores(network.logits(batch, known.schema, known.size, trained.settings, False))
        v1.train.Saver().restore(session, trained.checkpoint)
        scores, sample_ids = session.run([found, batch[names.SAMPLE_ID].values])
    return {i: row for i, *row in zip(sample_ids.tolist(), *(scores[name] for name in names.SCORES), strict=True)}


def check(served, requests, expected):
    """Each signature gives each impression the expected scores; each expected impression is asked for."""
    seen = set()
    for raw in requests:
        wanted = np.array([expected[sample_id] for sample_id in raw.sample_ids])
        for signature, scores in served.scores(raw).items():
            found = np.stack([scores[name] for name in names.SCORES], 1)
            assert np.abs(found - wanted).max() <= LARGEST_DIFFERENCE, (signature, raw)
        seen |= set(raw.sample_ids)
    assert seen == expected.keys()


@pytest.mark.parametrize("oov", OOV_MODES)
def test_a_log_with_words_numbers_and_lists(tmp_path, oov):
    schema = mixed_schema()
    raw_dir, data_dir = str(tmp_path / "raw"), str(tmp_path / "data")
    write_csv(os.path.join(raw_dir, "train.csv"), schema, random_raw_requests(schema, 80, 1, with_strange=False), 1)
    write_csv(os.path.join(raw_dir, "test.csv"), schema, random_raw_requests(schema, 40, 2), 2)
    (tmp_path / "schema.yaml").write_text(schema_file.dump(schema))
    options = Options(
        raw_dir,
        data_dir,
        names.CSV,
        str(tmp_path / "schema.yaml"),
        min_count=12,
        oov=oov,
        max_rejected=0.0,
        keep_useless=True,
    )
    command.run(options, execute=file_steps.run_in_process)
    known = vocabulary.load(names.vocabulary_dir(data_dir))
    tags = schema.by_name["tags"]
    assert (known.lookup(keys.keys_of_ids(schema, tags, np.array(IDS))) != vocabulary.UNKNOWN).all()
    assert (known.lookup(keys.keys_of_ids(schema, tags, np.array(STRANGE[tags.type]))) == vocabulary.UNKNOWN).all()
    trained = make_trained(str(tmp_path / "trained"), known, SETTINGS)
    served = Served(trained.export(str(tmp_path / "export")), schema)
    requests = raw_requests.read(raw_dir, names.TEST, schema, names.CSV)
    check(served, requests, scores_of_records(data_dir, trained))


def run(module, *flags):
    done = subprocess.run([sys.executable, "-m", module, *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.chains
def test_the_commands_from_simulated_log_to_served_scores(tmp_path):
    raw_dir, data_dir, model_dir = (str(tmp_path / name) for name in ("raw", "data", "model"))
    history = "--history_scale=0.1"
    run("simulate", f"--output_dir={raw_dir}", "--requests=40", "--test_requests=8", "--seed=3", history)
    run("preprocess", f"--input_dir={raw_dir}", f"--output_dir={data_dir}", "--min_count=5")
    folders = (f"--data_dir={data_dir}", f"--model_dir={model_dir}")
    layers = ("--deep_layers=16,8", "--embedding_range=0.5", "--embedding_size=8")
    run("trainer", "--task_type=train", *folders, "--num_epochs=1", *layers)
    predictions = str(tmp_path / "predictions.csv")
    run("trainer", "--task_type=infer", *folders, f"--predictions={predictions}")
    base = str(tmp_path / "export")
    run("trainer", "--task_type=export", *folders, f"--export_dir={base}")
    with open(predictions, encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        assert next(rows) == [names.SAMPLE_ID, *names.SCORES]
        expected = {int(sample_id): [float(score) for score in scores] for sample_id, *scores in rows}
    (version,) = saved_model_files.versions(base)
    schema = schema_file.load(names.ALICCP)
    served = Served(os.path.join(base, str(version)), schema)
    check(served, raw_requests.read(raw_dir, names.TEST, schema, names.ALICCP), expected)


TYPES_SCHEMA = """
name: types
columns: {click: click, conversion: buy}
fields:
  - {name: item, group: item, side: impression, kind: one, type: id}
  - {name: word_double, group: item, side: impression, kind: one, type: string}
  - {name: word_bool, group: item, side: impression, kind: one, type: string}
  - {name: word_binary, group: item, side: impression, kind: one, type: string}
  - {name: word_time, group: item, side: impression, kind: one, type: string}
  - {name: weighted, group: item, side: impression, kind: many, type: id, weighted: true}
  - {name: price, group: item, side: impression, kind: one, type: number, scale: standard}
  - {name: age, group: user, side: context, kind: one, type: number, scale: log1p}
  - {name: picture, group: item, side: impression, kind: one, type: vector, size: 3}
"""


def test_columns_of_every_type_score_the_same_over_rest_and_in_batch(tmp_path):
    """Words that are doubles, flags, bytes and timestamps, and a weighted list that is a map, without a sample id."""
    drawn = [n * 7919 % 8 + 1 for n in range(300)]
    columns = {
        "item": pa.array([None if n == 3 else float(n) for n in drawn]),
        "word_double": pa.array([float(n) for n in drawn]),
        "word_bool": pa.array([n % 2 == 0 for n in drawn]),
        "word_binary": pa.array([f"c{n}".encode() for n in drawn], pa.binary()),
        "word_time": pa.array([datetime.datetime(2024, 1, n) for n in drawn], pa.timestamp("us")),
        "weighted": pa.array([[(n, 0.5), (n + 1, 1.5)] for n in drawn], pa.map_(pa.int64(), pa.float32())),
        "price": pa.array([None if n == 2 else 1e30 if n == 5 else n / 7 for n in drawn]),
        "age": pa.array([-(2.0**n) for n in drawn], pa.float32()),
        "picture": pa.array([None if n == 3 else [n / 3, -1.0, 0.0] for n in drawn], pa.list_(pa.float32())),
        "click": pa.array([int(n < 4 and place % 3 > 0) for place, n in enumerate(drawn)]),
        "buy": pa.array([int(n == 1 and place % 3 > 0) for place, n in enumerate(drawn)]),
    }
    raw_dir, data_dir, schema_path = (str(tmp_path / name) for name in ("raw", "data", "schema.yaml"))
    os.makedirs(raw_dir)
    for split in ("train", "val", "test"):
        pq.write_table(pa.table(columns), os.path.join(raw_dir, f"shop_{split}.parquet"))
    (tmp_path / "schema.yaml").write_text(TYPES_SCHEMA)
    options = Options(
        raw_dir, data_dir, names.PARQUET, schema_path, ("train", "val", "test"), 1, max_rejected=0.0, keep_useless=True
    )
    command.run(options, execute=file_steps.run_in_process)
    known = vocabulary.load(names.vocabulary_dir(data_dir))
    trained = make_trained(str(tmp_path / "trained"), known, SETTINGS)
    schema = schema_file.load(schema_path)
    served = Served(trained.export(str(tmp_path / "export")), schema)
    requests = list(raw_requests.read(raw_dir, names.TEST, schema, names.PARQUET))
    assert requests[0].impressions["word_time"] == [["2024-01-01T00:00:00"]]
    assert requests[0].impressions["word_double"] == [["1"]] and requests[0].impressions["word_bool"] == [["false"]]
    check(served, requests, scores_of_records(data_dir, trained))
    for name, values in (("price", [float("inf")]), ("picture", [0.0, float("-inf"), 1.0])):
        broken = dataclasses.replace(requests[0], impressions=requests[0].impressions | {name: [values]})
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"numbers must be finite.*{name}"):
            served.scores(broken)
