"""What the keys of a schema mean, on small logs worked by hand: the job's records are read back."""

import glob

import pytest
from record_files import read_records

from features import names, vocabulary
from preprocess import command, file_steps
from preprocess.options import Options

HEAD = "name: t\ncolumns: {click: click, conversion: buy%s}\n"
USER = "fields:\n  - {name: user, group: user, side: context, kind: one, type: id%s}\n"
ITEM = "  - {name: item, group: item, side: impression, kind: one, type: id%s}\n"


def run(folder, text, schema, **more):
    """Records of the train split, in order of sample id, and the vocabulary."""
    (folder / "log").mkdir()
    for split in names.SPLITS:
        (folder / "log" / f"{split}.csv").write_text(text)
    (folder / "s.yaml").write_text(schema)
    settings = {"min_count": 1, "keep_useless": True, "compression": "NONE", "max_rejected": 0.0, **more}
    out = folder / "out"
    options = Options(str(folder / "log"), str(out), names.CSV, str(folder / "s.yaml"), **settings)
    command.run(options, execute=file_steps.run_in_process)
    records = [record for path in sorted(glob.glob(f"{out}/train/part-*")) for record in read_records(path)]
    return sorted(records, key=lambda record: record[names.SAMPLE_ID]), vocabulary.load(str(out / "vocabulary"))


def rows(records, key):
    return [value for record in records for value in record[key]]


@pytest.mark.parametrize(
    ("text", "columns", "user", "top"),
    [
        ("user,item,click,buy\n1,5,1.0,1.0\n2,6,0.0,0.0\n", "ABC", "", ""),
        ("user,item,click,buy\n1,5,True,True\n2,6,False,False\n", "ABC", "", ""),
        ("user,item,click,buy\n1,5,1,1\n2,6,0,\n", "ABC", "", ""),
        ("user,item,click,buy\n1.0,5,1,1\n2.00,6,0,0\n", "", ", point_zero: true", ""),
        ("user\titem\tclick\tbuy\n1\t5\t1\t1\n2\t6\t0\t0\n", "", "", 'separator: "\\t"\n'),
        ("user, item, click, buy\n1, 5, 1, 1\n2, 6, 0, 0\n", "", "", "trim: true\n"),
        ("1,5,1,1\n2,6,0,0\n", "", "", "header: [user, item, click, buy]\n"),
    ],
)
def test_spellings(text, columns, user, top, tmp_path):
    spelled = "is: ['1', '1.0', 'True']"
    labels = f"name: t\ncolumns: {{click: {{column: click, {spelled}}}, conversion: {{column: buy, {spelled}}}}}\n"
    head = labels if columns else HEAD % ""
    records, known = run(tmp_path, text, top + head + USER % user + ITEM % "")
    assert rows(records, "click") == rows(records, "conversion") == [1, 0]
    assert len(known.keys) == 4


@pytest.mark.parametrize("word", ["NULL", "\\N", "-1", "0"])
def test_missing_words(word, tmp_path):
    text = f"user,item,click,buy\n{word},5,1,1\n2,{word},0,0\n"
    schema = f"missing: [NULL, \\N, -1, '0']\n{HEAD % ''}{USER % ''}{ITEM % ', missing: []'}"
    if word != "0":
        schema = schema.replace(", missing: []", "")
    records, known = run(tmp_path, text, schema)
    fields = known.schema.by_name
    assert rows(records, "user")[0] == known.schema.missing_id(fields["user"])
    is_missing = rows(records, "item")[1] == known.schema.missing_id(fields["item"])
    assert is_missing == (word != "0"), "a field's own list takes the place of the log's"


def test_the_user_is_request_and_field(tmp_path):
    text = "user,hour,item,click,buy\n1,9,5,1,0\n1,9,6,0,0\n2,9,5,0,0\n"
    records, _ = run(tmp_path, text, HEAD % ", request: user" + USER % "" + ITEM % "")
    assert [len(record["item"]) for record in records] == [2, 1]
    assert [len(record["user"]) for record in records] == [1, 1]


def test_a_request_of_two_columns(tmp_path):
    text = "user,hour,item,click,buy\n1,9,5,1,1\n1,9,6,0,0\n1,10,5,0,0\n"
    records, _ = run(tmp_path, text, HEAD % ", request: [user, hour]" + USER % "" + ITEM % "")
    assert [len(record["item"]) for record in records] == [2, 1]


@pytest.mark.parametrize(
    ("way", "clicks", "conversions"),
    [("drop_conversion", [0, 1], [0, 1]), ("count_click", [1, 1], [1, 1]), ("keep", [0, 1], [1, 1])],
)
def test_conversions_without_a_click(way, clicks, conversions, tmp_path):
    text = "user,item,click,buy\n1,5,0,1\n2,6,1,1\n"
    schema = f"conversion_without_click: {way}\n" + HEAD % "" + USER % "" + ITEM % ""
    records, _ = run(tmp_path, text, schema)
    assert (rows(records, "click"), rows(records, "conversion")) == (clicks, conversions)


