"""The served model against the way of training: preprocessing's rules in plain Python, records, the same weights."""

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served_model_examples import (
    SETTINGS,
    Reference,
    Served,
    make_trained,
    make_vocabulary,
    mixed_schema,
    random_raw_requests,
    raw_values,
    record,
)

from features import names
from features.raw_requests import RawRequest
from features.vocabulary import OOV_BUCKET, OOV_DROP, OOV_MODES
from model_fn.models import MODELS

SCHEMA = mixed_schema()
LARGEST_DIFFERENCE = 1e-6


@pytest.fixture(scope="module", params=OOV_MODES)
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    trained = make_trained(str(folder / "trained"), make_vocabulary(SCHEMA, request.param))
    return Reference(trained), Served(trained.export(str(folder / "export")), SCHEMA)


def check_parity(model, raw):
    reference, served = model
    expected = reference.scores([raw])
    for signature, scores in served.scores(raw).items():
        for name in names.SCORES:
            difference = np.abs(scores[name] - expected[name]).max()
            assert difference <= LARGEST_DIFFERENCE, (signature, name, raw)


def test_random_requests(model):
    requests = random_raw_requests(SCHEMA, 60)
    scores = model[0].scores(requests)[names.PCTR]
    # Else parity would be easy.
    assert len(np.unique(scores.round(3))) > len(scores) / 2
    for raw in requests:
        check_parity(model, raw)


@pytest.mark.commands
@pytest.mark.parametrize(
    ("changes", "narrow"),
    [
        ({"backbone": "dcn", "cross_rank": 3, "model": "dcmt"}, ("history", "brand", "age")),
        ({"attention": "history:item,queries:brand", "attention_length": 2, "model": "ddpo"}, ("queries", "brand")),
        ({"backbone": "ple", "cvr_sees_ctr": True, "model": "escm2_dr"}, ()),
    ],
)
def test_crosses_attention_third_towers_narrow_fields_and_a_tower_that_sees_another(tmp_path, changes, narrow):
    fields = [dataclasses.replace(field, embedding_size=2 * (field.name in narrow)) for field in SCHEMA.fields]
    schema = dataclasses.replace(SCHEMA, fields=tuple(fields))
    trained = make_trained(str(tmp_path / "trained"), make_vocabulary(schema), dataclasses.replace(SETTINGS, **changes))
    model = Reference(trained), Served(trained.export(str(tmp_path / "export")), schema)
    for raw in random_raw_requests(schema, 20, seed=5):
        check_parity(model, raw)


def values_of(field):
    value = st.sampled_from(raw_values(field))
    if field.type == "id":
        value |= st.integers(0, 2**63 - 1)
    elif field.type == "string":
        value |= st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
    else:
        value |= st.floats(width=32, allow_nan=False, allow_infinity=False)
    return st.lists(value, max_size=6 if field.is_many else 1)


@st.composite
def raw_requests(draw):
    count = draw(st.integers(1, 4))
    weight = st.floats(0, 3, width=32)
    sides = ({}, {})
    for field in SCHEMA.fields:
        rows = [draw(values_of(field)) for _ in range(1 if field.is_context else count)]
        columns = {field.name: rows}
        if field.weighted:
            columns[field.weight_key] = [draw(st.lists(weight, min_size=len(r), max_size=len(r))) for r in rows]
        if field.is_context:
            sides[0].update({key: column[0] for key, column in columns.items()})
        else:
            sides[1].update(columns)
    return RawRequest(list(range(count)), *sides)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(raw=raw_requests())
def test_any_request(model, raw):
    check_parity(model, raw)


def test_the_requests_of_the_test_hold_every_case():
    """Missing, known, unknown and repeated values of each field, and lists of which nothing is left."""
    vocabulary = make_vocabulary(SCHEMA)
    requests = random_raw_requests(SCHEMA, 60)
    mapped = [record(raw, vocabulary) for raw in requests]
    for field in SCHEMA.fields:
        raw_rows, rows = [], []
        for raw, request in zip(requests, mapped, strict=True):
            raw_rows += [raw.context[field.name]] if field.is_context else raw.impressions[field.name]
            rows += [request.context[field.name]] if field.is_context else request.impressions[field.name]
        found = {new_id for row in rows for new_id in row}
        assert [] in raw_rows and SCHEMA.missing_id(field) in found, field.name
        assert any(new_id >= SCHEMA.reserved_ids for new_id in found), field.name
        if field.is_many:
            assert any(len(set(row)) < len(row) for row in rows), field.name
            left_empty = [SCHEMA.missing_id(field)]
            assert any(raw and row == left_empty for raw, row in zip(raw_rows, rows, strict=True)), field.name
        else:
            assert SCHEMA.oov_id(field) in found, field.name


def test_unknown_ids_of_a_list_count_in_bucket_mode_alone():
    raw = random_raw_requests(SCHEMA, 1)[0]
    drop, bucket = (record(raw, make_vocabulary(SCHEMA, mode)) for mode in (OOV_DROP, OOV_BUCKET))
    assert drop != bucket


@pytest.mark.commands
@pytest.mark.parametrize("name", MODELS)
def test_every_model_of_the_table_is_exported_and_serves_what_training_scores(name, tmp_path):
    trained = make_trained(str(tmp_path), make_vocabulary(SCHEMA), dataclasses.replace(SETTINGS, model=name))
    model = Reference(trained), Served(trained.export(str(tmp_path / "export")), SCHEMA)
    for raw in random_raw_requests(SCHEMA, 10, seed=7):
        check_parity(model, raw)
