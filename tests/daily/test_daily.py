"""State, order, resuming, keeping and rolling back, with commands that only leave what the real ones leave.

The real commands run in examples/daily/run.py (make demo-daily) and in test_gate.
"""

import json
import os
import shlex
import signal
import subprocess
import sys

import pytest

from daily import commands, processes, run, served
from daily import day as days
from daily.day import Day
from daily.options import Options

PYTHON = [sys.executable, "-c"]
WRITE = "import json, os, sys; path, text = sys.argv[1:]; os.makedirs(os.path.dirname(path), exist_ok=True); "
WRITE += "open(path, 'w').write(text)"


@pytest.fixture
def options(tmp_path):
    for date in ("2026-01-01", "2026-01-02", "2026-01-04"):
        (tmp_path / "log" / date).mkdir(parents=True)
    (tmp_path / "log" / "notes").mkdir()
    return Options(str(tmp_path / "log"), str(tmp_path / "out"))


@pytest.fixture
def ran(monkeypatch):
    """Commands that were run, as (date, step, parent's date); `refused` and `failing` change what they do."""

    class Ran(list):
        def __init__(self):
            super().__init__()
            self.refused, self.failing = set(), set()

    found = Ran()

    def of_day(options, day, parent):
        version = os.path.join(day.export, str(1000 + int(day.date[-2:])))
        accepted = day.date not in found.refused
        verdict = {"accepted": accepted, "reasons": [] if accepted else ["spoilt"], "version": version}
        files = {
            "preprocess": (os.path.join(day.data, "_SUCCESS"), ""),
            "train": (os.path.join(day.model, "checkpoint"), ""),
            "export": (os.path.join(version, "saved_model.pb"), ""),
            "gate": (day.gate_file, json.dumps(verdict)),
        }
        made = {}
        for step, (path, text) in files.items():
            fails = (day.date, step) in found.failing
            made[step] = [*PYTHON, "import sys; sys.exit(3)"] if fails else [*PYTHON, WRITE, path, text]
        return {step: _Noted(command, (day.date, step, parent and parent.date)) for step, command in made.items()}

    class _Noted(list):
        def __init__(self, command, note):
            super().__init__(command)
            self.note = note

    real = processes.run

    def noting(command):
        found.append(command.note)
        return real(command)

    monkeypatch.setattr(commands, "of_day", of_day)
    monkeypatch.setattr(processes, "run", noting)
    return found


def lines_of(options):
    lines = []
    run.run(options, lines.append)
    return lines


def test_each_day_goes_on_from_the_one_before(options, ran):
    lines = lines_of(options)
    steps = ["preprocess", "train", "export", "gate"]
    dates = [("2026-01-01", None), ("2026-01-02", "2026-01-01"), ("2026-01-04", "2026-01-02")]
    assert ran == [(date, step, parent) for date, parent in dates for step in steps]
    assert served.versions(options.output_root) == ["1001", "1002", "1004"]
    assert lines[-1] == "2026-01-04: ACCEPTED, served as 1004"
    ran.clear()
    assert lines_of(options) == [] and ran == []


def test_a_refused_day_leaves_yesterday_serving_and_is_nobodys_parent(options, ran):
    ran.refused = {"2026-01-02"}
    lines = lines_of(options)
    assert "2026-01-02: REFUSED, spoilt; 1001 stays served" in lines
    assert ran[-1] == ("2026-01-04", "gate", "2026-01-01")
    assert served.versions(options.output_root) == ["1001", "1004"]


def test_a_failed_step_is_named_and_run_again_alone(options, ran):
    ran.failing = {("2026-01-02", "train")}
    with pytest.raises(run.StepError, match=r"2026-01-02: train failed; the next run goes on here\. Its command: "):
        run.run(options, print)
    ran.failing = set()
    ran.clear()
    run.run(options, print)
    assert ran[0] == ("2026-01-02", "train", "2026-01-01")


@pytest.mark.parametrize("step", ["preprocess", "train", "export", "gate"])
def test_a_note_that_a_kill_prevented_costs_at_most_the_step(options, ran, step):
    run.run(options, print)
    day = Day(options.output_root, "2026-01-04")
    before = served.versions(options.output_root)
    for later in ["preprocess", "train", "export", "gate", "publish"]:
        path = os.path.join(day.folder, "steps", f"{later}.json")
        if later == step or os.path.exists(os.path.join(day.folder, "steps", f"{step}.json")) is False:
            os.remove(path)
    ran.clear()
    run.run(options, print)
    assert {date for date, _, _ in ran} == {"2026-01-04"} and served.versions(options.output_root) == before
    assert step == "preprocess" or ran[0][1] == step
    # A complete output of preprocess is not made again.
    assert ("2026-01-04", "preprocess", "2026-01-02") not in ran


