"""Raw logs read as requests: what the log says comes out, in order, and broken rows are named."""

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features import names, raw_requests, reject_reasons, row_places, schema_file
from features.raw_log import aliccp_requests
from features.raw_requests import RawLogError, RawRequest

SCHEMA = """
name: shop
columns: {request: visit, sample_id: row, click: click, conversion: bought}
fields:
  - {name: user, group: user, side: context, kind: one, type: id, column: user_id}
  - {name: history, group: user, side: context, kind: many, type: string, weighted: true}
  - {name: item, group: item, side: impression, kind: one, type: id}
  - {name: tags, group: item, side: impression, kind: many, type: string, value_separator: " "}
  - {name: price, group: item, side: impression, kind: one, type: number, boundaries: [1.0, 10.0]}
"""
SHOP = schema_file.parse(SCHEMA, "shop.yaml")
ALICCP = schema_file.load("aliccp")

CSV = """visit,row,user_id,history,item,tags,price,click,bought,secret
v1,11,7,"shoes:1.5|hat, red:2",100,new sale,9.5,1,0,x
v1,12,7,"shoes:1.5|hat, red:2",101,,,0,0,x
v2,13,,,102,old,1e3,0,0,x
v1,14,7,"shoes:1.5|hat, red:2",103,new,0,0,0,x
"""
SHOP_REQUESTS = [
    RawRequest(
        [11, 12],
        {"user": [7], "history": ["shoes", "hat, red"], "history/weight": [1.5, 2.0]},
        {"item": [[100], [101]], "tags": [["new", "sale"], []], "price": [[9.5], []]},
    ),
    RawRequest(
        [13],
        {"user": [], "history": [], "history/weight": []},
        {"item": [[102]], "tags": [["old"]], "price": [[1000.0]]},
    ),
    RawRequest(
        [14],
        {"user": [7], "history": ["shoes", "hat, red"], "history/weight": [1.5, 2.0]},
        {"item": [[103]], "tags": [["new"]], "price": [[0.0]]},
    ),
]


def feature_list(*features):
    parts = [f"{field}\x02{value}\x03{weight}" for field, value, weight in features]
    return f"{len(parts)},{chr(1).join(parts)}"


def write_aliccp(folder, skeleton, common, split="test"):
    (folder / names.skeleton_file(split)).write_bytes("".join(line + "\n" for line in skeleton).encode())
    (folder / names.common_file(split)).write_bytes("".join(line + "\n" for line in common).encode())


def read_aliccp(folder, **options):
    return list(raw_requests.read(str(folder), "test", ALICCP, names.ALICCP, **options))


def impression(sample_id, key, *features):
    return f"{sample_id},0,0,{key},{feature_list(*features)}"


def test_aliccp_rows_of_one_context_form_a_request(tmp_path):
    write_aliccp(
        tmp_path,
        [
            impression(5, "b7", ("205", 1, 1.0), ("853", 30, 0.5), ("853", 31, 2)),
            impression(4, "b7", ("205", 2, 1.0), ("508", 40, 0.25)),
            impression(9, "a1", ("205", 3, 1.0)),
            impression(10, "b7", ("205", 4, 1.0)),
        ],
        [
            f"a1,{feature_list(('101', 900, 1.0), ('109_14', 6, 0.69), ('109_14', 5, 1.1))}",
            f"b7,{feature_list(('101', 800, 1.0), ('unknown', 1, 1.0))}",
        ],
    )
    first, second, third = read_aliccp(tmp_path)
    assert (first.sample_ids, second.sample_ids, third.sample_ids) == ([5, 4], [9], [10])
    assert first.impressions["205"] == [[1], [2]]
    assert first.impressions["853"] == [[30, 31], []]
    assert first.impressions["853/weight"] == [[0.5, 2.0], []]
    assert first.impressions["508"] == [[], [40]] and first.impressions["508/weight"] == [[], [0.25]]
    assert first.context["101"] == [800] and first.context["109_14"] == [] and "unknown" not in first.context
    assert second.context["109_14"] == [6, 5] and second.context["109_14/weight"] == [0.69, 1.1]
    assert third.context == first.context
    assert set(first.context) | set(first.impressions) == {f.name for f in ALICCP.fields} | {
        f.weight_key for f in ALICCP.fields if f.weighted
    }


