import dataclasses

import pytest

from features import schema_file
from features.schema import Columns, Field, Schema, SchemaError

COLUMNS = Columns(click="click", conversion="conversion")


def field(name="item", **changes):
    return Field(**{"name": name, "group": "item", "side": "impression", "kind": "one", "type": "id", **changes})


def test_aliccp_has_the_23_fields_of_the_data_set():
    schema = schema_file.load("aliccp")
    assert len(schema.fields) == 23
    assert schema.unique_ids
    assert len(schema.context_fields) == 13
    assert {name: len(fields) for name, fields in schema.groups.items()} == {
        "user": 13,
        "item": 5,
        "combination": 4,
        "place": 1,
    }
    many = {f.name for f in schema.fields if f.is_many}
    assert many == {"109_14", "110_14", "127_14", "150_14", "210", "853"}
    assert {f.name for f in schema.fields if f.weighted} == many - {"210"} | {"508", "509", "702"}


def test_every_field_has_its_own_two_reserved_ids():
    schema = schema_file.load("aliccp")
    reserved = [i for f in schema.fields for i in (schema.missing_id(f), schema.oov_id(f))]
    assert sorted(reserved) == list(range(schema.reserved_ids)) == list(range(46))


def test_labels_and_sample_id_cannot_be_fields():
    for name in ("click", "conversion", "sample_id"):
        with pytest.raises(SchemaError, match=name):
            field(name)
    with pytest.raises(SchemaError, match="click occurs twice"):
        Schema("s", (field(column="click"),), COLUMNS)


@pytest.mark.parametrize(
    ("changes", "attribute"),
    [
        ({"side": "user"}, "side"),
        ({"kind": "several"}, "kind"),
        ({"type": "float"}, "type"),
        ({"group": ""}, "group"),
        ({"name": "a/b"}, "name"),
        ({"boundaries": (1.0,)}, "boundaries"),
        ({"type": "number"}, "boundaries"),
        ({"type": "number", "boundaries": (2.0, 1.0)}, "boundaries"),
        ({"type": "number", "quantiles": 1}, "quantiles"),
        ({"type": "number", "quantiles": 10, "kind": "many"}, "kind"),
        ({"kind": "many", "weighted": True, "weight_separator": "|"}, "weight_separator"),
    ],
)
def test_impossible_fields_are_refused(changes, attribute):
    with pytest.raises(SchemaError) as refused:
        field(**changes)
    assert refused.value.attribute == attribute


def test_impossible_schemas_are_refused():
    with pytest.raises(SchemaError, match="item occurs twice"):
        Schema("s", (field(), field()), COLUMNS)
    with pytest.raises(SchemaError, match="unique_ids"):
        Schema("s", (field(type="string"),), COLUMNS, unique_ids=True)
    with pytest.raises(SchemaError, match="no field of side impression"):
        Schema("s", (field(side="context"),), COLUMNS)
    with pytest.raises(SchemaError, match="empty"):
        Schema("s", (), COLUMNS)


def test_schema_file_round_trip():
    schema = Schema(
        "own",
        (
            field(),
            field("words", kind="many", type="string", weighted=True, value_separator=";", column="w"),
            field("price", type="number", boundaries=(0.5, 10.0), group="x", side="context"),
            field("age", type="number", quantiles=10),
        ),
        Columns(click="c", conversion="b", request="r"),
    )
    assert schema_file.parse(schema_file.dump(schema), "own.yaml") == schema
    aliccp = schema_file.load("aliccp")
    assert schema_file.parse(schema_file.dump(aliccp), "again.yaml") == aliccp


GOOD = """name: s
columns: {click: click, conversion: conversion}
fields:
  - {name: item, group: item, side: impression, kind: one, type: id}
  - {name: price, group: item, side: impression, kind: one, type: number, quantiles: 10}
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("kind: one, type: id", "kind: some, type: id", 4, ["'item'", "'some'", "one, many"]),
        ("type: id", "typ: id", 4, ["'typ'", "allowed"]),
        ("group: item, side: impression, kind: one, type: id", "side: impression, kind: one, type: id", 4, ["group"]),
        ("quantiles: 10", "quantiles: ten", 5, ["quantiles", "'ten'", "whole number"]),
        ("quantiles: 10", "boundaries: 3", 5, ["boundaries", "3", "list of numbers"]),
        ("quantiles: 10", "weighted: 1, quantiles: 10", 5, ["weighted", "1", "true or false"]),
        ("click: click,", "clicks: click,", 2, ["clicks", "allowed"]),
        ("name: price", "name: item", 4, ["item", "twice"]),
        ("name: s", "nam: s", 1, ["'nam'"]),
        ("name: s", "name: s\nunique_ids: true", 2, ["unique_ids", "price"]),
        ("- {name: item,", "- item\n  - {name: item,", 4, ["keys and values"]),
    ],
)
def test_schema_file_errors_name_file_line_and_what_is_allowed(old, new, line, words):
    with pytest.raises(SchemaError) as refused:
        schema_file.parse(GOOD.replace(old, new, 1), "log.yaml")
    message = str(refused.value)
    assert message.startswith(f"log.yaml, line {line}:"), message
    for word in words:
        assert word in message


def test_schema_file_that_is_no_yaml_or_absent():
    with pytest.raises(SchemaError, match=r"log\.yaml: not YAML"):
        schema_file.parse("a: [", "log.yaml")
    with pytest.raises(SchemaError, match="empty"):
        schema_file.parse("", "log.yaml")
    with pytest.raises(FileNotFoundError, match="bundled is aliccp"):
        schema_file.load("nope")


def test_a_field_may_have_a_number_for_a_name():
    text = GOOD.replace("name: item", "name: 101", 1)
    assert schema_file.parse(text, "log.yaml").fields[0].name == "101"


def test_schemas_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        schema_file.load("aliccp").name = "other"
