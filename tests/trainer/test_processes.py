"""The command in processes of its own: silence, a kill, a signal; what is refused of clusters."""

import dataclasses
import json
import re
import signal
import socket
import threading
import time
import types

import numpy as np
import pytest
import tensorflow as tf
from record_examples import small_schema, write_data_dir
from trainer_processes import finish, free_ports, global_step, impressions_of, start, trained_impressions, wait_for

from trainer import cluster as clusters
from trainer import evaluating, input_state, signals
from trainer.cluster import part_of
from trainer.terminal import StoppedError


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("data"))
    write_data_dir(folder, small_schema(), train=200, test=30)
    return folder


@pytest.mark.commands
def test_a_killed_run_goes_on_behind_its_last_checkpoint_and_the_terminal_stays_clean(data_dir, tmp_path):
    """How many steps the whole training has does not depend on the kill, but for the block that is done twice."""
    flags = ["--num_epochs=400", "--save_checkpoints_secs=1", "--log_steps=50"]
    first = start(data_dir, tmp_path, *flags)
    wait_for(lambda: tf.train.latest_checkpoint(tmp_path) and global_step(tmp_path) > 100, first)
    first.send_signal(signal.SIGKILL)
    printed, errors = first.communicate()
    assert errors == ""
    at_kill = int(re.findall(r"step ([\d,]+)", printed)[-1].replace(",", ""))
    kept = global_step(tmp_path)
    read = int(tf.train.load_variable(str(tmp_path), "input/position_0")[0])
    assert at_kill - kept < 5 * 1000 and 0 < read < 400 * 200

    more = finish(start(data_dir, tmp_path, *flags, f"--max_steps={kept + 120}"))
    assert f"going on behind the {read:,} records" in more
    steps = [int(step.replace(",", "")) for step in re.findall(r"^step ([\d,]+)", more, re.MULTILINE)]
    assert steps == [kept + 50, kept + 100]
    assert global_step(tmp_path) == kept + 120
    assert re.search(r"step [\d,]+  loss 0\.\d+ \(ctr 0\.\d+, ctcvr 0\.\d+\)  [\d,]+ impressions/s  \d+ s left", more)


@pytest.mark.commands
def test_a_signal_saves_and_ends_and_the_same_command_trains_the_rest(data_dir, tmp_path):
    """What both runs train together is every impression of all passes, once."""
    flags = ["--num_epochs=300", "--log_steps=50"]
    first = start(data_dir, tmp_path, *flags)
    wait_for(lambda: "step 100" in first.stdout.readline(), first)
    first.send_signal(signal.SIGTERM)
    printed, errors = first.communicate()
    assert first.returncode == 128 + signal.SIGTERM
    assert re.fullmatch(r"trainer: stopped; saved at step [\d,]+: the same command goes on from there\n", errors)
    printed_after = finish(start(data_dir, tmp_path, *flags))
    total = trained_impressions(printed) + trained_impressions(printed_after)
    assert total == 300 * impressions_of(data_dir)
    assert "evaluated at step" in printed_after
    again = finish(start(data_dir, tmp_path, *flags))
    assert "nothing was left to train" in again and "evaluated" not in again