def test_aliccp_absent_context_is_empty_and_a_key_is_not_its_prefix(tmp_path):
    write_aliccp(
        tmp_path,
        [impression(1, "k", ("205", 1, 1)), impression(2, "kk", ("205", 2, 1))],
        [f"kk,{feature_list(('101', 5, 1))}"],
    )
    absent, present = read_aliccp(tmp_path)
    assert all(values == [] for values in absent.context.values())
    assert present.context["101"] == [5]


def test_aliccp_first_of_two_context_rows_is_used(tmp_path):
    common = [f"k,{feature_list(('101', user, 1))}" for user in (3, 4)]
    write_aliccp(tmp_path, [impression(1, "k", ("205", 1, 1))], common)
    assert read_aliccp(tmp_path)[0].context["101"] == [3]


def test_aliccp_contexts_with_equal_fingerprints_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(aliccp_requests.keys, "fingerprint64", lambda key: 1)
    common = [f"k{user},{feature_list(('101', user, 1))}" for user in range(5)]
    write_aliccp(tmp_path, [impression(u, f"k{u}", ("205", 1, 1)) for u in (4, 0, 2)], common)
    assert [request.context["101"] for request in read_aliccp(tmp_path)] == [[4], [0], [2]]


def test_aliccp_files_may_be_cut_into_parts(tmp_path):
    write_aliccp(tmp_path, [impression(1, "b", ("205", 1, 1))], [f"a,{feature_list(('101', 5, 1))}"])
    (tmp_path / "sample_skeleton_test_2.csv").write_text(impression(2, "a", ("205", 1, 1)) + "\n")
    folder = tmp_path / "common_features_test"
    folder.mkdir()
    (folder / "part").write_text(f"b,{feature_list(('101', 6, 1))}\nc,9,\n")
    first, second = read_aliccp(tmp_path)
    assert (first.context["101"], second.context["101"]) == ([6], [5])
    (tmp_path / "sample_skeleton_test_3.csv").write_text(impression(3, "c") + "\n")
    with pytest.raises(RawLogError, match=r"common_features_test.part, line 2: "):
        read_aliccp(tmp_path)


BROKEN = [
    ("", reject_reasons.BLANK_LINE),
    ("1,0,0,k,0", reject_reasons.WRONG_COLUMN_COUNT),
    ("1,0,0,k,0,,", reject_reasons.WRONG_COLUMN_COUNT),
    (f"x,0,0,k,{feature_list()}", reject_reasons.BAD_NUMBER),
    (f"-1,0,0,k,{feature_list()}", reject_reasons.ID_OUT_OF_RANGE),
    ("1,0,0,k,2,205\x021\x031.0", reject_reasons.WRONG_FEATURE_COUNT),
    ("1,0,0,k,1,", reject_reasons.WRONG_FEATURE_COUNT),
    ("1,0,0,k,two,205\x021\x031.0", reject_reasons.BAD_NUMBER),
    ("1,0,0,k,1,205\x021", reject_reasons.BAD_FEATURE),
    ("1,0,0,k,1,205\x02one\x031.0", reject_reasons.BAD_FEATURE),
    ("1,0,0,k,1,205\x021.0\x031.0", reject_reasons.BAD_FEATURE),
    (f"1,0,0,k,1,205\x02{2**63}\x031.0", reject_reasons.ID_OUT_OF_RANGE),
    ("1,0,0,k,1,508\x021\x03nan", reject_reasons.BAD_WEIGHT),
    ("1,0,0,k,1,205\x021\x03nan", reject_reasons.BAD_WEIGHT),
    ("1,0,0,k,2,205\x021\x031.0\x01205\x022\x031.0", reject_reasons.SEVERAL_VALUES),
    ("1,0,0,k,1,508\x021\x03-0.5", reject_reasons.BAD_WEIGHT),
    ("1,0,0,k,1,508\x021\x031_0", reject_reasons.BAD_WEIGHT),
]


@pytest.mark.parametrize(("line", "reason"), BROKEN)
def test_broken_row_is_named_and_can_be_left_out(tmp_path, line, reason):
    good = [impression(7, "k", ("205", 1, 1)), impression(8, "k", ("205", 2, 1))]
    write_aliccp(tmp_path, [good[0], line, good[1]], [f"k,{feature_list(('101', 5, 1))}"])
    with pytest.raises(RawLogError) as raised:
        read_aliccp(tmp_path)
    assert raised.value.reason == reason and raised.value.line == 2
    assert f"{names.skeleton_file('test')}, line 2: " in str(raised.value)
    left_out = []
    requests = read_aliccp(tmp_path, on_broken=left_out.append)
    assert [error.reason for error in left_out] == [reason]
    assert [request.sample_ids for request in requests] == [[7, 8]]