def test_conversions_without_a_click_are_rejected_unless_the_schema_says_otherwise(tmp_path):
    with pytest.raises(command.TooManyRejectsError, match="conversion_without_click"):
        run(tmp_path, "user,item,click,buy\n1,5,0,1\n2,6,1,1\n", HEAD % "" + USER % "" + ITEM % "")


def test_fields_of_one_vocabulary_share_ids(tmp_path):
    text = "user,past,item,click,buy\n1,5|6,7,1,1\n2,7,5,0,0\n"
    past = "  - {name: past, group: user, side: context, kind: many, type: id, vocabulary: item}\n"
    records, known = run(tmp_path, text, HEAD % "" + USER % "" + past + ITEM % "")
    assert records[0]["item"] == records[1]["past"]
    assert records[0]["past"][0] == records[1]["item"][0]
    assert len(known.keys) == 2 + 3


def test_an_id_of_two_fields_is_named_where_ids_are_unique(tmp_path):
    schema = "unique_ids: true\n" + HEAD % "" + USER % "" + ITEM % ""
    with pytest.raises(ValueError, match="id 5 occurs in field user and in field item"):
        run(tmp_path, "user,item,click,buy\n5,5,1,1\n2,6,0,0\n", schema)


def test_lists_over_columns_weights_of_their_own_and_one_column_twice(tmp_path):
    text = "user,k1,k2,item,tagw,title,click,buy\n1,3,4,5,0.5,red wool,1,1\n2,,3,6,2,blue,0,0\n"
    more = (
        "  - {name: keys, columns: [k1, k2], group: user, side: context, kind: many, type: id}\n"
        "  - {name: tag, column: item, weight_column: tagw, group: item, side: impression, kind: one, type: id}\n"
        "  - {name: title, group: item, side: impression, kind: one, type: string}\n"
        '  - {name: words, column: title, value_separator: " ", group: item, side: impression, kind: many, '
        "type: string}\n"
    )
    records, _ = run(tmp_path, text, HEAD % "" + USER % "" + ITEM % "" + more)
    assert [len(record["keys"]) for record in records] == [2, 1]
    assert rows(records, "tag/weight") == [0.5, 2.0]
    assert rows(records, "words/length") == [2, 1]


def test_weights_and_users_of_impressions(tmp_path):
    text = "user,item,w,click,buy\n1,5,2.5,1,1\n1,6,1,0,0\n,6,1,0,0\n"
    records, _ = run(tmp_path, text, HEAD % ", weight: w, user: user" + USER % "" + ITEM % "")
    assert rows(records, names.SAMPLE_WEIGHT) == [2.5, 1.0, 1.0]
    first, second, nobody = rows(records, names.SAMPLE_USER)
    assert first == second != 0
    assert nobody == 0
    with pytest.raises(command.TooManyRejectsError, match="bad_weight"):
        (tmp_path / "bad").mkdir()
        run(tmp_path / "bad", text.replace("2.5", "-2"), HEAD % ", weight: w" + USER % "" + ITEM % "")


def test_numbers_as_they_are_and_vectors(tmp_path):
    text = "user,item,age,price,emb,click,buy\n1,5,3,10,1;2,1,1\n2,6,,20,,0,0\n"
    more = (
        "  - {name: age, group: user, side: context, kind: one, type: number, scale: log1p}\n"
        "  - {name: price, group: item, side: impression, kind: one, type: number, scale: standard}\n"
        '  - {name: emb, group: item, side: impression, kind: one, type: vector, size: 2, value_separator: ";"}\n'
    )
    records, known = run(tmp_path, text, HEAD % "" + USER % "" + ITEM % "" + more)
    assert rows(records, "age")[0] == pytest.approx(1.3862944)
    assert rows(records, "age")[1] != rows(records, "age")[1], "NaN stands for no value"
    assert rows(records, "price") == pytest.approx([-1, 1], abs=1e-3)
    assert rows(records, "emb")[:2] == [1, 2]
    assert known.moments["price"].deviation == pytest.approx(5, rel=1e-3)
    with pytest.raises(command.TooManyRejectsError, match="wrong_vector_size"):
        (tmp_path / "bad").mkdir()
        run(tmp_path / "bad", text.replace("1;2", "1;2;3"), HEAD % "" + USER % "" + ITEM % "" + more)


def test_patterns_take_the_columns_of_the_log(tmp_path):
    text = "user,f_1,f_2,item,click,buy\n1,3,4,5,1,1\n2,1,3,6,0,0\n"
    pattern = '  - {name: "f_*", group: user, side: context, kind: one, type: id}\n'
    records, known = run(tmp_path, text, HEAD % "" + USER % "" + pattern + ITEM % "")
    assert [field.name for field in known.schema.fields] == ["user", "f_1", "f_2", "item"]
    assert set(records[0]) >= {"f_1", "f_2"}