def test_killed_between_the_rename_and_its_note_it_is_published_once(options, ran):
    run.run(options, print)
    os.remove(os.path.join(Day(options.output_root, "2026-01-04").folder, "steps", "publish.json"))
    assert lines_of(options)[-1] == "2026-01-04: ACCEPTED, served as 1004"
    assert served.versions(options.output_root) == ["1001", "1002", "1004"]


def test_old_days_keep_their_decision_and_the_parent_stays(options, ran):
    ran.refused = {"2026-01-02", "2026-01-04"}
    run.run(Options(options.log_root, options.output_root, keep=1), print)
    first, second, _ = days.made(options.output_root)
    assert os.path.exists(first.data) and not os.path.exists(second.data)
    assert second.verdict()["reasons"] == ["spoilt"]


def test_rollback_serves_the_version_before(options, ran):
    run.run(options, print)
    lines = []
    run.rollback(options, lines.append)
    assert lines == ["2026-01-04: withdrawn; 1002 is served again"]
    assert served.versions(options.output_root) == ["1001", "1002"]
    assert os.path.exists(os.path.join(options.output_root, "withdrawn", "1004", "saved_model.pb"))
    assert not Day(options.output_root, "2026-01-04").accepted()
    run.rollback(options, print)
    with pytest.raises(ValueError, match="holds 1 versions, so there is none to go back to"):
        run.rollback(options, print)


def test_days_go_on_after_every_rollback_that_there_is_a_version_for(options, ran, tmp_path):
    for date in ("2026-01-05", "2026-01-06", "2026-01-07"):
        (tmp_path / "log" / date).mkdir()
    ran.refused = {"2026-01-04", "2026-01-05"}
    two = Options(options.log_root, options.output_root, keep=2)
    run.run(two, print)
    assert served.versions(options.output_root) == ["1006", "1007"]
    run.rollback(two, print)
    (tmp_path / "log" / "2026-01-08").mkdir()
    ran.clear()
    run.run(two, print)
    assert ran[0] == ("2026-01-08", "preprocess", "2026-01-06")
    run.rollback(two, print)
    assert served.latest(options.output_root) == "1006" and os.path.exists(Day(two.output_root, "2026-01-06").data)


def test_refused_days_do_not_take_the_data_that_a_rollback_goes_back_to(options, ran, tmp_path):
    ran.refused = {"2026-01-04", "2026-01-05"}
    (tmp_path / "log" / "2026-01-05").mkdir()
    two = Options(options.log_root, options.output_root, keep=2)
    run.run(two, print)
    run.rollback(two, print)
    (tmp_path / "log" / "2026-01-06").mkdir()
    ran.clear()
    run.run(two, print)
    assert ran[0] == ("2026-01-06", "preprocess", "2026-01-01") and os.path.exists(
        Day(two.output_root, "2026-01-01").data
    )


def test_a_clock_that_went_back_does_not_leave_the_new_version_behind_the_old(options, ran):
    run.run(Options(options.log_root, options.output_root, "..2026-01-02"), print)
    os.rename(*(os.path.join(options.output_root, "served", name) for name in ("1002", "2000")))
    days.write_json(
        Day(options.output_root, "2026-01-02").gate_file, {"accepted": True, "reasons": [], "served_as": "2000"}
    )
    assert lines_of(options)[-1] == "2026-01-04: ACCEPTED, served as 2001"
    os.remove(os.path.join(Day(options.output_root, "2026-01-04").folder, "steps", "publish.json"))
    assert lines_of(options)[-1] == "2026-01-04: ACCEPTED, served as 2001"
    assert served.versions(options.output_root) == ["1001", "2000", "2001"]
    lines = []
    run.rollback(options, lines.append)
    assert lines == ["2026-01-04: withdrawn; 2000 is served again"]


def test_a_rollback_can_be_tried_dry(options, ran):
    run.run(options, print)
    lines = []
    run.rollback(Options(options.log_root, options.output_root, dry_run=True), lines.append)
    assert lines == ["1004 would be withdrawn, and 1002 served again"]
    assert served.latest(options.output_root) == "1004" and Day(options.output_root, "2026-01-04").accepted()


def test_a_day_that_comes_late_is_passed_over(options, ran, tmp_path):
    run.run(options, print)
    (tmp_path / "log" / "2026-01-03").mkdir()
    ran.clear()
    (line,) = lines_of(options)
    assert line.startswith("2026-01-03: passed over: 2026-01-04 is done already") and not ran
    assert served.latest(options.output_root) == "1004"


def test_a_folder_of_something_else_is_refused(options, ran, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="output_root"):
        run.run(options, print)
    assert os.listdir(tmp_path / "out") == ["thesis.txt"] and not ran


def command(*flags):
    return subprocess.run([sys.executable, "-m", "daily", *flags], capture_output=True, text=True, check=False)


