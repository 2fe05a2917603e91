"""What the gate makes of metrics and of a version that does not load; the real models pass it in make demo-daily."""

import os

import pytest

from daily import gate
from daily.day import Day

ROWS = {"impressions": 10_000, "clicks": 400, "conversions": 80}
GOOD = {"ctr_auc": 0.70, "ctcvr_auc": 0.75, "ctr_calibration": 1.05, "ctcvr_calibration": 0.9}


@pytest.fixture
def decide(tmp_path, monkeypatch):
    """The decision on metrics of the new model and the one before, by rows."""
    day, parent = Day(str(tmp_path), "2026-01-02"), Day(str(tmp_path), "2026-01-01")
    for version in ("999", "1000"):
        os.makedirs(os.path.join(day.export, version))
    monkeypatch.setattr(gate, "_faults_of", lambda *_: [])

    def run(today=GOOD, yesterday=GOOD, before=GOOD, rows=ROWS):
        scores = {
            "today": {"rows": rows, "new": today, "before": before},
            "yesterday": {"rows": rows, "new": yesterday, "before": before},
        }
        monkeypatch.setattr(gate, "_scores_of", lambda *_: scores)
        return gate.decide(day, "log", parent, 0.01, ("ctr_auc", "ctcvr_auc"), (0.7, 1.4))

    return run


def test_a_model_as_good_as_yesterdays_is_accepted(decide):
    found = decide(today={**GOOD, "ctr_auc": 0.695})
    assert found["accepted"] and not found["reasons"] and found["version"].endswith("1000")


@pytest.mark.parametrize(
    ("worse", "reason"),
    [
        ({"today": {**GOOD, "ctr_auc": 0.68}}, "ctr_auc on today's test rows is 0.6800, yesterday's model has 0.7000"),
        ({"yesterday": {**GOOD, "ctcvr_auc": 0.6}}, "ctcvr_auc on yesterday's test rows is 0.6000"),
        (
            {"today": {**GOOD, "ctr_calibration": 12.0}},
            "ctr_calibration on today's test rows is 12.000, allowed is 0.7",
        ),
        ({"yesterday": {**GOOD, "ctcvr_calibration": 0.1}}, "ctcvr_calibration on yesterday's test rows is 0.100"),
    ],
)
def test_a_worse_one_is_refused_with_the_reason(decide, worse, reason):
    found = decide(**worse)
    assert not found["accepted"] and len(found["reasons"]) == 1 and found["reasons"][0].startswith(reason)


def test_what_few_conversions_cannot_tell_is_passed_over(decide):
    few = {**ROWS, "conversions": 20}
    assert decide(today={**GOOD, "ctcvr_auc": 0.5, "ctcvr_calibration": 9.0}, rows=few)["accepted"]
    assert not decide(today={**GOOD, "ctr_auc": 0.5}, rows=few)["accepted"]


def test_an_auc_that_cannot_be_told_is_no_pass(decide):
    (reason,) = decide(today={**GOOD, "ctr_auc": float("nan")})["reasons"]
    assert reason == "ctr_auc cannot be told on today's test rows (--gate_metrics)"
    without = {name: value for name, value in GOOD.items() if name != "ctcvr_auc"}
    assert decide(yesterday=without, before=without)["reasons"]


def test_a_version_that_does_not_load_is_refused(tmp_path):
    (tmp_path / "1").mkdir()
    (reason,) = gate._faults_of(str(tmp_path / "1"), Day(str(tmp_path), "2026-01-02"), "log")
    assert str(tmp_path / "1") in reason


def test_a_day_without_version_is_named(tmp_path):
    day = Day(str(tmp_path), "2026-01-02")
    os.makedirs(day.export)
    with pytest.raises(ValueError, match="no version there; run python -m trainer --task_type=export first"):
        gate.decide(day, "log", None, 0.01, (), (0.7, 1.4))


@pytest.mark.parametrize(
    ("compared", "fault"),
    [
        ((512, 9e-7, 1e-6), ""),
        ((512, 1e-3, 2e-3), ""),
        (
            (512, 3e-6, 1e-6),
            "scores of 512 raw impressions of the day are up to 3e-06 away from those of their records",
        ),
        ((512, float("nan"), 1e-6), "scores of 512 raw impressions of the day are up to nan away"),
        ((0, 0.0, 0.0), "none of the log's first impressions is in the records"),
    ],
)
def test_what_raw_rows_tell_of_a_version(compared, fault):
    from daily.parity import Compared

    found = Compared(*compared).fault
    assert found.startswith(fault) and bool(found) == bool(fault)
