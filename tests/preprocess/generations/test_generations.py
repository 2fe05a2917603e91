"""Days through the whole job."""

import dataclasses
import json
import os

import numpy as np
import pytest

from features import vocabulary
from preprocess import command, file_steps
from preprocess.options import Options, OptionsError
from preprocess.report import report

SCHEMA = """name: t
columns: {{click: click, conversion: buy}}
fields:
  - {{name: user, group: user, side: context, kind: one, type: id}}
  - {{name: item, group: item, side: impression, kind: one, type: id}}
{more}"""
PRICE = "  - {name: price, group: item, side: impression, kind: one, type: number, quantiles: 4}\n"


@pytest.fixture
def day(tmp_path):
    """Runs a day of items (item -> impressions) through the job; gives its vocabulary's folder."""

    def run(name, items, previous="", more="", **settings):
        log = tmp_path / f"log_{name}"
        log.mkdir(exist_ok=True)
        (tmp_path / "schema.yaml").write_text(SCHEMA.format(more=more))
        rows = [f"{1 + n % 3},{item},{item % 7}.5,{n % 2},0" for item, count in items.items() for n in range(count)]
        (log / "train.csv").write_text("\n".join(["user,item,price,click,buy", *rows]) + "\n")
        options = Options(
            keep_useless=True,
            input_dir=str(log),
            output_dir=str(tmp_path / name),
            input_format="csv",
            schema=str(tmp_path / "schema.yaml"),
            splits=("train",),
            **{"min_count": 4, "previous_vocabulary": previous, **settings},
        )
        made = command.run(options, execute=file_steps.run_in_process)
        run.summary = report.summary(made)
        return str(tmp_path / name / "vocabulary")

    return run


def ids(folder):
    known = vocabulary.load(folder)
    return dict(zip(known.keys.tolist(), known.ids.tolist(), strict=True))


def files(folder):
    return {
        os.path.join(root, name): open(os.path.join(root, name), "rb").read()
        for root, _, names in os.walk(folder)
        for name in names
    }


def told(folder):
    return json.load(open(os.path.join(folder, "vocabulary.json")))


def test_known_keys_keep_their_ids_and_new_ones_are_appended(day):
    first = day("one", {100: 9, 101: 5, 102: 2})
    second = day("two", {100: 4, 102: 3, 103: 7, 104: 1}, first, count_half_life_days=0)
    before, after = ids(first), ids(second)
    assert {key: after[key] for key in before} == before
    size = vocabulary.load(first).size
    # 102 came twice and then three times: together often enough. 103 comes more often, so its id is the lower one.
    assert sorted(set(after.values()) - set(before.values())) == [size, size + 1]
    assert vocabulary.load(second).size == size + 2
    made = told(second)["generation"]
    assert made["parent"] == told(first)["checksum"] == vocabulary.load(first).checksum()
    assert (made["number"], made["carried"], made["added"], made["evicted"]) == (1, len(before), 2, 0)
    assert told(second)["statistics"]["fields"]["item"]["added_ids"] == 2


def test_what_is_rare_on_each_day_gets_an_id_in_the_end(day):
    before, known = "", []
    for name in ("one", "two", "three"):
        before = day(name, {100: 5, 104: 1, 105: 2, 106: 1}, before, count_half_life_days=0)
        known.append(len(ids(before)))
    # Items and users: 100 and user 1 at once, 105 and user 2 with the second day, three others are still too rare.
    assert known == [2, 4, 4]
    counts = np.fromfile(os.path.join(before, "history", "pending_counts.float32"), np.float32)
    assert counts.tolist() == [3.0, 3.0, 3.0]


def test_the_same_bytes_one_by_one_or_again(day, tmp_path):
    first = day("one", {100: 9, 101: 5})
    second = day("two", {100: 4, 103: 7}, first)
    third = day("three", {103: 4, 105: 9}, second)
    wanted = {os.path.relpath(path, third): data for path, data in files(third).items()}
    again = day("again", {103: 4, 105: 9}, day("two_again", {100: 4, 103: 7}, first))
    assert {os.path.relpath(path, again): data for path, data in files(again).items()} == wanted


def test_evicted_ids_stay_free_for_one_generation(day):
    settings = {"count_half_life_days": 1, "evict_below": 2}
    first = day("one", {100: 4, 101: 40})
    second = day("two", {101: 40, 103: 8}, first, **settings)
    third = day("three", {101: 40, 103: 8}, second, **settings)
    fourth = day("four", {101: 40, 103: 8, 104: 9}, third, **settings)
    gone = (set(ids(first)) - set(ids(third))).pop()
    freed = ids(first)[gone]
    assert ids(second)[gone] == freed and freed not in ids(third).values()
    assert vocabulary.load(third).size == vocabulary.load(second).size and told(third)["unused_ids"] == 1
    (new,) = set(ids(fourth)) - set(ids(third))
    assert ids(fourth)[new] == freed and told(fourth)["unused_ids"] == 0
    assert told(fourth)["generation"]["reused_ids"] == 1


