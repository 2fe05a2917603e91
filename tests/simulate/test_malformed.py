import collections
import json
import math
import re

import pytest
from raw_log import Log

from features import names, reject_reasons
from simulate.malformed import CONTEXT_ROW, DEFECTS, IMPRESSION_ROW
from simulate.options import Options
from simulate.simulation import MALFORMED_FILE, simulate

OPTIONS = {"requests": 150, "test_requests": 60, "seed": 6, "history_scale": 0.1}
EACH = 12
FILES = [name(split) for split in (names.TRAIN, names.TEST) for name in (names.skeleton_file, names.common_file)]


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    base = tmp_path_factory.mktemp("malformed")
    simulate(Options(**OPTIONS), str(base / "clean"))
    simulate(Options(**OPTIONS, malformed=EACH), str(base / "broken"))
    return Log(str(base / "clean")), Log(str(base / "broken"))


def test_without_the_listed_rows_the_log_is_the_clean_one(logs):
    clean, broken = logs
    for name in FILES:
        rows = broken.data(name).splitlines(keepends=True)
        listed = {entry["line"] - 1 for entry in broken.json(MALFORMED_FILE) if entry["file"] == name}
        assert listed
        assert b"".join(row for index, row in enumerate(rows) if index not in listed) == clean.data(name)
    for split in (names.TRAIN, names.TEST):
        assert broken.data(names.truth_file(split)) == clean.data(names.truth_file(split))


def test_places_are_exact_and_spread(logs):
    _, broken = logs
    for name in FILES:
        data = broken.data(name)
        entries = [entry for entry in broken.json(MALFORMED_FILE) if entry["file"] == name]
        assert entries == sorted(entries, key=lambda entry: entry["line"])
        for entry in entries:
            assert data[: entry["offset"]].count(b"\n") == entry["line"] - 1
            assert entry["offset"] == 0 or data[entry["offset"] - 1 : entry["offset"]] == b"\n"
            assert entry["row"] == (CONTEXT_ROW if "common" in name else IMPRESSION_ROW)
        quarters = {4 * entry["offset"] // len(data) for entry in entries}
        assert quarters == {0, 1, 2, 3}, name


def test_every_kind_is_there_as_often_as_asked(logs):
    entries = logs[1].json(MALFORMED_FILE)
    reasons = collections.Counter(entry["reason"] for entry in entries)
    possible = set(reject_reasons.REASONS) - reject_reasons.OF_TABLES
    assert reasons == dict.fromkeys(possible, EACH)
    kinds = {(entry["reason"], entry["detail"], entry["row"]) for entry in entries}
    assert kinds == {(defect.reason, defect.detail, row) for defect in DEFECTS for row in defect.rows}


def test_every_listed_row_is_broken_as_said(logs):
    _, broken = logs
    for name in FILES:
        rows = broken.data(name).splitlines(keepends=True)
        seen = set()
        listed = {entry["line"]: entry for entry in broken.json(MALFORMED_FILE) if entry["file"] == name}
        for number, row in enumerate(rows, 1):
            problems = defects_of(row, "common" in name, seen)
            if number in listed:
                assert problems == [listed[number]["reason"]], (name, number, row)
            else:
                assert not problems, (name, number, row)
                seen.add(row.split(b",")[0])


def test_repeated_rows_differ_from_the_first(logs):
    _, broken = logs
    for entry in broken.json(MALFORMED_FILE):
        if entry["reason"] in (reject_reasons.DUPLICATE_SAMPLE_ID, reject_reasons.DUPLICATE_CONTEXT):
            rows = broken.data(entry["file"]).splitlines()
            repeated = rows[entry["line"] - 1]
            first = next(row for row in rows if row.split(b",")[0] == repeated.split(b",")[0])
            assert first != repeated


def test_chunks_do_not_move_broken_rows(logs, make_log):
    other = make_log(Options(**OPTIONS, malformed=EACH, chunk_requests=11))
    for name in (*FILES, MALFORMED_FILE):
        assert other.data(name) == logs[1].data(name), name


def test_more_broken_rows_than_requests(make_log):
    log = make_log(Options(requests=3, test_requests=0, seed=1, history_scale=0.1, malformed=20))
    assert len(json.loads(log.data(MALFORMED_FILE))) == 20 * len({defect.reason for defect in DEFECTS})


def test_no_list_without_broken_rows(logs, make_log):
    with pytest.raises(FileNotFoundError):
        logs[0].data(MALFORMED_FILE)


def defects_of(line, is_context, seen):
    """Every reason to reject a row; a row of a clean log has none."""
    if not line.strip():
        return [reject_reasons.BLANK_LINE]
    try:
        columns = line.decode("utf-8").rstrip("\n").split(",")
    except UnicodeDecodeError:
        return [reject_reasons.NOT_UTF8]
    if len(columns) != (3 if is_context else 6):
        return [reject_reasons.WRONG_COLUMN_COUNT]
    found = [] if is_context else label_defects(*columns[:3])
    if line.split(b",")[0] in seen:
        found.append(reject_reasons.DUPLICATE_CONTEXT if is_context else reject_reasons.DUPLICATE_SAMPLE_ID)
    return found + feature_defects(columns[-2], columns[-1])


def label_defects(sample_id, click, conversion):
    found = []
    if not re.fullmatch("-?[0-9]+", sample_id):
        found.append(reject_reasons.BAD_NUMBER)
    elif not 0 <= int(sample_id) < 2**63:
        found.append(reject_reasons.ID_OUT_OF_RANGE)
    if click not in ("0", "1"):
        found.append(reject_reasons.CLICK_NOT_BINARY)
    if conversion not in ("0", "1"):
        found.append(reject_reasons.CONVERSION_NOT_BINARY)
    if (click, conversion) == ("0", "1"):
        found.append(reject_reasons.CONVERSION_WITHOUT_CLICK)
    return found


def feature_defects(number, text):
    features = text.split(names.FEATURE_SEPARATOR)
    found = []
    if not number.isdigit():
        found.append(reject_reasons.BAD_NUMBER)
    elif int(number) != len(features):
        found.append(reject_reasons.WRONG_FEATURE_COUNT)
    fields = collections.Counter()
    for feature in features:
        match = re.fullmatch("([0-9_]+)\x02(-?[0-9]+)\x03([^\x02\x03]+)", feature)
        if not match:
            found.append(reject_reasons.BAD_FEATURE)
            continue
        fields[match[1]] += 1
        if not 0 <= int(match[2]) < 2**63:
            found.append(reject_reasons.ID_OUT_OF_RANGE)
        if not re.fullmatch("[0-9.]+", match[3]) or not 0 <= float(match[3]) < math.inf:
            found.append(reject_reasons.BAD_WEIGHT)
    if any(count > 1 for field, count in fields.items() if field not in ("210", "853") and not field.endswith("_14")):
        found.append(reject_reasons.SEVERAL_VALUES)
    return found
