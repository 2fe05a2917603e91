"""Every topology, fresh, run again, stopped and killed: make test-topologies. It fills the table in the docs."""

import json
import os
import re
import signal

import pytest
import tensorflow as tf
from record_examples import small_schema, write_data_dir
from trainer_processes import (
    REPOSITORY,
    TWO_DEVICES,
    Cluster,
    global_step,
    impressions_of,
    start,
    trained_impressions,
    wait_for,
)

pytestmark = pytest.mark.topologies

DOCS = os.path.join(REPOSITORY, "docs", "training.md")
# An evaluator looks at every checkpoint, the last one too, which is the chief's to evaluate.
FLAGS = ["--num_epochs=2", "--exporters=final", "--log_steps=10", "--eval_throttle_secs=0"]
# Long enough that a signal comes in the middle.
LONG = ["--exporters=final", "--log_steps=50", "--save_checkpoints_secs=1"]
COLUMNS = ("topology", "fresh", "the same command again", "SIGTERM to the chief, then again", "SIGKILL, then again")
TOPOLOGIES = {
    "one process": {},
    "mirrored on two devices": {"mirrored": 1},
    "chief, evaluator": {"chief": 1, "evaluator": 1},
    "chief, ps": {"chief": 1, "ps": 1},
    "chief, worker, two ps": {"chief": 1, "worker": 1, "ps": 2},
    "chief, worker, ps, evaluator": {"chief": 1, "worker": 1, "ps": 1, "evaluator": 1},
    "chief, worker, two ps, in lock step": {"chief": 1, "worker": 1, "ps": 2},
}
KILLED = {
    "chief, ps": "ps 0",
    "chief, worker, two ps": "worker 0",
    "chief, worker, ps, evaluator": "chief 0",
    "chief, worker, two ps, in lock step": "worker 0",
}
LOCK_STEP = ["--sync_replicas"]
NOT_RUN = "not run yet"


class Alone:
    """One process, with the interface of a cluster."""

    def __init__(self, data_dir, model_dir, roles, *flags):
        mirrored = {"code": TWO_DEVICES} if roles else {}
        flags = [*flags, "--distribute=mirrored"] if roles else list(flags)
        self.processes = {"chief 0": start(data_dir, model_dir, *flags, **mirrored)}

    finish = Cluster.finish


def run(data_dir, model_dir, roles, *flags):
    return (Cluster if "chief" in roles else Alone)(data_dir, model_dir, roles, *flags)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("data"))
    write_data_dir(folder, small_schema(), train=200, test=30)
    return folder


def total_of(printed):
    return sum(trained_impressions(text) for text in printed.values())


def exports(model_dir):
    return [name for name in os.listdir(model_dir / "export" / "final") if name.isdigit()]


def whole_run(data_dir, model_dir, roles, *more):
    printed, statuses, errors = run(data_dir, model_dir, roles, *FLAGS, *more).finish()
    assert set(statuses.values()) == {0}, errors
    assert total_of(printed) == 2 * impressions_of(data_dir)
    step = int(tf.train.load_variable(str(model_dir), "global_step"))
    assert json.loads((model_dir / "eval.json").read_text())["global_step"] == step
    evaluated = [json.loads(line)["step"] for line in (model_dir / "evaluations.jsonl").read_text().splitlines()]
    assert evaluated == sorted(set(evaluated)) and evaluated[-1] == step
    # By the chief, or by an evaluator that was done before the chief said that the run is closing; never by both.
    assert sum(text.count(f"evaluated at step {step:,} ") for text in printed.values()) == 1
    assert printed["chief 0"].count("evaluated at step") <= 1 and len(exports(model_dir)) == 1
    return "each impression once a pass, evaluated and exported once, all end with 0"


def run_again(data_dir, model_dir, roles, *more):
    before = exports(model_dir)
    printed, statuses, errors = run(data_dir, model_dir, roles, *FLAGS, *more).finish()
    assert set(statuses.values()) == {0}, errors
    assert total_of(printed) == 0 and "evaluated" not in printed["chief 0"] and exports(model_dir) == before
    return "nothing trained, evaluated or exported, all end with 0"


def cut_short(data_dir, model_dir, roles, title, number, *more):
    """Runs until a signal to one process, and again to the end; gives what was trained in both, and the statuses."""
    flags = [*LONG, f"--num_epochs={epochs(roles)}", *more]
    first = run(data_dir, model_dir, roles, *flags)
    chief = first.processes["chief 0"]
    wait_for(lambda: chief.stdout.readline().startswith("step ") and global_step(model_dir) > 0, chief)
    first.processes[title].send_signal(number)
    printed, statuses, errors = first.finish()
    assert 0 not in statuses.values(), (statuses, errors)
    assert not any("Traceback" in text for text in errors.values()), errors
    again, ended, errors = run(data_dir, model_dir, roles, *flags).finish()
    assert set(ended.values()) == {0}, errors
    assert "going on behind" in again["chief 0"] and len(exports(model_dir)) == 1
    return total_of(printed) + total_of(again), statuses


def epochs(roles):
    """Passes of a run that is cut short: a step in a cluster takes longer."""
    return 10 if "ps" in roles else 20 if "mirrored" in roles else 60


