import pytest
import tensorflow as tf
from record_examples import Request, example, random_requests, small_schema, write_records

from features import names, parse_spec

SCHEMA = small_schema()


def parse(requests):
    serialized = [example(SCHEMA, request).SerializeToString() for request in requests]
    spec = parse_spec.record_spec(SCHEMA) | parse_spec.label_spec() | parse_spec.sample_id_spec()
    return tf.io.parse_example(serialized, spec)


def as_lists(tensor):
    return tensor.to_list() if isinstance(tensor, tf.RaggedTensor) else tensor.numpy().tolist()


def check(parsed, requests):
    for field in SCHEMA.fields:
        for key in [field.name] + [field.weight_key] * field.weighted:
            if field.is_context:
                expected = [r.context[key] if field.is_many else r.context[key][0] for r in requests]
            elif field.is_many:
                expected = [r.impressions[key] for r in requests]
            else:
                expected = [[row[0] for row in r.impressions[key]] for r in requests]
            assert as_lists(parsed[key]) == expected, key
    for key in (names.SAMPLE_ID, names.CLICK, names.CONVERSION):
        assert parsed[key].to_list() == [[int(x) for x in getattr(r, key)] for r in requests]


def test_records_read_back_as_they_were_written():
    requests = random_requests(SCHEMA, 200, 50)
    assert any(len(r.sample_id) == 1 for r in requests)
    check(parse(requests), requests)


def test_flat_records_are_requests_of_one_impression():
    flat = [one for request in random_requests(SCHEMA, 200, 10) for one in request.flat()]
    check(parse(flat), flat)


def test_fields_with_nothing_in_them():
    nothing = Request(
        {"user": [0], "history": [], "history/weight": [], "tags": []},
        {k: [[], []] for k in ("intents", "matches", "matches/weight")}
        | {"item": [[6], [7]], "match": [[10], [20]], "match/weight": [[1.0], [0.5]], "place": [[14], [15]]},
        [1, 2],
        [0, 1],
        [0, 0],
    )
    check(parse([nothing]), [nothing])


def test_a_request_without_impressions():
    request = random_requests(SCHEMA, 200, 1)[0]
    empty = Request(request.context, {key: [] for key in request.impressions}, [], [], [])
    parsed = parse([empty, request])
    assert parsed["item"].row_lengths().numpy().tolist() == [0, len(request.sample_id)]
    assert parsed["intents"].row_lengths().numpy().tolist() == [0, len(request.sample_id)]


def test_no_label_is_a_model_input():
    assert not parse_spec.record_spec(SCHEMA).keys() & names.RESERVED_KEYS


def test_a_context_field_that_a_record_lacks_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError, match="user"):
        tf.io.parse_example([tf.train.Example().SerializeToString()], parse_spec.record_spec(SCHEMA))


def test_raw_examples_may_lack_any_field():
    parsed = tf.io.parse_example([tf.train.Example().SerializeToString()] * 2, parse_spec.raw_example_spec(SCHEMA))
    assert all(tensor.row_lengths().numpy().tolist() == [0, 0] for tensor in parsed.values())


def test_files_plain_and_gzipped(tmp_path):
    requests = random_requests(SCHEMA, 200, 7)
    for name, compression in (("a.tfrecord", ""), ("a.tfrecord.gz", "GZIP")):
        path = str(tmp_path / name)
        write_records(path, SCHEMA, requests)
        read = list(tf.data.TFRecordDataset(path, compression).as_numpy_iterator())
        check(tf.io.parse_example(tf.constant(read), parse_spec.record_spec(SCHEMA)) | labels(read), requests)


def labels(serialized):
    return tf.io.parse_example(serialized, parse_spec.label_spec() | parse_spec.sample_id_spec())