def test_a_field_more_and_a_field_less(day):
    first = day("one", {100: 9, 101: 5})
    with pytest.raises(OptionsError, match=r"--add_fields=: .* it is price; give --add_fields=price"):
        day("refused", {100: 9}, first, PRICE)
    second = day("two", {100: 9, 102: 5}, first, PRICE, add_fields=("price",))
    before, after = ids(first), ids(second)
    assert {key: after[key] - 2 for key in before} == before
    third = day("three", {100: 9}, second, "", remove_fields=("price",))
    assert {key: ids(third)[key] for key in before} == before
    prices = told(second)["statistics"]["fields"]["price"]["kept_ids"]
    assert prices and told(third)["generation"]["evicted"] == prices == told(third)["unused_ids"]


def test_buckets_of_numbers_go_on_meaning_the_same(day):
    first = day("one", {100: 9, 101: 5, 102: 6, 103: 7}, more=PRICE)
    second = day("two", {101: 50, 104: 9}, first, PRICE)
    assert vocabulary.load(second).boundaries == vocabulary.load(first).boundaries


def test_a_changed_field_is_refused(day):
    first = day("one", {100: 9})
    changed = PRICE.replace("number, quantiles: 4", "string")
    second = day("two", {100: 9}, first, PRICE, add_fields=("price",))
    with pytest.raises(OptionsError, match="field price is not as in --previous_vocabulary"):
        day("three", {100: 9}, second, changed)


def test_a_size_that_only_the_model_knows_may_change(day):
    first = day("one", {100: 9}, "", PRICE)
    second = day("two", {100: 9, 101: 9}, first, PRICE.replace("quantiles: 4", "quantiles: 4, embedding_size: 2"))
    assert {key: ids(second)[key] for key in ids(first)} == ids(first)
    assert vocabulary.load(second).schema.by_name["price"].embedding_size == 2


def test_the_report_tells_what_a_day_changed(day, tmp_path):
    first = day("one", {100: 40, 101: 50})
    day("two", {100: 4, 201: 70, 202: 70}, first)
    found = json.loads((tmp_path / "two" / "report" / "report.json").read_text())["previous"]
    assert found["fields"]["item"]["added_ids"] == 2 and found["fields"]["user"]["added_ids"] == 0
    assert found["fields"]["item"]["new_share"] == pytest.approx(140 / 144, abs=1e-6)
    assert found["fields"]["item"]["psi"] > 0.25 > found["fields"]["user"]["psi"]
    assert found["rates"]["click_rate"]["before"] == pytest.approx(0.5)
    assert "warning: field item: 97% of its values are of ids that the day before did not have" in day.summary
    assert "Against the day before" in (tmp_path / "two" / "report" / "report.html").read_text()


def test_a_frozen_vocabulary_says_what_it_lacks(day):
    first = day("one", {100: 40, 101: 50})
    day("two", {100: 4, 201: 70}, "", vocabulary=first)
    assert "field item: 95% of its values in train are unknown to --vocabulary" in day.summary


@pytest.mark.parametrize(
    "wrong",
    [
        {"vocabulary": "v", "previous_vocabulary": "p"},
        {"evict_below": 21.0},
        {"add_fields": ("x",)},
        {"count_half_life_days": -1.0},
    ],
)
def test_settings_that_cannot_be(wrong):
    with pytest.raises(OptionsError, match="--"):
        Options(input_dir="in", output_dir="out", **wrong)


def test_a_damaged_history_is_named(day):
    first = day("one", {100: 9, 101: 5})
    path = os.path.join(first, "history", "counts.float32")
    with open(path, "ab") as file:
        file.write(b"1234")
    with pytest.raises(vocabulary.VocabularyError, match=r"counts\.float32: \d+ entries, expected are"):
        day("two", {100: 9}, first)


def test_checksum_tells_which_key_has_which_id():
    known = vocabulary.Vocabulary(_schema(), np.array([1, 2]), np.array([4, 5], np.int32))
    swapped = dataclasses.replace(known, ids=np.array([5, 4], np.int32))
    assert known.checksum() != swapped.checksum()


def _schema():
    from features import schema_file

    return schema_file.parse(SCHEMA.format(more=""), "schema.yaml")
