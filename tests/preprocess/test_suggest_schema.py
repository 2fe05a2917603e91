"""python -m preprocess.suggest_schema, on logs that are written here."""

import bz2
import gzip
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from features import schema_file
from preprocess import suggest_schema
from preprocess.suggest.columns import NoLabelError
from preprocess.suggest.sample import SampleError

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    command = [sys.executable, "examples/own_table/generate.py", f"--output_dir={folder}", "--searches=800"]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    return folder


def suggested(path, **labels):
    return schema_file.parse(suggest_schema.suggest([str(path)], 10_000, **labels), "suggested")


def test_a_table_of_30_columns(shop):
    text = suggest_schema.suggest([str(shop)], 10_000)
    schema = schema_file.parse(text, "suggested")
    columns = schema.columns
    assert (columns.click, columns.conversion, columns.request) == ("clicked", "purchased", "search_id")
    assert (columns.time, columns.user) == ("event_time", "user_id")
    fields = schema.by_name
    assert {name for name, field in fields.items() if field.is_context} == {
        "user_id",
        "age",
        "gender",
        "city",
        "device",
        "member_days",
        "mean_basket",
        "past_categories",
        "past_brands",
        "newsletter",
        "loyalty_level",
    }
    assert (fields["item_id"].type, fields["brand"].type, fields["price"].type) == ("id", "string", "number")
    assert fields["seller"].type == "string", "zeros in front would be lost"
    assert fields["past_brands"].weighted
    assert (fields["tags"].kind, fields["tags"].value_separator) == ("many", ";")
    assert (fields["title"].kind, fields["title"].value_separator) == ("many", " ")
    assert (fields["picture"].type, fields["picture"].size) == ("vector", 8)
    assert (fields["gender"].missing, fields["loyalty_level"].missing) == (("NULL",), ("-1",))
    assert not {"revenue", "currency", "search_id", "event_time", "clicked", "purchased"} & fields.keys()
    assert "revenue: left out, it has values only where conversion is 1" in text
    assert "# 89" in text and "such as" in text, "coverage and examples stand beside each field"


CELLS = "12,25,1,1\n4,24,0,0\n1,25,1,0\n7,16,0,0\n"


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("user,item,click,buy\n" + CELLS, lambda s: s.separator == "," and not s.header),
        ("user\titem\tclick\tbuy\n" + CELLS.replace(",", "\t"), lambda s: s.separator == "\t"),
        ("user;item;click;buy\n" + CELLS.replace(",", ";"), lambda s: s.separator == ";"),
        ("user, item, click, buy\n" + CELLS.replace(",", ", "), lambda s: s.trim and s.columns.conversion == "buy"),
        ("user,item,click,buy\n" + CELLS.replace("1,1\n", "1.0,1.0\n"), lambda s: "1.0" in s.columns.click_is),
        ("user,item,click,buy\n" + CELLS.replace("0,0\n", "0,\n"), lambda s: "" in s.columns.conversion_not),
        ("user,item,click,buy\n" + CELLS.replace("12,", "12.0,"), lambda s: s.by_name["user"].point_zero),
        ("user,item,click,buy\n" + CELLS.replace("12,", "\\N,"), lambda s: s.by_name["user"].missing == ("\\N",)),
        ("user,item,event\n1,2,view\n1,3,click\n2,3,purchase\n2,2,view\n", lambda s: s.columns.click == "event"),
        ("user,item,click,buy\n" + CELLS.replace("24", "4 " * 200_000), lambda s: "item" in s.by_name),
        ("usér,item,click,buy\n" + CELLS, lambda s: "usér" in s.by_name),
    ],
)
def test_spellings_of_tables(text, check, tmp_path):
    (tmp_path / "log.csv").write_text(text, encoding="utf-8")
    assert check(suggested(tmp_path / "log.csv"))


def test_other_encodings_gzip_and_parquet(tmp_path):
    (tmp_path / "log.csv").write_bytes(("名,item,click,buy\n" + CELLS).encode("gb18030"))
    assert suggested(tmp_path / "log.csv").encoding == "gb18030"
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(("user,item,click,buy\n" + CELLS).encode()))
    assert suggested(tmp_path / "log.csv.gz").columns.click == "click"
    (tmp_path / "log.csv.bz2").write_bytes(bz2.compress(("user,item,click,buy\n" + CELLS).encode()))
    assert suggested(tmp_path / "log.csv.bz2").columns.click == "click"
    table = pa.table({"user": [1, 2], "tags": [["a"], ["b", "a"]], "click": [True, False], "buy": [1.0, 0.0]})
    parquet.write_table(table, tmp_path / "log.parquet")
    found = suggested(tmp_path / "log.parquet")
    assert found.by_name["tags"].kind == "many"
    assert found.columns.click_is == ("true",)


def test_columns_that_folders_name(tmp_path):
    for day in (3, 4):
        (tmp_path / f"dt=2026-01-0{day}").mkdir()
        (tmp_path / f"dt=2026-01-0{day}" / "part-0.csv").write_text("user,item,click,buy\n" + CELLS)
    assert suggested(tmp_path).columns.time == "dt"


def test_a_log_without_a_line_of_names(tmp_path):
    (tmp_path / "log.csv").write_text(CELLS)
    with pytest.raises(NoLabelError, match=r"--click=COLUMN.*column_3, column_4"):
        suggested(tmp_path / "log.csv")
    found = suggested(tmp_path / "log.csv", click="column_3", conversion="column_4")
    assert found.header == ("column_1", "column_2", "column_3", "column_4")
    with pytest.raises(NoLabelError, match=r"--click=column_1: its values are not two"):
        suggested(tmp_path / "log.csv", click="column_1")
    with pytest.raises(NoLabelError, match=r"--click=nope: no such column"):
        suggested(tmp_path / "log.csv", click="nope")


def test_what_is_no_log_is_said(tmp_path):
    with pytest.raises(SampleError, match="no such file"):
        suggested(tmp_path / "nothing")
    with pytest.raises(SampleError, match="no file to read"):
        suggested(tmp_path)
    (tmp_path / "log.csv").write_text("")
    with pytest.raises(SampleError, match="empty"):
        suggested(tmp_path / "log.csv")
    (tmp_path / "log.csv").write_bytes(b'user,item,click,buy\n1,2\r3,0,0\r\r4\n"\x00' + b"x" * (1 << 21))
    with pytest.raises(SampleError, match=r"log\.csv: "):
        suggested(tmp_path / "log.csv")
    (tmp_path / "log.parquet").write_text("no parquet")
    with pytest.raises(SampleError, match="both CSV and Parquet"):
        suggested(tmp_path)
    with pytest.raises(SampleError, match="not a readable Parquet"):
        suggested(tmp_path / "log.parquet")


def test_the_command_writes_a_file_once(shop, tmp_path):
    out = tmp_path / "shop.yaml"
    command = [sys.executable, "-m", "preprocess.suggest_schema", str(shop), f"--output={out}"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert schema_file.load(str(out)).columns.click == "clicked"
    again = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert again.returncode == 1
    assert "the file is there" in again.stderr
    assert "Traceback" not in again.stderr
