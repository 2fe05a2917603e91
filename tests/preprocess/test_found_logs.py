"""Logs as other people write them, through the job and a client: each is a situation that once went wrong."""

import glob
import json
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from record_files import read_records

from features import names, raw_requests, schema_file
from preprocess import command, file_steps
from preprocess.options import Options
from preprocess.report import report

SCHEMA = """
name: t
columns: {click: click, conversion: buy}
fields:
  - {name: user, group: user, side: context, kind: one, type: id}
  - {name: item, group: item, side: impression, kind: one, type: id}
"""
HEADER = "user,item,click,buy\n"
ITEM = "item, group: item, side: impression, kind: one, type: id"
USER = "user, group: user, side: context, kind: one, type: id"
TITLES = SCHEMA.replace(ITEM, "title, group: item, side: impression, kind: one, type: string")
TITLE_HEADER = "user,title,click,buy\n"


def write(folder, files, schema=SCHEMA):
    log = folder / "log"
    log.mkdir()
    (folder / "schema.yaml").write_text(schema)
    for name, data in files.items():
        (log / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, pa.Table):
            pq.write_table(data, log / name)
        else:
            (log / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return log


def run(folder, input_format=names.CSV, **more):
    settings = {"min_count": 1, "max_rejected": 0.5, "keep_useless": True, **more}
    options = Options(str(folder / "log"), str(folder / "out"), input_format, str(folder / "schema.yaml"), **settings)
    return command.run(options, execute=file_steps.run_in_process)


def client(folder, split="test", input_format=names.CSV):
    """Requests, and the errors of rows that are left out."""
    broken = []
    schema = schema_file.load(str(folder / "schema.yaml"))
    return list(raw_requests.read(str(folder / "log"), split, schema, input_format, broken.append)), broken


def sample_ids(folder, split):
    paths = glob.glob(names.records_pattern(str(folder / "out"), split))
    return sorted(i for path in paths for record in read_records(path) for i in record[names.SAMPLE_ID])


def rejected(folder):
    lines = [line for path in (folder / "out" / "rejected").rglob("*.jsonl") for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines]


def rows(count, item=lambda n: n % 9, first=0):
    return "".join(f"{n % 5},{item(n)},{n % 2},{int(n % 4 == 1)}\n" for n in range(first, first + count))


def test_a_split_word_inside_of_a_file_name(tmp_path):
    write(tmp_path, {"shop_train.csv": HEADER + rows(300), "shop_test.csv": HEADER + rows(100)})
    found = run(tmp_path).splits
    assert (found["train"]["impressions"], found["test"]["impressions"]) == (300, 100)


def test_sample_ids_are_the_clients_for_any_splits(tmp_path):
    write(tmp_path, {f"{split}.csv": HEADER + rows(40) for split in ("train", "val", "test")})
    run(tmp_path, splits=("train", "val", "test"))
    by_split = {split: sample_ids(tmp_path, split) for split in ("train", "val", "test")}
    for split, ids in by_split.items():
        assert sorted(i for request in client(tmp_path, split)[0] for i in request.sample_ids) == ids
    run(tmp_path, overwrite=True)
    assert {split: sample_ids(tmp_path, split) for split in ("train", "test")} == {
        split: by_split[split] for split in ("train", "test")
    }


@pytest.mark.parametrize("second", ['19,5" pen 4,0,0\n', '19,pen 5",0,0\n', "19,pen,0,0\n"])
def test_a_stray_quote_costs_its_own_line(tmp_path, second):
    lines = rows(1000, lambda n: f"pen {n % 9}").splitlines(keepends=True)
    lines[9], lines[499] = '9,"6 inch nail,0,0\n', second
    write(tmp_path, {"log.csv": TITLE_HEADER + "".join(lines)}, TITLES)
    found = run(tmp_path, block_size=3000)
    assert found.rejected == {"open_quote": 1}
    assert sum(split["impressions"] for split in found.splits.values()) == 999
    (row,) = rejected(tmp_path)
    assert row["row"] == lines[9] and row["offset"] == len(TITLE_HEADER) + sum(map(len, lines[:9]))
    requests, broken = client(tmp_path)
    assert sum(len(request.sample_ids) for request in requests) == 999
    assert [(error.reason, error.line, error.offset) for error in broken] == [("open_quote", 11, row["offset"])]


def test_quotes_line_breaks_and_separators_in_cells(tmp_path):
    cells = ['"two\nlines"', '"a ""quoted"" word"', '"a, b"', "plain", '5" pen', '""', '"\r\n"']
    text = "".join(f"{n},{cells[n % len(cells)]},{n % 2},0\n" for n in range(200))
    write(tmp_path, {"train.csv": TITLE_HEADER + text, "test.csv": TITLE_HEADER + text}, TITLES)
    found = run(tmp_path, block_size=64)
    assert found.rejected == {} and found.splits["test"]["impressions"] == 200
    requests, broken = client(tmp_path)
    words = ["two\nlines", 'a "quoted" word', "a, b", "plain", '5" pen', None, "\r\n"]
    assert not broken
    assert [request.impressions["title"] for request in requests] == [
        [[words[n % 7]] if words[n % 7] else []] for n in range(200)
    ]
    assert sample_ids(tmp_path, "test") == sorted(i for request in requests for i in request.sample_ids)


def test_a_context_that_differs_names_its_column(tmp_path):
    tags = "  - {name: tags, group: user, side: context, kind: many, type: id, weighted: true}\n"
    age = "  - {name: age, column: years, group: user, side: context, kind: one, type: number, scale: log1p}\n"
    schema = SCHEMA.replace("columns: {", "columns: {request: visit, ") + tags + age
    first = ["v,1,3:1|4:2,30,5,1,1"] * 4 + ["w,1,,,5,0,0", "w,1,,,5,0,0"]
    others = {
        "v,2,3:1|4:2,30,5,0,0": "user",
        "v,1,3:1|4:2.5,30,5,0,0": "tags",
        "v,1,4:2|3:1,30,5,0,0": "tags",
        "v,1,3:1,31,5,0,0": "tags",
        "v,1,3:1|4:2,,5,0,0": "years",
        "w,1,,7,5,0,0": "years",
    }
    lines = ["visit,user,tags,years,item,click,buy", *first, *others]
    text = "\n".join(lines) + "\n"
    write(tmp_path, {"train.csv": text, "test.csv": text}, schema)
    for block_size in (50, 1 << 20):
        run(tmp_path, max_rejected=1.0, overwrite=True, block_size=block_size)
        found = [(row["row"].strip(), row["reason"], row["column"]) for row in rejected(tmp_path)]
        assert set(found) == {(row, "context_mismatch", column) for row, column in others.items()}
        assert len(found) == 2 * len(others)


def test_a_rejected_row_names_its_column(tmp_path):
    text = HEADER + "1,2,0,0\n1,x,0,0\n-1,3,0,0\n1,2,7,0\n1,2\n"
    write(tmp_path, {"train.csv": text, "test.csv": text})
    run(tmp_path, max_rejected=1.0)
    found = {(row["reason"], row["column"]) for row in rejected(tmp_path)}
    wanted = {("bad_feature", "item"), ("id_out_of_range", "user"), ("wrong_column_count", "")}
    assert found == wanted | {("click_not_binary", "click")}
    assert {(error.reason, error.column) for error in client(tmp_path)[1]} == wanted
    assert "column item" in str(client(tmp_path)[1][0])


def test_ten_rejected_rows_of_the_commonest_reason_are_shown(tmp_path):
    text = HEADER + rows(40) + "".join(f"{n},bad{n},0,0\n" for n in range(15)) + "1,2\n" * 3
    write(tmp_path, {"train.csv": text, "test.csv": HEADER + rows(9)})
    with pytest.raises(command.TooManyRejectsError) as raised:
        run(tmp_path, max_rejected=0.01)
    shown = str(raised.value).splitlines()[1:]
    assert len(shown) == 10 and all("bad_feature (column item): " in line for line in shown)


def test_a_weighted_list_that_is_a_map(tmp_path):
    schema = SCHEMA.replace(USER, "hist, group: user, side: context, kind: many, type: id, weighted: true")
    columns = {
        "hist": pa.array(
            [[(n % 5, 0.5), (7, 2.0)] if n % 3 else None for n in range(40)], pa.map_(pa.int64(), pa.float32())
        ),
        "item": [n % 9 for n in range(40)],
        "click": [n % 2 for n in range(40)],
        "buy": [int(n % 4 == 1) for n in range(40)],
    }
    write(tmp_path, {"train.parquet": pa.table(columns), "test.parquet": pa.table(columns)}, schema)
    found = run(tmp_path, names.PARQUET)
    assert found.rejected == {} and found.splits["test"]["impressions"] == 40
    requests, _ = client(tmp_path, input_format=names.PARQUET)
    assert requests[1].context == {"hist": [1, 7], "hist/weight": [0.5, 2.0]} and requests[0].context["hist"] == []


def test_ids_in_columns_of_floats_are_exact_or_rejected(tmp_path):
    users = [1.0, None, 2.0**53 - 1, 2.0**53, 1e10]
    columns = {
        "user": users,
        "item": pa.array([1, 2, 3, 4, 2**24], pa.float32()),
        "click": [1, 0, 0, 1, 0],
        "buy": [0] * 5,
    }
    write(tmp_path, {name: pa.table(columns) for name in ("train.parquet", "test.parquet")})
    run(tmp_path, names.PARQUET, max_rejected=1.0)
    assert sorted({(row["offset"], row["reason"], row["column"]) for row in rejected(tmp_path)}) == [
        (3, "inexact_id", "user"),
        (4, "inexact_id", "item"),
    ]
    requests, broken = client(tmp_path, input_format=names.PARQUET)
    assert [request.context["user"] for request in requests] == [[1], [], [2**53 - 1]] and len(broken) == 2


def test_parts_without_rows(tmp_path):
    """An empty part, one of a header alone, and a Parquet file without row groups."""
    write(
        tmp_path,
        {"train/0.csv": HEADER + rows(20), "train/1.csv": "", "train/2.csv": HEADER, "test.csv": HEADER + rows(9)},
    )
    assert run(tmp_path).splits["train"]["impressions"] == 20
    assert len(client(tmp_path, "train")[0]) == 20
    table = pa.table({name: [n % 2 for n in range(8)] for name in ("user", "item", "click", "buy")})
    (tmp_path / "parquet").mkdir()
    write(tmp_path / "parquet", {"train/0.parquet": table, "test.parquet": table})
    pq.ParquetWriter(tmp_path / "parquet" / "log" / "train" / "1.parquet", table.schema).close()
    assert run(tmp_path / "parquet", names.PARQUET).splits["train"]["impressions"] == 8


def test_a_float_request_key_does_not_split_requests(tmp_path):
    schema = SCHEMA.replace("columns: {", "columns: {request: visit, ")
    columns = {"visit": [1e10, 1e10, 3.0], "user": [1, 1, 2], "item": [1, 2, 3], "click": [1, 0, 0], "buy": [0, 0, 0]}
    write(tmp_path, {name: pa.table(columns) for name in ("train.parquet", "test.parquet")}, schema)
    assert run(tmp_path, names.PARQUET).splits["test"]["requests"] == 2
    assert [len(r.sample_ids) for r in client(tmp_path, input_format=names.PARQUET)[0]] == [2, 1]


def test_elements_of_lists_are_not_cut_again(tmp_path):
    schema = TITLES.replace("kind: one, type: string", "kind: many, type: string")
    columns = {"user": [1, 1], "title": [["a|b", "c"], ["d"]], "click": [1, 0], "buy": [0, 0]}
    write(tmp_path, {name: pa.table(columns) for name in ("train.parquet", "test.parquet")}, schema)
    assert run(tmp_path, names.PARQUET).fields["title"]["splits"]["test"]["values"] == 3
    assert client(tmp_path, input_format=names.PARQUET)[0][0].impressions["title"] == [["a|b", "c"]]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_large_cells_and_files_of_one_line(tmp_path, newline):
    schema = TITLES.replace("kind: one, type: string", "kind: many, type: id")
    cell = "|".join(str(n % 100) for n in range(300_000))
    text = f'user,title,click,buy{newline}1,{cell},1,0{newline}2,"{cell}",0,0'
    write(tmp_path, {"train.csv": text, "test.csv": text}, schema)
    assert run(tmp_path, block_size=5000).splits["test"]["impressions"] == 2
    assert [len(r.impressions["title"][0]) for r in client(tmp_path)[0]] == [300_000, 300_000]
    (tmp_path / "log" / "test.csv").write_bytes(b"x" * (1 << 21))
    with pytest.raises(ValueError, match=r"test\.csv: no line end in the first"):
        run(tmp_path, overwrite=True)


def test_a_request_of_many_rows(tmp_path):
    schema = SCHEMA.replace("columns: {", "columns: {request: visit, ")
    count = 60_000
    lines = "".join(f"1,7,{n % 50},{n % 2},0\n" for n in range(count))
    write(tmp_path, {name: "visit,user,item,click,buy\n" + lines for name in ("train.csv", "test.csv")}, schema)
    assert run(tmp_path, piece_size=1 << 20).splits["test"]["impressions"] == count
    requests, broken = client(tmp_path)
    assert [len(request.sample_ids) for request in requests] == [count] and not broken


def test_more_unknown_fields_than_sixteen_bits(tmp_path):
    """Ali-CCP: names of unknown fields must never wrap into known ones."""
    count = 70_000
    raw = tmp_path / "raw"
    raw.mkdir()
    for split in names.SPLITS:
        lines = (f"{n},0,0,k,2,u{n}\x021\x031.0\x01205\x022\x031.0\n" for n in range(count))
        (raw / names.skeleton_file(split)).write_text("".join(lines))
        (raw / names.common_file(split)).write_text("k,1,101\x02900\x031.0\n")
    options = Options(str(raw), str(tmp_path / "out"), min_count=1, keep_useless=True)
    found = command.run(options, execute=file_steps.run_in_process)
    assert found.input["unknown_field_names"] == count and len(found.input["unknown_fields"]) == 100
    assert found.fields["205"]["splits"]["test"]["values"] == count
    assert all(found.fields[name]["splits"]["test"]["values"] == 0 for name in ("206", "207", "853"))


def test_other_encodings_and_separators(tmp_path):
    keys = 'separator: "\\t"\nencoding: latin-1\nheader: [user, title, click, buy]\n'
    schema = TITLES.replace("name: t\n", "name: t\n" + keys)
    text = "1\tcafé\t1\t0\n2\tthé, vert\t0\t0\n".encode("latin-1")
    write(tmp_path, {"train.tsv": text, "test.tsv": text}, schema)
    assert run(tmp_path).splits["test"]["impressions"] == 2
    assert [r.impressions["title"] for r in client(tmp_path)[0]] == [[["café"]], [["thé, vert"]]]
    (tmp_path / "log" / "test.tsv").write_bytes("1\tx\t1\t0\n".encode("utf-16"))
    with pytest.raises(ValueError, match=r"test\.tsv: is UTF-16"):
        run(tmp_path, overwrite=True)


def test_mistakes_of_input_are_one_line_of_the_command(tmp_path):
    write(tmp_path, {"train_eval.csv": HEADER + rows(5), "test.csv": HEADER + rows(5)})
    flags = [f"--input_dir={tmp_path}/log", f"--output_dir={tmp_path}/out", "--input_format=csv"]
    arguments = [sys.executable, "-m", "preprocess", *flags, f"--schema={tmp_path}/schema.yaml"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "train_eval.csv: is named for the splits train and eval" in done.stderr


def test_numbers_of_the_job_are_the_clients(tmp_path):
    schema = SCHEMA.replace(ITEM, "item, group: item, side: impression, kind: one, type: number, boundaries: [0.5]")
    columns = {"user": [1, 2, 3], "item": pa.array([0.1, None, 3e38]), "click": [1, 0, 0], "buy": [0, 0, 0]}
    write(tmp_path, {name: pa.table(columns) for name in ("train.parquet", "test.parquet")}, schema)
    assert run(tmp_path, names.PARQUET).fields["item"]["splits"]["test"]["values"] == 2
    values = [r.impressions["item"][0] for r in client(tmp_path, input_format=names.PARQUET)[0]]
    assert values == [[0.1], [], [3e38]] and np.float32(values[2][0]) < np.inf


TIMES = SCHEMA.replace("columns: {", "columns: {request: visit, time: at, ")


def timed(spelled):
    """Eight days of six rows; each visit spans two days."""
    lines = [f"v{(n + 3) // 6},{(n + 3) // 6},{n % 4},{spelled(1767225600 + n * 14400)},{n % 2},0\n" for n in range(48)]
    return "visit,user,item,at,click,buy\n" + "".join(lines)


def iso(seconds):
    return str(np.datetime64(seconds, "s"))


@pytest.mark.parametrize(
    "spelled",
    [str, lambda s: str(s * 1000), iso, lambda s: iso(s) + "Z", lambda s: iso(s) + "+00:00", lambda s: f"{s}.5"],
)
def test_a_log_is_split_by_time(tmp_path, spelled):
    write(tmp_path, {"log.csv": timed(spelled)}, TIMES)
    found = run(tmp_path, test_from="2026-01-07", block_size=200)
    assert {split: numbers["impressions"] for split, numbers in found.splits.items()} == {"train": 36, "test": 12}
    assert all(numbers["impressions_without_context"] == 0 for numbers in found.splits.values())
    assert found.rejected == {}
    assert found.days["2026-01-03"] | {"conversion_rate": 0} == {
        "impressions": 6,
        "clicks": 3,
        "conversions": 0,
        "click_rate": 0.5,
        "conversion_rate": 0,
    }
    assert list(found.days) == [f"2026-01-0{day}" for day in range(1, 9)]
    page = (tmp_path / "out" / "report" / "report.html").read_text()
    assert "By day" in page and "<td>2026-01-08</td>" in page
    assert "each request fell to one by its time, --test_from=2026-01-07" in report.summary(found)


@pytest.mark.parametrize("kind", [pa.timestamp("ns"), pa.timestamp("ms", "Asia/Tokyo"), pa.date32(), pa.int64()])
def test_times_in_parquet(tmp_path, kind):
    seconds = pa.array([1767225600 + n * 43200 for n in range(16)], pa.timestamp("s"))
    at = seconds.cast(pa.int64()) if kind == pa.int64() else seconds.cast(kind)
    columns = {
        "visit": range(16),
        "user": range(16),
        "item": [n % 3 for n in range(16)],
        "click": [n % 2 for n in range(16)],
    }
    columns = {name: list(found) for name, found in columns.items()} | {"buy": [0] * 16, "at": at}
    write(tmp_path, {"log.parquet": pa.table(columns)}, TIMES)
    assert run(tmp_path, names.PARQUET, test_from="2026-01-07").splits["test"]["impressions"] == 4


@pytest.mark.parametrize("spelled", ["dt=2026-01-0{}", "dt=2026010{}", "dt=2026-01-0{}%2008%3A30%3A00"])
@pytest.mark.parametrize("input_format", [names.CSV, names.PARQUET])
def test_folders_named_for_values_are_columns(tmp_path, spelled, input_format):
    place = "  - {name: place, column: hour, group: place, side: context, kind: one, type: id}\n"
    schema = SCHEMA.replace("columns: {", "columns: {time: dt, ") + place
    folders = [f"{spelled.format(day)}/hour={'__HIVE_DEFAULT_PARTITION__' if day == 1 else day}" for day in range(1, 5)]
    columns = {"user": [1, 2], "item": [3, 4], "click": [1, 0], "buy": [1, 0]}
    made = pa.table(columns) if input_format == names.PARQUET else HEADER + "1,3,1,1\n2,4,0,0\n"
    write(tmp_path, {f"{folder}/part-0.{input_format}": made for folder in folders}, schema)
    found = run(tmp_path, input_format, test_from="2026-01-04")
    assert {split: numbers["impressions"] for split, numbers in found.splits.items()} == {"train": 6, "test": 2}
    assert list(found.days) == [f"2026-01-0{day}" for day in range(1, 5)]
    assert found.fields["place"]["splits"]["train"]["coverage"] == pytest.approx(4 / 6)
    requests, broken = client(tmp_path, input_format=input_format)
    assert not broken
    assert [r.context["place"] for r in requests] == [[], [], [2], [2], [3], [3], [4], [4]]


def test_a_column_of_the_file_goes_before_its_folders(tmp_path):
    write(tmp_path, {"user=8/train.csv": HEADER + rows(9), "user=8/test.csv": HEADER + rows(9)})
    run(tmp_path)
    assert {value for request in client(tmp_path)[0] for value in request.context["user"]} == set(range(5))


def test_a_part_of_a_log_knows_its_folders_and_not_where_the_log_is(tmp_path):
    home = tmp_path / "run=5"
    home.mkdir()
    schema = SCHEMA.replace("name: user", "name: user, column: day")
    log = write(
        home, {"day=3/train.csv": "item,click,buy\n1,1,1\n2,0,0\n", "day=3/test.csv": "item,click,buy\n1,0,0\n"}, schema
    )
    parsed = schema_file.load(str(home / "schema.yaml"))
    (request,) = raw_requests.read(str(log / "day=3"), "test", parsed, names.CSV)
    assert request.context["user"] == [3]
    (home / "schema.yaml").write_text(SCHEMA.replace("name: user", "name: user, column: run"))
    with pytest.raises(ValueError, match=r"no column run, which the schema names; the file has item, click, buy, day"):
        run(home)


def test_a_file_of_other_bytes_is_named_and_not_shown(tmp_path):
    write(tmp_path, {"train.csv": "\x00" * 5000 + "\n", "test.csv": HEADER + rows(9)})
    with pytest.raises(ValueError, match=r"train\.csv: no column .*the file has '\\x00") as raised:
        run(tmp_path)
    assert len(str(raised.value)) < 600 and str(raised.value).isprintable()


@pytest.mark.parametrize(
    ("number", "day"),
    [(20260107, "2026-01-07"), (20240229, "2024-02-29"), (20230229, "1970-08-23"), (20261301, "1970-08-23")],
)
def test_eight_digits_that_are_a_date_are_that_day(tmp_path, number, day):
    write(tmp_path, {"log.csv": timed(lambda seconds: str(number))}, TIMES)
    assert list(run(tmp_path).days) == [day]


@pytest.mark.parametrize(
    ("columns", "kind", "said"),
    [
        ("time: at, ", pa.time32("s"), "column at is time32[ms]; columns: time cannot be read of it"),
        ("time: at, ", pa.list_(pa.int64()), "column at is list<element: int64>; columns: time cannot be read of it"),
        ("weight: at, ", pa.timestamp("s"), "column at is timestamp[ms]; columns: weight cannot be read of it"),
        ("user: at, ", pa.struct([("a", pa.int64())]), "column at is struct<a: int64>; columns: user cannot be read"),
    ],
)
def test_columns_that_cannot_say_when_who_or_how_much_are_refused(tmp_path, columns, kind, said):
    made = {name: [1, 2] for name in ("user", "item", "click", "buy")} | {"at": pa.nulls(2, kind)}
    write(tmp_path, {"log.parquet": pa.table(made)}, SCHEMA.replace("columns: {", "columns: {" + columns))
    with pytest.raises(ValueError, match=re.escape(said)) as raised:
        run(tmp_path, names.PARQUET)
    assert "log.parquet" in str(raised.value) and "\n" not in str(raised.value)


def test_a_time_that_is_none_is_rejected_with_its_column(tmp_path):
    text = timed(str) + "w1,1,1,yesterday,0,0\nw2,1,1,,0,0\n"
    write(tmp_path, {"log.csv": text}, TIMES)
    run(tmp_path, test_from="2026-01-07")
    assert [(row["reason"], row["column"]) for row in rejected(tmp_path)] == [("bad_time", "at")] * 2


@pytest.mark.parametrize(
    ("schema", "files", "message"),
    [
        (SCHEMA, {"log.csv": HEADER + rows(9)}, "names no column with the time"),
        (TIMES, {"train.csv": timed(str), "test.csv": timed(str)}, "test.csv is named for a split already"),
    ],
)
def test_splitting_by_time_needs_times_and_one_log(tmp_path, schema, files, message):
    write(tmp_path, files, schema)
    with pytest.raises(ValueError, match=message):
        run(tmp_path, test_from="2026-01-07")
    with pytest.raises(ValueError, match="--test_from=soon: allowed is a date"):
        run(tmp_path, test_from="soon")


BOUGHT_AT = """
name: t
columns: {click: click, conversion: buy, time: at, click_time: clicked_at, conversion_time: bought_at}
fields:
  - {name: user, group: user, side: context, kind: one, type: id}
  - {name: item, group: item, side: impression, kind: one, type: id}
"""
BOUGHT_HEADER = "user,item,click,buy,at,clicked_at,bought_at\n"
# What came how late after a click of that day: (day of the click, hours to the conversion; None: none).
CLICKS = [(1, 1), (1, 47), (1, 49), (2, 30), (3, 40), (3, None), (4, 1), (4, 25), (4, None)]


def bought(clicks=CLICKS):
    lines = []
    for number, (day, hours) in enumerate(clicks):
        click = np.datetime64(f"2026-01-0{day}T12", "s")
        conversion = "" if hours is None else str(click + np.timedelta64(hours, "h"))
        lines.append(f"{number},{number},1,{0 if hours is None else 1},{click},{click},{conversion}\n")
        lines.append(f"{number},{number + 50},0,0,{click},never,\n")
    return BOUGHT_HEADER + "".join(lines)


@pytest.mark.parametrize(
    ("settings", "impressions", "conversions", "told"),
    [
        # All of the log.
        ({}, 18, 7, None),
        # That of 49 hours is late.
        ({"conversion_window": "2d"}, 18, 6, {"late_conversions": 1, "open_clicks": 0}),
        # Written at noon of the 5th, so that of 25 hours is not in it; windows of clicks from the 3rd on are open.
        (
            {"conversion_window": "48h", "log_cut": "2026-01-05T12:00"},
            18,
            5,
            {
                "late_conversions": 1,
                "conversions_after_cut": 1,
                "open_clicks": 5,
                "open_clicks_without_conversion": 3,
                "open_share": 5 / 9,
            },
        ),
        # Without the impressions of the last two days none is open.
        (
            {"conversion_window": "2d", "log_cut": "2026-01-05T12:00", "hold_back": "2d"},
            8,
            3,
            {"open_clicks": 0, "held_back_impressions": 10, "clicks": 4},
        ),
    ],
)
@pytest.mark.parametrize("input_format", [names.CSV, names.PARQUET])
def test_a_conversion_counts_within_its_window(tmp_path, input_format, settings, impressions, conversions, told):
    text = bought()
    if input_format == names.PARQUET:
        rows = [line.split(",") for line in text.splitlines()]
        columns = dict(zip(rows[0], zip(*rows[1:], strict=True), strict=True))
        whole = {name: list(map(int, columns[name])) for name in ("user", "item", "click", "buy")}
        times = {
            name: pa.array([value if value[:1] == "2" else None for value in columns[name]]).cast(pa.timestamp("ms"))
            for name in ("at", "clicked_at", "bought_at")
        }
        text = pa.table(whole | times)
    write(tmp_path, {f"log.{input_format}": text}, BOUGHT_AT)
    found = run(tmp_path, input_format, test_fraction=0.0, splits=("train",), **settings)
    assert found.rejected == {}
    assert (found.splits["train"]["impressions"], found.splits["train"]["conversions"]) == (impressions, conversions)
    assert found.conversions == {} if told is None else told.items() <= found.conversions.items()
    page = (tmp_path / "out" / "report" / "report.html").read_text()
    assert ("Conversion window" in page) == (told is not None)


@pytest.mark.parametrize(("weigh", "share"), [(True, 0.25), (False, 1.0)])
def test_records_tell_what_open_clicks_have_shown(tmp_path, weigh, share):
    write(tmp_path, {"log.csv": bought()}, BOUGHT_AT)
    window = {"conversion_window": "2d", "log_cut": "2026-01-05T12:00", "weigh_open_clicks": weigh}
    found = run(tmp_path, compression="NONE", test_fraction=0.5, **window)
    paths = glob.glob(str(tmp_path / "out" / "t*" / "part-*"))
    records = [record for path in paths for record in read_records(path)]
    keys = ("sample_id", "click", "known_share")
    rows = sorted(row for record in records for row in zip(*(record[key] for key in keys), strict=True))
    # Clicks of the 4th are 24 hours old; those of the 3rd are open for an instant more, and all of theirs has come.
    assert [one for _, click, one in rows if click] == pytest.approx([1] * 6 + [share] * 3)
    assert {one for _, click, one in rows if not click} == {1.0}
    if weigh:
        assert sum(split["open_clicks"] for split in found.splits.values()) == 3
        assert found.conversions["conversions_of_closed_windows"] == 3
        assert found.conversions["hours_until_share"]["50%"] == pytest.approx(40, abs=0.1)
        open_in_test = found.splits["test"]["open_clicks"]
        told = [line for line in found.warnings if "evaluate on a log whose windows are closed" in line]
        assert len(told) == bool(open_in_test)
        assert any("rests on 3 conversions of closed windows" in line for line in found.warnings)
        assert "open clicks are weighed" in report.summary(found)


@pytest.mark.parametrize("column", ["weight: w", "user: u", "click_time: c, conversion_time: t"])
def test_the_form_of_aliccp_has_labels_alone(tmp_path, column):
    write(
        tmp_path,
        {"sample_skeleton_train.csv": "", "common_features_train.csv": ""},
        BOUGHT_AT.replace("time: at, click_time: clicked_at, conversion_time: bought_at", column),
    )
    with pytest.raises(ValueError, match="--input_format=aliccp has no such column"):
        run(tmp_path, names.ALICCP)


def test_how_late_conversions_come_must_be_known(tmp_path):
    write(tmp_path, {"log.csv": bought()}, BOUGHT_AT)
    with pytest.raises(ValueError, match="--weigh_open_clicks: no click of the log that converted is older than"):
        run(tmp_path, conversion_window="30d", log_cut="2026-01-05", weigh_open_clicks=True)


def test_a_conversion_is_not_before_its_click_nor_without_time(tmp_path):
    rows = "1,1,1,1,2026-01-01,2026-01-02,2026-01-01\n2,2,1,1,2026-01-01,2026-01-02,\n3,3,1,0,2026-01-01,soon,\n"
    write(tmp_path, {"log.csv": bought() + rows}, BOUGHT_AT)
    found = run(tmp_path, max_rejected=1.0, splits=("train",), test_fraction=0.0)
    assert found.rejected == {"bad_time": 3}
    assert [sample["column"] for sample in found.samples] == ["bought_at", "bought_at", "clicked_at"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"conversion_window": "7"}, "--conversion_window=7: allowed is a number and s, m, h or d, such as 7d or 36h"),
        ({"conversion_window": "7d", "log_cut": "soon"}, "--log_cut=soon: allowed is a date or time"),
        ({"log_cut": "2026-01-07"}, "--log_cut=2026-01-07: allowed is with --conversion_window only"),
        ({"conversion_window": "7d", "hold_back": "2d"}, "--hold_back=2d: allowed is with --log_cut only"),
        ({"conversion_window": "7d", "weigh_open_clicks": True}, "--weigh_open_clicks=True: allowed is with --log_cut"),
        ({"conversion_window": "7d"}, "give it columns: {click_time: COLUMN, conversion_time: COLUMN}"),
    ],
)
def test_a_window_needs_its_times(tmp_path, settings, message):
    write(tmp_path, {"log.csv": HEADER + "1,3,1,1\n2,4,0,0\n"})
    with pytest.raises(ValueError, match=re.escape(message)):
        run(tmp_path, **settings)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("conversion_time: at", "click_time and conversion_time: a window is from one to the other, so give both"),
        ("click_time: user, conversion_time: at", "field user reads column user, which is a label, its time"),
    ],
)
def test_times_of_labels_are_no_features(columns, message):
    with pytest.raises(ValueError, match=message):
        schema_file.parse(SCHEMA.replace("conversion: buy", f"conversion: buy, {columns}"), "t.yaml")