def test_bytes_that_are_not_utf8_are_named(tmp_path):
    write_aliccp(tmp_path, [], [])
    with open(tmp_path / names.skeleton_file("test"), "wb") as file:
        file.write(b"1,0,0,\xff,0,\n")
    with pytest.raises(RawLogError, match=r"line 1: .*UTF-8.*xff"):
        read_aliccp(tmp_path)


def test_broken_context_row_leaves_its_impressions_without_context(tmp_path):
    write_aliccp(tmp_path, [impression(1, "k", ("205", 1, 1))], ["other,0,", "k,3,"])
    left_out = []
    (request,) = read_aliccp(tmp_path, on_broken=left_out.append)
    assert request.sample_ids == [1] and request.context["101"] == []
    assert left_out[0].line == 2 and left_out[0].file.endswith(names.common_file("test"))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_csv_by_schema(tmp_path, compressed, line_end):
    raw = CSV.replace("\n", line_end).encode()
    if compressed:
        (tmp_path / "test.csv.gz").write_bytes(gzip.compress(raw))
    else:
        (tmp_path / "test.csv").write_bytes(raw)
    assert list(raw_requests.read(str(tmp_path), "test", SHOP, names.CSV)) == SHOP_REQUESTS


def test_csv_rows_without_request_and_sample_id_are_known_by_file_and_offset(tmp_path):
    schema = schema_file.parse(SCHEMA.replace("request: visit, sample_id: row, ", ""), "shop.yaml")
    header, first, second, *_ = CSV.splitlines(keepends=True)
    (tmp_path / "day").mkdir()
    (tmp_path / "day" / "a.csv").write_text(header + first + second)
    (tmp_path / "day" / "b.csv").write_text(header + second)
    requests = list(raw_requests.read(str(tmp_path), "day", schema, names.CSV))
    begin = len(header.encode())
    places = [(0, begin), (0, begin + len(first.encode())), (1, begin)]
    assert [request.sample_ids for request in requests] == [[row_places.place_of(*place)] for place in places]


def test_a_log_whose_files_are_not_named_for_splits_is_read_whole(tmp_path):
    (tmp_path / "visits.csv").write_text(CSV)
    assert list(raw_requests.read(str(tmp_path), "test", SHOP, names.CSV)) == SHOP_REQUESTS
    (tmp_path / "train.csv").write_text(CSV)
    with pytest.raises(FileNotFoundError, match="no csv log of split test"):
        raw_requests.read(str(tmp_path), "test", SHOP, names.CSV).__next__()


CSV_BROKEN = [
    ("v1,15,7,,x1,,,0,0,x", reject_reasons.BAD_FEATURE, "x1"),
    ("v1,15,7,,1,,nan,0,0,x", reject_reasons.BAD_NUMBER, "nan"),
    ("v1,15,7,,1,,cheap,0,0,x", reject_reasons.BAD_NUMBER, "cheap"),
    ("v1,15,7,hat,1,,,0,0,x", reject_reasons.BAD_FEATURE, "hat"),
    ("v1,15,7,hat:inf,1,,,0,0,x", reject_reasons.BAD_WEIGHT, "inf"),
    ("v1,,7,,1,,,0,0,x", reject_reasons.BAD_NUMBER, "''"),
    ("v1,15,7,,1,,,0,0", reject_reasons.WRONG_COLUMN_COUNT, "v1,15,7"),
    ("", reject_reasons.BLANK_LINE, ""),
    ("v1,15,7,\udcff:1,1,,,0,0,x", reject_reasons.NOT_UTF8, "xff"),
]


