import itertools
import os

import numpy as np
import pytest
import tensorflow as tf
from record_examples import random_requests, small_schema, write_records

from features import names
from input_fn import files
from input_fn.dataset import FILE_INDEX, POSITION, REPEATED, make_dataset, records_of_block
from input_fn.options import InputOptions
from input_fn.records import serialized_records

SCHEMA = small_schema()
SIZE = 200


def write(folder, requests, shards=3, suffix=".tfrecord.gz"):
    for shard in range(shards):
        write_records(os.path.join(folder, f"part-{shard:05d}{suffix}"), SCHEMA, requests[shard::shards])
    return os.path.join(folder, "part-*")


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    requests = random_requests(SCHEMA, SIZE, 150, seed=3, most=40)
    return write(str(tmp_path_factory.mktemp("log")), requests), requests


@pytest.fixture(scope="module")
def shuffled(log):
    """The batches that the settings of `options` give."""
    return batches(log[0])


def options(**changes):
    return InputOptions(**({"batch_size": 64, "max_impressions_per_context": 4, "seed": 5} | changes))


def batches(pattern, **changes):
    return list(make_dataset(pattern, SCHEMA, SIZE, options(**changes)))


def sample_ids(found):
    return [features[names.SAMPLE_ID].values.numpy().tolist() for features, _ in found]


def flat(lists):
    return list(itertools.chain.from_iterable(lists))


def as_lists(tensor):
    return tensor.to_list() if isinstance(tensor, tf.RaggedTensor) else [[x] for x in tensor.numpy().tolist()]


def rows_of_batch(features, labels):
    """Everything that a batch says about each impression: {sample_id: (context, own columns)}."""
    columns = {key: as_lists(column) for key, column in (features | labels).items()}
    context = [f.name for f in SCHEMA.context_fields] + [f.weight_key for f in SCHEMA.context_fields if f.weighted]
    rows = {}
    for piece, piece_ids in enumerate(columns[names.SAMPLE_ID]):
        shared = {key: columns[key][piece] for key in context}
        for place, sample_id in enumerate(piece_ids):
            assert sample_id not in rows
            rows[sample_id] = shared | {
                key: column[piece][place] for key, column in columns.items() if key not in context
            }
    return rows


def rows_of_request(request):
    fields = {field.name: field for field in SCHEMA.fields} | {
        field.weight_key: field for field in SCHEMA.fields if field.weighted
    }
    for place, sample_id in enumerate(request.sample_id):
        row = {names.SAMPLE_ID: sample_id, names.CLICK: request.click[place]}
        row[names.CONVERSION] = int(request.conversion[place])
        row |= request.context
        for key, rows in request.impressions.items():
            row[key] = rows[place] if fields[key].is_many else rows[place][0]
        yield sample_id, row


def check_exact(found, requests):
    expected = dict(itertools.chain.from_iterable(rows_of_request(request) for request in requests))
    rows = {}
    for features, labels in found:
        batch = rows_of_batch(features, labels)
        assert not batch.keys() & rows.keys()
        rows |= batch
    assert rows == expected


def test_an_epoch_holds_every_impression_once_with_its_own_context(log, shuffled):
    pattern, requests = log
    check_exact(shuffled, requests)
    check_exact(batches(pattern, shuffle=False), requests)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_batch_that_is_smaller_than_a_request_holds_a_whole_one(log, batch_size):
    pattern, requests = log
    found = batches(pattern, batch_size=batch_size, max_impressions_per_context=0)
    check_exact(found, requests)
    assert all(sample_ids(found))
    assert len(found) <= len(requests)


def test_flat_records_give_the_same_impressions(tmp_path):
    requests = random_requests(SCHEMA, SIZE, 20, seed=4)
    flat = [one for request in requests for one in request.flat()]
    check_exact(batches(write(str(tmp_path), flat, suffix=".tfrecord")), requests)


def test_dense_and_ragged_columns_have_the_types_of_the_spec(shuffled):
    features, labels = shuffled[0]
    assert features["user"].dtype == tf.int64 and features["user"].shape.rank == 1
    assert features["history/weight"].dtype == tf.float32
    assert features["matches"].ragged_rank == 2 and features["matches"].row_splits.dtype == tf.int64
    assert set(labels) == {names.CLICK, names.CONVERSION}
    assert labels[names.CLICK].dtype == tf.int64
    assert set(features) == {f.name for f in SCHEMA.fields} | {f.weight_key for f in SCHEMA.fields if f.weighted} | {
        names.SAMPLE_ID
    }


def test_training_batches_come_near_the_batch_size_and_none_is_tiny(log, shuffled):
    sizes = [len(ids) for ids in sample_ids(shuffled)]
    assert sum(sizes) == sum(len(request.sample_id) for request in log[1])
    assert min(sizes) > 40 and max(sizes) < 90


def test_a_short_end_joins_the_block_before_it(tmp_path):
    requests = random_requests(SCHEMA, SIZE, 60, seed=1, most=1)
    pattern = write(str(tmp_path), requests, shards=1)
    assert records_of_block(files.sample_shape(files.find(pattern)), options(batch_size=10)) == 40
    for count in (41, 60):
        sizes = [len(ids) for ids in sample_ids(batches(write(str(tmp_path), requests[:count], 1), batch_size=10))]
        assert sum(sizes) == count and min(sizes) >= 8, sizes


