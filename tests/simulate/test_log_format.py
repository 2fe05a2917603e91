import math
import re

import pytest
from features_in_log import CONTEXT_FIELDS, IMPRESSION_FIELDS, WEIGHTED

from features import names, schema_file

FEATURE = rb"[0-9_]+\x02[0-9]+\x03[0-9]+\.[0-9]{1,5}"
FEATURE_LIST = FEATURE + rb"(\x01" + FEATURE + rb")*"
SKELETON_ROW = re.compile(rb"[0-9]+,[01],[01],[0-9a-f]{16},[0-9]+," + FEATURE_LIST)
COMMON_ROW = re.compile(rb"[0-9a-f]{16},[0-9]+," + FEATURE_LIST)
TRUTH_ROW = re.compile(rb"[0-9]+,0\.[0-9]{9},0\.[0-9]{9},[01]")
SPLITS = (names.TRAIN, names.TEST)


@pytest.mark.parametrize("split", SPLITS)
def test_rows_have_the_bytes_of_ali_ccp(log, split):
    files = {names.skeleton_file(split): SKELETON_ROW, names.common_file(split): COMMON_ROW}
    for name, row in files.items():
        data = log.data(name)
        assert data.endswith(b"\n") and not data.endswith(b"\n\n")
        assert all(row.fullmatch(line) for line in data[:-1].split(b"\n")), name
    header, *rows = log.data(names.truth_file(split)).splitlines()
    assert header == b"sample_id,p_click,p_conversion,conversion_if_clicked"
    assert all(TRUTH_ROW.fullmatch(row) for row in rows)


@pytest.mark.parametrize("split", SPLITS)
def test_rows_belong_together(log, split):
    impressions = log.impressions(split)
    keys = [row[3] for row in impressions]
    assert [row[0] for row in impressions] == list(range(1, len(impressions) + 1))
    assert set(keys) == set(log.contexts(split))
    assert list(dict.fromkeys(keys)) == list(log.contexts(split)), "impressions of a request stand together, in order"
    assert list(log.truth(split)) == [row[0] for row in impressions]


def test_splits_share_no_request(log):
    assert not set(log.contexts(names.TRAIN)) & set(log.contexts(names.TEST))


@pytest.mark.parametrize("split", SPLITS)
def test_labels_follow_from_the_truth(log, split):
    for sample_id, click, conversion, _, _ in log.impressions(split):
        would_convert = log.truth(split)[sample_id][2]
        assert conversion == click * would_convert


def test_fields_are_those_of_the_schema(log):
    schema = schema_file.load("aliccp")
    for field in schema.fields:
        sides = (log.contexts(names.TRAIN).values(), [row[4] for row in log.impressions(names.TRAIN)])
        rows, others = sides if field.is_context else sides[::-1]
        assert any(field.name in row for row in rows), field.name
        assert not any(field.name in row for row in others), field.name
        most = max(len(row.get(field.name, ())) for row in rows)
        assert (most > 1) == field.is_many, field.name
        values = {value for row in rows for _, value in row.get(field.name, ())}
        assert (values != {"1.0"}) == field.weighted, field.name
    found = {field for row in log.contexts(names.TRAIN).values() for field in row}
    found |= {field for row in log.impressions(names.TRAIN) for field in row[4]}
    assert found == {field.name for field in schema.fields} == set(CONTEXT_FIELDS) | set(IMPRESSION_FIELDS)


def test_weights_are_logarithms_of_counts(log):
    texts = {repr(round(math.log(1 + count), 5)) for count in range(1, 1000)}
    rows = [*log.contexts(names.TRAIN).values(), *(row[4] for row in log.impressions(names.TRAIN))]
    found = {value for row in rows for field in WEIGHTED for _, value in row.get(field, ())}
    assert {"0.69315", "1.09861", "2.3979"} < found <= texts


def test_no_id_in_two_fields_and_none_twice_in_a_list(log):
    owner = {}
    rows = [*log.contexts(names.TRAIN).values(), *(row[4] for row in log.impressions(names.TRAIN))]
    for row in rows:
        for field, features in row.items():
            ids = [feature_id for feature_id, _ in features]
            assert len(set(ids)) == len(ids)
            for feature_id in ids:
                assert owner.setdefault(feature_id, field) == field
