"""The columnar job equals the row-by-row reference: same vocabulary, same records in the same order, same rejects."""

import glob
import json
import os
import pathlib
import tempfile

import numpy as np
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from random_logs import LogWriter, aliccp_schema, table_schema
from record_files import read_records

from features import keys, names, schema_file, vocabulary
from preprocess import command, file_steps
from preprocess.options import MAX_IMPRESSIONS_PER_RECORD, Options

SETTINGS = settings(max_examples=40, deadline=None, derandomize=True, database=None)

WHOLE_FILE = 1 << 20
SHAPES = st.fixed_dictionaries(
    {
        "min_count": st.integers(1, 4),
        "impressions_per_record": st.sampled_from([0, 1, 3]),
        "oov": st.sampled_from(["drop", "bucket"]),
        "compression": st.sampled_from(["GZIP", "NONE"]),
        "shards": st.integers(1, 3),
        "seed": st.integers(0, 3),
        "block_size": st.sampled_from([50, 333, 1 << 20]),
        "piece_size": st.sampled_from([1, 700, WHOLE_FILE]),
    }
)


def run(folder, schema, input_format, shape, **more):
    path = folder / "schema.yaml"
    path.write_text(schema_file.dump(schema))
    options = Options(
        input_dir=str(folder / "raw"),
        output_dir=str(folder / "out"),
        input_format=input_format,
        schema=str(path),
        max_rejected=1.0,
        keep_useless=True,
        **{**shape, **more},
    )
    command.run(options, execute=file_steps.run_in_process)
    return folder / "out"


def rejected(out):
    found = set()
    for path in glob.glob(str(out / "rejected" / "*" / "*.jsonl")):
        for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            found.add((os.path.basename(row["file"]), row["offset"], row["reason"]))
    return found


def records(out, split):
    return [record for path in sorted(glob.glob(names.records_pattern(out, split))) for record in read_records(path)]


def check(out, schema, requests, shape, boundaries=None):
    """Compares vocabulary and records with those of the reference's requests by split."""
    made = vocabulary.load(str(out / names.VOCABULARY_DIR))
    edges = {name: list(found) for name, found in made.boundaries.items()}
    expected = reference.build_vocabulary(schema, requests[names.TRAIN], edges, shape["min_count"])
    assert dict(zip(made.keys.tolist(), made.ids.tolist(), strict=True)) == expected
    limit = shape["impressions_per_record"] or MAX_IMPRESSIONS_PER_RECORD
    for split, found in requests.items():
        wanted = list(reference.records(schema, found, expected, edges, limit, shape["oov"]))
        if shape["impressions_per_record"]:
            assert by_first(records(out, split)) == by_first(wanted)
            check_order_of_cut_requests(out, split, shape)
        else:
            assert records(out, split) == wanted


def by_first(found):
    return sorted(found, key=lambda record: record[names.SAMPLE_ID][0])


def check_order_of_cut_requests(out, split, shape):
    """Records that are parts of requests stand in the order of a hash in what is joined at once: here a whole file."""
    if shape["piece_size"] < WHOLE_FILE:
        return
    for path in glob.glob(names.records_pattern(out, split)):
        order = [reference.record_order(record, shape["seed"]) for record in read_records(path)]
        assert order == sorted(order)


@SETTINGS
@given(seed=st.integers(0, 10**6), unique_ids=st.booleans(), broken=st.booleans(), shape=SHAPES)
def test_aliccp(seed, unique_ids, broken, shape):
    # A broken row may name another field: its ids are then in two.
    schema = aliccp_schema(unique_ids and not broken)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "raw").mkdir()
        writer = LogWriter(seed, schema, broken)
        requests, wanted = {}, set()
        for split in (names.TRAIN, names.TEST):
            files = writer.aliccp(folder / "raw", split)
            bad = set()
            contexts, impressions = reference.read_aliccp(
                schema, [(n, file.data, file.is_context) for n, file in enumerate(files)], bad
            )
            impressions = reference.without_duplicates(impressions, bad)
            requests[split] = reference.requests_of(schema, contexts, impressions, shape["seed"])
            wanted |= {(files[number].name, offset, reason) for number, offset, reason in bad}
        out = run(folder, schema, names.ALICCP, shape)
        assert rejected(out) == wanted
        check(out, schema, requests, shape)


@SETTINGS
@given(
    seed=st.integers(0, 10**6),
    with_request=st.booleans(),
    with_id=st.booleans(),
    broken=st.booleans(),
    split_files=st.booleans(),
    shape=SHAPES,
)
def test_csv(seed, with_request, with_id, broken, split_files, shape):
    schema = table_schema(with_request, with_id)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "raw").mkdir()
        writer = LogWriter(seed, schema, broken)
        groups = [names.TRAIN, names.TEST] if split_files else ["log"]
        written = {group: writer.csv(folder / "raw", group) for group in groups}
        # Files are numbered by their names, whatever splits they are of.
        numbers = {name: n for n, name in enumerate(sorted(f.name for files in written.values() for f in files))}
        requests, wanted = {}, set()
        for group, files in written.items():
            bad = set()
            rows = reference.read_csv(schema, [(numbers[file.name], file.data) for file in files], bad)
            requests |= reference.table_requests(schema, rows, bad, shape["seed"], group if split_files else None)
            wanted |= {(sorted(numbers)[n], offset, reason) for n, offset, reason in bad}
        out = run(folder, schema, names.CSV, shape)
        assert rejected(out) == wanted
        check(out, schema, requests, shape)


@settings(SETTINGS, max_examples=15)
@given(seed=st.integers(0, 10**6), shape=SHAPES)
def test_parquet(seed, shape):
    schema = table_schema(True, True)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "raw").mkdir()
        requests, wanted = {}, set()
        for number, split in enumerate((names.TEST, names.TRAIN)):
            cells = LogWriter(seed + number, schema, False).parquet(folder / "raw", split)
            bad = set()
            rows = [reference.table_row(schema, None, row, (number, place)) for place, row in enumerate(cells)]
            requests |= reference.table_requests(schema, rows, bad, shape["seed"], split)
            wanted |= {(f"{split}.parquet", offset, reason) for _, offset, reason in bad}
        out = run(folder, schema, names.PARQUET, shape)
        assert rejected(out) == wanted
        check(out, schema, requests, shape)


def test_split_of_a_request_depends_on_its_key_alone():
    drawn = [reference.drawn(reference.order_key(str(n).encode(), 0)) for n in range(2000)]
    assert abs(np.mean(np.array(drawn) < 0.2) - 0.2) < 0.03
    assert keys.fingerprint64("1") != keys.fingerprint64("2")