def test_pieces_are_no_longer_than_asked_and_spread_over_batches(log, shuffled):
    for features, _ in shuffled:
        ids = features[names.SAMPLE_ID]
        assert int(tf.reduce_max(ids.row_lengths())) <= 4
        assert len(np.unique(features["user"].numpy())) > 10
    whole = batches(log[0], max_impressions_per_context=0)
    lengths = sorted(int(n) for features, _ in whole for n in features[names.SAMPLE_ID].row_lengths())
    assert lengths == sorted(len(request.sample_id) for request in log[1])


def test_equal_seeds_give_equal_batches_on_any_number_of_threads(log, shuffled):
    first = sample_ids(shuffled)
    assert sample_ids(batches(log[0], num_threads=1)) == first
    other = sample_ids(batches(log[0], seed=6))
    assert other != first
    assert sorted(flat(other)) == sorted(flat(first))


def test_epochs_differ_in_order(log):
    count = sum(len(request.sample_id) for request in log[1])
    ids = flat(sample_ids(batches(log[0], num_epochs=2, shuffle_buffer=200)))
    assert len(ids) == 2 * count
    times = np.bincount(ids)
    assert times.min() == times.max() == 2
    assert ids[:count] != ids[count:]


@pytest.mark.parametrize("num_threads", [0, 2, 36])
def test_any_number_of_threads_reads_in_order(log, num_threads):
    found = batches(log[0], shuffle=False, num_threads=num_threads)
    assert flat(sample_ids(found)) == flat(sample_ids(batches(log[0], shuffle=False, num_threads=1)))


def test_without_shuffling_impressions_come_in_the_order_of_the_files(log):
    pattern, requests = log
    expected = [i for shard in range(3) for request in requests[shard::3] for i in request.sample_id]
    assert flat(sample_ids(batches(pattern, shuffle=False))) == expected


def test_a_run_goes_on_behind_any_batch_as_if_it_had_not_stopped(log):
    everything = batches(log[0], trace=True, num_epochs=2)
    whole = sample_ids(everything)
    positions = [tuple(features[POSITION].numpy()) for features, _ in everything]
    assert positions[-1] == (2 * len(log[1]), 0) and positions == sorted(positions)
    for stop in (len(positions) // 2, len(positions) - 2):
        records, done = positions[stop]
        rest = batches(log[0], num_epochs=2, skip_records=records, skip_batches=done)
        assert sample_ids(rest) == whole[stop + 1 :]
    assert batches(log[0], num_epochs=2, skip_records=positions[-1][0]) == []


def test_replicas_get_the_last_batch_again_and_it_says_so(log):
    alone = sample_ids(batches(log[0]))
    filled = batches(log[0], trace=True, replicas=3)
    assert sample_ids(filled) == alone + [alone[-1]] * 2
    assert [bool(features[REPEATED]) for features, _ in filled] == [False] * len(alone) + [True] * 2


def test_the_trace_tells_the_file_of_each_piece(log):
    pattern, requests = log
    shard_of = {i: number % 3 for number, request in enumerate(requests) for i in request.sample_id}
    for features, _ in batches(pattern, trace=True):
        for file, ids in zip(features[FILE_INDEX].numpy(), features[names.SAMPLE_ID].to_list(), strict=True):
            assert {shard_of[i] for i in ids} == {file}


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_share_the_records(log, workers):
    """By files where there are enough of them (here are three), else record by record."""
    paths = files.find(log[0])
    parts = [
        [record for record, _ in serialized_records(paths, options(shard_count=workers, shard_index=index))]
        for index in range(workers)
    ]
    assert all(parts)
    everything = [record.numpy() for part in parts for record in part]
    assert len(everything) == len(set(everything)) == len(log[1])


def test_plain_and_gzipped_files_mix(tmp_path):
    requests = random_requests(SCHEMA, SIZE, 20)
    write_records(str(tmp_path / "a.tfrecord"), SCHEMA, requests[:10])
    write_records(str(tmp_path / "b.tfrecord.gz"), SCHEMA, requests[10:])
    check_exact(batches([str(tmp_path / "a.tfrecord"), str(tmp_path / "b*")]), requests)


def test_a_writers_temporary_files_are_left_out(tmp_path):
    pattern = write(str(tmp_path), random_requests(SCHEMA, SIZE, 5), shards=1)
    (tmp_path / "part-00001.tfrecord.gz.tmp-77").write_bytes(b"half")
    assert files.find(pattern) == [str(tmp_path / "part-00000.tfrecord.gz")]


def test_it_works_inside_a_graph(log):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        dataset = make_dataset(log[0], SCHEMA, SIZE, options(shuffle=False))
        features, _ = tf.compat.v1.data.make_one_shot_iterator(dataset).get_next()
        assert session.run(features[names.SAMPLE_ID]).values.size > 0


@pytest.mark.parametrize(
    ("name", "value"), [("batch_size", 0), ("max_impressions_per_context", -1), ("num_epochs", 0), ("shard_index", 1)]
)
def test_options_name_what_is_wrong(name, value):
    with pytest.raises(ValueError, match=f"{name} {value}: allowed is"):
        InputOptions(**{name: value})