def test_dry_run_prints_the_public_commands(options):
    done = command(
        f"--log_root={options.log_root}",
        f"--output_root={options.output_root}",
        "--days=2026-01-02..",
        "--preprocess_flags=--min_count=3 --schema='my log.yaml'",
        "--train_flags=--embedding_size=8",
        "--dry_run",
    )
    assert done.returncode == 0, done.stderr
    lines = [shlex.split(line) for line in done.stdout.splitlines()]
    assert [line[2] for line in lines] == ["preprocess", "trainer", "trainer", "daily.gate"] * 2
    day, later = (os.path.join(options.output_root, "days", date) for date in ("2026-01-02", "2026-01-04"))
    assert "--schema=my log.yaml" in lines[0] and "--continue_from" not in str(lines[1])
    assert f"--previous_vocabulary={day}/data/vocabulary" in lines[4] and "--elapsed_days=2" in lines[4]
    assert f"--continue_from={day}/model" in lines[5] and "--validate_first" in lines[5]
    assert f"--data_dir={later}/data" in lines[5]
    assert not os.path.exists(options.output_root)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--log_root=L", "--output_root="], "--output_root=: allowed is a folder"),
        (["--log_root=L", "--output_root=O", "--days=2026-01-01"], "--days=2026-01-01: allowed is FIRST..LAST"),
        (["--log_root=L", "--output_root=O", "--days=2026-02-30.."], "dates that there are"),
        (["--log_root=L", "--output_root=O", "--calibration=1"], "--calibration=1: allowed is LOW,HIGH"),
        (["--log_root=/nowhere", "--output_root=O"], "--log_root=/nowhere: no folder there is named after a day"),
        (["--log_root=L", "--output_root=O", "now"], "'now' is no flag"),
        (["--log_rot=L", "--output_root=O"], "Unknown command line flag 'log_rot'. Did you mean: log_root ?"),
        (["--log_root=L", "--output_root=O", "--keep=few"], "flag --keep=few"),
        (["--log_root=L", "--output_root=O", "--keep=0"], "--keep=0: allowed is 1 or more"),
        (["--log_root=L", "--output_root=O", "--days=2026-01-03..2026-01-02"], "the earlier day first"),
        (
            ["--log_root=L", "--output_root=O", "--train_flags=--seed='1"],
            "--train_flags=--seed='1: No closing quotation",
        ),
        (["--log_root=L", "--output_root=O", "--train_flags=seed=1"], "--train_flags=seed=1: 'seed=1' is no flag"),
        (["--log_root=L", "--output_root=O", "--train_flags=--model_dir=M"], "the daily run sets --model_dir itself"),
        (["--log_root=L", "--output_root=O", "--gate_metrics=auc"], "--gate_metrics=auc: allowed is some of ctr_auc, "),
        (["--log_root=L", "--output_root=O", "--calibration=nan,1"], "--calibration=nan,1.0: allowed is LOW,HIGH"),
        (["--log_root=L", "--output_root=O", "--max_regression=nan"], "--max_regression=nan: allowed is 0 or more"),
        (["--output_root=/nowhere", "--rollback"], "--output_root=/nowhere: no folder there, so nothing"),
    ],
)
def test_mistakes_are_one_line(flags, message, tmp_path, monkeypatch):
    done = subprocess.run(
        [sys.executable, "-m", "daily", *flags], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_crontab_and_the_dag_call_the_command():
    folder = os.path.join(os.path.dirname(__file__), "..", "..", "examples", "daily")
    with open(os.path.join(folder, "crontab"), encoding="utf-8") as file:
        (entry,) = (line for line in file if not line.startswith("#"))
    from importlib import util

    spec = util.spec_from_file_location("dag", os.path.join(folder, "dag.py"))
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for text in (entry, module.COMMAND):
        arguments = shlex.split(text.replace("{{ ds }}", "2026-01-09"))
        at = arguments.index("daily")
        flags = [word for word in arguments[at + 1 :] if word.startswith("--")]
        known = {name for name in Options.__dataclass_fields__} | {"flagfile"}
        assert flags and {flag[2:].split("=")[0] for flag in flags} <= known
    assert "--days=..{{ ds }}" in module.COMMAND


def test_airflow_takes_the_dag():
    pytest.importorskip("airflow")
    from examples.daily import dag

    assert [task.task_id for task in dag.dag.tasks] == ["daily"]


def test_a_second_run_beside_the_first_is_refused(options, tmp_path):
    (tmp_path / "out").mkdir()
    out = str(tmp_path / "out")
    holder = "\n".join(
        [
            "import time",
            "from storage import lock, ownership",
            f"ownership.claim({out!r}, 'python -m daily', 'output_root')",
            f"with lock.held({out!r}, 'python -m daily', 'output_root'):",
            "    print('held', flush=True)",
            "    time.sleep(60)",
        ]
    )
    process = subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="output_root"):
            run.run(options, print)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
