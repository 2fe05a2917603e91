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
    with pytest.raises(SchemaError, match="reads column click, which is a label"):
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
    with pytest.raises(SchemaError, match=r"log\.yaml: not YAML: line \d+, column \d+: [^\n]+$"):
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


RICH = r"""name: rich
separator: "\t"
header: [user, t, item, seen, event, w, price, emb, k1, k2, D1, past]
encoding: latin-1
missing: ["", NULL, \N, -1]
conversion_without_click: drop_conversion
defaults: {group: user, side: context, kind: one, type: id}
columns:
  request: [user, t]
  click: {column: event, is: [click, purchase]}
  conversion: {column: event, is: purchase, not: [click, view]}
  weight: w
  time: t
  user: user
fields:
  - {name: user}
  - {name: item, side: impression, group: item, point_zero: true}
  - {name: title, column: seen, type: string, missing: ["0"]}
  - {name: title_words, column: seen, kind: many, type: string, value_separator: " "}
  - {name: price, type: number, scale: log1p}
  - {name: emb, type: vector, size: 8}
  - {name: tags, columns: [k1, k2], kind: many, embedding_size: 4}
  - {name: seen_before, column: past, kind: many, weight_column: D1, vocabulary: item}
"""


def test_everything_that_a_schema_can_say():
    schema = schema_file.parse(RICH, "rich.yaml")
    assert (schema.separator, schema.encoding, schema.conversion_without_click) == ("\t", "latin-1", "drop_conversion")
    columns = schema.columns
    assert columns.request_columns == ("user", "t")
    assert (columns.click_is, columns.click_not) == (("click", "purchase"), ())
    assert (columns.conversion_is, columns.conversion_not) == (("purchase",), ("click", "view"))
    assert columns.missing == schema.by_name["user"].missing == ("", "NULL", r"\N", "-1")
    assert schema.by_name["title"].missing == ("0",), "a field's own list takes the place of the log's"
    assert schema.by_name["tags"].columns == ("k1", "k2")
    assert schema.by_name["tags"].embedding_size == 4
    past = schema.by_name["seen_before"]
    assert past.weighted
    assert past.vocabulary == schema.by_name["item"].vocabulary == "item"
    assert [f.name for f in schema.fields if f.is_dense] == ["price", "emb"]
    assert schema_file.parse(schema_file.dump(schema), "again.yaml") == schema


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('separator: "\\t"', 'separator: ";;"', ["separator", "';;'", "one ASCII character"]),
        ("encoding: latin-1", "encoding: klingon", ["encoding", "klingon", "utf-8"]),
        ("drop_conversion", "ignore", ["conversion_without_click", "ignore", "count_click"]),
        ("header: [user,", "header: [user, user,", ["header", "user occurs twice"]),
        ("header: [user,", "header: [", ["header has no column user"]),
        ("request: [user, t]", "request: [user, user]", ["request", "distinct"]),
        ("is: purchase, not", "not", ["conversion", "missing is"]),
        ("not: [click, view]", "not: [purchase]", ["conversion", "'purchase'", "both"]),
        ("weight: w", "weight: event", ["weight", "event", "label"]),
        ("- {name: user}", "- {name: user, column: event}", ["user", "event", "label"]),
        ("point_zero: true", "point_zero: 1", ["point_zero", "true or false"]),
        ("scale: log1p", "scale: minmax", ["scale", "minmax", "log1p, standard"]),
        ("scale: log1p", "scale: log1p, quantiles: 5", ["either boundaries", "scale"]),
        ("size: 8", "size: 0", ["size 0", "1 to 4096"]),
        ("size: 8", "size: 8, kind: many", ["a vector is of kind one"]),
        ("size: 8", "size: 8, embedding_size: 4", ["embedding_size is for fields of ids"]),
        ("point_zero: true", "embedding_size: -1", ["embedding_size -1", "1 up to the model's"]),
        ("point_zero: true", "embedding_size: 4", ["vocabulary 'item'", "embedding_size is 4 of field item and 0 of"]),
        ("columns: [k1, k2], kind: many", "columns: [k1, k2]", ["kind one reads one column"]),
        ("columns: [k1, k2]", "columns: [k1, k1]", ["distinct"]),
        ("weight_column: D1", "weight_column: past", ["weight_column 'past'", "values"]),
        ("kind: many, weight_column: D1", "kind: many, type: string", ["vocabulary 'item'", "type id", "type string"]),
        ("defaults: {group: user,", "defaults: {name: user,", ["defaults", "unknown key 'name'"]),
        ('missing: ["", NULL, \\N, -1]', "missing: {a: 1}", ["missing", "list of texts"]),
    ],
)
def test_what_a_schema_cannot_say(old, new, words):
    assert old in RICH
    with pytest.raises(SchemaError) as refused:
        schema_file.parse(RICH.replace(old, new, 1), "rich.yaml")
    for word in ["rich.yaml, line", *words]:
        assert word in str(refused.value), str(refused.value)


def test_a_pattern_stands_for_the_columns_that_it_fits():
    text = (
        GOOD.replace("name: price", 'name: "feat_*"')
        + '  - {name: "u_*", group: u, side: context, kind: one, type: id}'
    )
    schema = schema_file.parse(text, "log.yaml")
    columns = ["click", "conversion", "item", "feat_b", "u_1", "feat_a", "u_2"]
    found = schema.resolved(columns)
    assert [f.name for f in found.fields] == ["item", "feat_b", "feat_a", "u_1", "u_2"]
    assert found.by_name["feat_a"].column == "feat_a"
    assert found.by_name["feat_a"].quantiles == 10
    assert schema_file.parse(schema_file.dump(found), "again.yaml") == found
    with pytest.raises(SchemaError, match=r"'u_\*'.*no column fits"):
        schema.resolved(columns[:4])
    every = schema_file.parse(GOOD.replace("name: price", 'name: "*"'), "log.yaml").resolved(columns)
    assert not {"click", "conversion"} & every.by_name.keys(), "labels are no features, whatever fits"