def lock_step(topology):
    return LOCK_STEP if "lock step" in topology else []


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_run_trains_all_once_and_the_same_command_again_nothing(topology, data_dir, tmp_path):
    roles, more = TOPOLOGIES[topology], lock_step(topology)
    cells = [whole_run(data_dir, tmp_path, roles, *more), run_again(data_dir, tmp_path, roles, *more)]
    assert documented(topology, dict(zip(COLUMNS[1:3], cells, strict=True)))


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_run_that_is_asked_to_end_goes_on_behind_its_last_batch(topology, data_dir, tmp_path):
    roles, more = TOPOLOGIES[topology], lock_step(topology)
    # A worker may be between two batches when the chief saves, but not in lock step.
    slack = 64 if "worker" in roles and not more else 0
    total, statuses = cut_short(data_dir, tmp_path, roles, "chief 0", signal.SIGTERM, *more)
    assert statuses["chief 0"] == 128 + signal.SIGTERM
    assert abs(total - epochs(roles) * impressions_of(data_dir)) <= slack
    once = "once" if not slack else "once, but for a batch of a worker"
    assert documented(topology, {COLUMNS[3]: f"saved; each impression {once}"})


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_run_of_which_a_process_is_killed_ends_and_goes_on(topology, data_dir, tmp_path):
    roles, more, killed = TOPOLOGIES[topology], lock_step(topology), KILLED.get(topology, "chief 0")
    cut_short(data_dir, tmp_path, roles, killed, signal.SIGKILL, *more)
    others = f"({killed}) the others end with 1; " if "chief" in roles else ""
    assert documented(topology, {COLUMNS[4]: f"{others}goes on behind the last checkpoint"})


def test_a_run_goes_on_in_another_topology_or_is_refused_there(data_dir, tmp_path):
    """In the middle of a pass as many have to train as before; behind it fewer may, and never more."""
    served, shared = {"chief": 1, "ps": 1}, {"chief": 1, "worker": 1, "ps": 1}
    a_pass, trained = impressions_of(data_dir), 0

    def go_on(roles, passes, *more):
        printed, statuses, errors = run(data_dir, tmp_path, roles, f"--num_epochs={passes}", *more).finish()
        assert set(statuses.values()) == {0}, errors
        return trained + total_of(printed)

    def refused(roles, passes, problem):
        _, statuses, errors = run(data_dir, tmp_path, roles, f"--num_epochs={passes}").finish()
        assert set(statuses.values()) == {1} and all(problem in error for error in errors.values()), errors
        assert all(error.count("\n") == 1 for error in errors.values())

    trained = go_on(shared, 1)
    trained = go_on({}, 2, "--max_steps=48")
    assert a_pass < trained < 2 * a_pass
    refused(shared, 2, "number of processes that train in TF_CONFIG is 2, but the checkpoint stopped in the middle")
    trained = go_on(served, 2)
    assert trained == 2 * a_pass
    refused(shared, 3, "number of processes that train in TF_CONFIG is 2, but the model was trained by 1")
    assert go_on({}, 3) == 3 * a_pass


def test_a_worker_that_never_starts_is_waited_for_with_a_word(data_dir, tmp_path):
    roles = {"chief": 1, "worker": 1, "ps": 1}
    cluster = Cluster(data_dir, tmp_path, roles, *FLAGS, absent=["worker 0"])
    chief = cluster.processes["chief 0"]
    wait_for(lambda: chief.stdout.readline().startswith("waiting for worker 0 (127.0.0.1:"), chief)
    chief.send_signal(signal.SIGTERM)
    printed, statuses, errors = cluster.finish()
    assert statuses == {"chief 0": 128 + signal.SIGTERM, "ps 0": 128 + signal.SIGTERM}, errors
    again, ended, errors = Cluster(data_dir, tmp_path, roles, *FLAGS).finish()
    assert set(ended.values()) == {0}, errors
    # What the chief trained is not trained again, and what the worker had to train is not forgotten.
    assert total_of(printed) + total_of(again) == 2 * impressions_of(data_dir)
    assert 0 < total_of(printed) < 2 * impressions_of(data_dir)


def test_a_chief_that_comes_last_is_waited_for_and_without_one_the_others_end_when_asked(data_dir, tmp_path):
    roles, told = {"chief": 1, "worker": 1, "ps": 1, "evaluator": 1}, "waiting for chief 0 (127.0.0.1:"
    for chief_comes in (False, True):
        cluster = Cluster(data_dir, tmp_path, roles, *FLAGS, absent=["chief 0"])
        for process in list(cluster.processes.values()):
            wait_for(lambda process=process: told in process.stdout.readline(), process)
        # What is there before the chief has taken the folder is not its own.
        assert not tmp_path.exists() or not os.listdir(tmp_path)
        if chief_comes:
            cluster.join("chief 0")
        else:
            for process in cluster.processes.values():
                process.send_signal(signal.SIGTERM)
        printed, statuses, errors = cluster.finish()
        assert set(statuses.values()) == {0 if chief_comes else 128 + signal.SIGTERM}, errors
    assert total_of(printed) == 2 * impressions_of(data_dir) and len(exports(tmp_path)) == 1


def documented(topology, cells):
    """Whether the table of the docs has these cells of a row; with WRITE_DOCS=1 they are put there first."""
    with open(DOCS, encoding="utf-8") as file:
        text = file.read()
    table = re.search(r"<!-- topologies -->\n(.*?)<!-- /topologies -->", text, re.DOTALL)
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.group(1).splitlines()[2:]]
    rows = {name: [NOT_RUN] * (len(COLUMNS) - 1) for name in TOPOLOGIES} | {name: rest for name, *rest in lines}
    if os.environ.get("WRITE_DOCS"):
        for column, cell in cells.items():
            rows[topology][COLUMNS.index(column) - 1] = cell
        body = "".join(f"| {' | '.join([name, *rows[name]])} |\n" for name in TOPOLOGIES)
        head = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n"
        with open(DOCS, "w", encoding="utf-8") as file:
            file.write(text.replace(table.group(0), f"<!-- topologies -->\n{head}{body}<!-- /topologies -->"))
    return all(rows[topology][COLUMNS.index(column) - 1] == cell for column, cell in cells.items())