def test_a_process_that_never_starts_is_waited_for_with_a_word_again_and_again(capsys, monkeypatch):
    monkeypatch.setattr(clusters, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(clusters, "_FIRST_WORD", 0.05)
    (port,) = free_ports(1)
    with clusters.Watch([("worker 0", f"127.0.0.1:{port}")], on_death=pytest.fail):
        time.sleep(0.5)
    said = capsys.readouterr().out.splitlines()
    assert 2 <= len(said) <= 4
    assert set(said) == {
        f"waiting for worker 0 (127.0.0.1:{port}): not there yet; start it, or stop this process and all others"
    }


@pytest.mark.parametrize(
    ("cluster", "flag", "problem"),
    [
        ({"chief": ["a:1"], "worker": ["b:1"]}, "--log_steps=1", "the cluster has workers and no ps"),
        ({"chief": ["a:1"], "ps": ["b:1"]}, "--distribute=mirrored", "leave one of them out"),
        ({"worker": ["a:1"], "ps": ["b:1"]}, "--log_steps=1", "the cluster needs one chief"),
        ({"chief": ["a:1"], "ps": ["a:1"]}, "--log_steps=1", "two processes have the same address"),
        ({"master": ["a:1"], "ps": ["b:1"]}, "--log_steps=1", "role master; allowed are chief, worker, ps, evaluator"),
    ],
)
def test_a_topology_that_would_not_train_all_is_refused_before_anything_starts(cluster, flag, problem):
    config = json.dumps({"cluster": cluster, "task": {"type": "chief", "index": 0}})
    with pytest.raises(ValueError, match=problem):
        part_of(config, flag.removeprefix("--distribute=") if "distribute" in flag else "none")


def test_a_run_that_closes_is_seen_by_those_that_follow_it_and_by_none_that_come_behind_a_kill(tmp_path):
    chief, follower = clusters.RunState(str(tmp_path)), clusters.RunState(str(tmp_path))
    chief.write(clusters.RUNNING)
    assert not follower.is_closing()
    chief.write(clusters.CLOSING)
    assert follower.is_closing() and follower.ended() is None
    assert not clusters.RunState(str(tmp_path)).is_closing()
    chief.write(clusters.FINISHED)
    assert follower.is_closing() and follower.ended() == (clusters.FINISHED, "")


def test_an_evaluation_that_is_overtaken_ends_before_its_result_is_kept():
    asked = []
    with tf.Graph().as_default(), pytest.raises(StoppedError):
        hook, step = signals.BreakHook(lambda: signal.SIGTERM if asked else 0), tf.constant(1)
        with tf.compat.v1.train.MonitoredSession(hooks=[hook]) as session:
            session.run(step)
            asked.append(True)


def test_evaluations_of_two_processes_take_turns(tmp_path):
    ended = []

    def evaluate(number):
        with evaluating.in_turn(str(tmp_path)):
            time.sleep(0.1)
            ended.append(number)

    threads = [threading.Thread(target=evaluate, args=[number]) for number in range(2)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == [0, 1] and time.monotonic() - begun > 0.2


def test_the_chief_leaves_evaluations_to_an_evaluator_while_one_is_there(tmp_path):
    evaluated = []
    evaluator = types.SimpleNamespace(evaluate=evaluated.append)
    listener = evaluating.EvaluateOnSave(evaluator, str(tmp_path), 0, signals.Request(), shared=True)
    listener.after_save(None, 0)
    with evaluating.in_turn(str(tmp_path)):
        listener.after_save(None, 1)
    assert evaluated == []
    listener.after_save(None, 2)
    assert len(evaluated) == 1


def test_a_chief_with_no_other_process_is_alone_but_reached_at_its_address():
    config = json.dumps({"cluster": {"chief": ["a:1"]}, "task": {"type": "chief", "index": 0}})
    part = part_of(config, "mirrored")
    assert part.is_alone and part.addresses and part_of("", "mirrored").addresses == {}


@pytest.mark.parametrize("fingerprint", [7, 8])
def test_where_a_run_goes_on_fewer_processes_may_train_and_not_more(fingerprint, tmp_path):
    kept, path = input_state.Phase(7, epochs=1, workers=2), str(tmp_path / "model.ckpt-9")
    held = {"global_step": np.int64(9), input_state.STATE: kept.to_array()}
    held |= {input_state.position_name(worker): np.zeros(2, np.int64) for worker in range(2)}
    tf.raw_ops.SaveV2(prefix=path, tensor_names=list(held), shape_and_slices=[""] * len(held), tensors=[*held.values()])
    wanted = input_state.Phase(fingerprint)
    assert input_state.of_checkpoint(path, wanted).phase.epochs == (fingerprint == 7)
    with pytest.raises(ValueError, match="is 3, but the model was trained by 2"):
        input_state.of_checkpoint(path, dataclasses.replace(wanted, workers=3))


def test_a_port_that_is_taken_is_a_line_that_names_it():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(clusters.ClusterError, match=f"chief 0 cannot listen at {address}"):
            clusters.start_server(clusters.Part(addresses={"chief": [address]}))


def test_a_run_does_not_end_before_all_its_processes_came():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with clusters.Watch([("ps 0", address)], print) as watch:
            watch.wait_until_all_came(lambda: True)
            threading.Timer(0.3, server.listen).start()
            begun = time.monotonic()
            watch.wait_until_all_came(lambda: False)
    assert time.monotonic() - begun > 0.25