@pytest.mark.parametrize(("row", "reason", "value"), CSV_BROKEN)
def test_broken_csv_row_is_named_and_can_be_left_out(tmp_path, row, reason, value):
    text = CSV.replace("v2,", row + "\nv2,")
    (tmp_path / "test.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    left_out = []
    assert list(raw_requests.read(str(tmp_path), "test", SHOP, names.CSV, left_out.append)) == SHOP_REQUESTS
    assert [(error.line, error.reason) for error in left_out] == [(4, reason)]
    assert "test.csv, line 4: " in str(left_out[0]) and value in str(left_out[0])
    with pytest.raises(RawLogError):
        list(raw_requests.read(str(tmp_path), "test", SHOP, names.CSV))


def test_csv_without_a_column_says_which(tmp_path):
    (tmp_path / "test.csv").write_text(CSV.replace("item", "thing"))
    with pytest.raises(ValueError, match=r"test\.csv: no column item, which.*thing"):
        list(raw_requests.read(str(tmp_path), "test", SHOP, names.CSV))


def test_log_without_labels_can_be_read(tmp_path):
    (tmp_path / "test.csv").write_text(CSV.replace("click,bought", "a,b"))
    assert list(raw_requests.read(str(tmp_path), "test", SHOP, names.CSV)) == SHOP_REQUESTS


def table(history):
    return {
        "visit": ["v1", "v1", "v2", "v1"],
        "row": [11, 12, 13, 14],
        "user_id": [7, 7, None, 7],
        "history": [history if user else None for user in (7, 7, None, 7)],
        "item": [100, 101, 102, 103],
        "tags": [["new", "sale"], [], ["old"], ["new"]],
        "price": [9.5, None, 1000.0, 0.0],
        "secret": [object.__name__] * 4,
    }


@pytest.mark.parametrize("form", ["text", "map", "struct"])
def test_parquet_by_schema(tmp_path, form):
    pairs = [("shoes", 1.5), ("hat, red", 2.0)]
    history = {
        "text": "shoes:1.5|hat, red:2",
        "map": pairs,
        "struct": [{"word": word, "count": count} for word, count in pairs],
    }[form]
    columns = table(history)
    if form == "map":
        columns["history"] = pa.array(columns["history"], pa.map_(pa.string(), pa.float32()))
    pq.write_table(pa.table(columns), tmp_path / "test.parquet")
    assert list(raw_requests.read(str(tmp_path), "test", SHOP, names.PARQUET)) == SHOP_REQUESTS


def test_long_run_is_cut_with_its_context(tmp_path):
    write_aliccp(tmp_path, [impression(i, "k", ("205", i, 1)) for i in range(5)], [f"k,{feature_list(('101', 5, 1))}"])
    requests = read_aliccp(tmp_path, max_impressions=2)
    assert [request.sample_ids for request in requests] == [[0, 1], [2, 3], [4]]
    assert all(request.context["101"] == [5] for request in requests)


def test_json_keeps_requests_exactly(tmp_path):
    large = RawRequest([2**63 - 1], {"user": [2**53 + 1], "word": ["é中\x01"]}, {"price": [[0.1, 1e-30]], "item": [[]]})
    path = tmp_path / "requests.json"
    path.write_text(raw_requests.to_json([*SHOP_REQUESTS, large]))
    assert raw_requests.load(str(path)) == [*SHOP_REQUESTS, large]
    path.write_text(raw_requests.to_json([]))
    assert raw_requests.load(str(path)) == []


def test_unknown_format_and_absent_log_are_errors(tmp_path):
    with pytest.raises(ValueError, match="'orc': allowed are aliccp, csv, parquet"):
        raw_requests.read(str(tmp_path), "test", SHOP, "orc")
    with pytest.raises(ValueError, match="no such file or folder"):
        list(raw_requests.read(str(tmp_path), "test", SHOP, names.CSV))
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(FileNotFoundError, match=r"no csv file there; there are .*notes\.txt"):
        list(raw_requests.read(str(tmp_path), "test", SHOP, names.CSV))
    (tmp_path / names.skeleton_file("test")).write_text("")
    with pytest.raises(ValueError, match=names.common_file("test")):
        read_aliccp(tmp_path)


def test_reading_streams(tmp_path):
    """The first request is there before a broken row far behind it is reached."""
    rows = [impression(i, f"k{i}", ("205", i, 1)) for i in range(2000)]
    write_aliccp(tmp_path, [*rows, "broken"], [f"k0,{feature_list(('101', 5, 1))}"])
    reader = raw_requests.read(str(tmp_path), "test", ALICCP, names.ALICCP)
    assert next(reader).sample_ids == [0]
    with pytest.raises(RawLogError, match="line 2001"):
        list(reader)
