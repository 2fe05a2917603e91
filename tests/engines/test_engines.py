"""The job on Flink and on Spark gives the local runner's bytes; a worker that is killed costs no file and no byte."""

import hashlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import worker_processes

from features import names
from preprocess import command, file_steps, steps
from preprocess.options import Options
from simulate.options import Options as SimulationOptions
from simulate.simulation import simulate
from storage import publish

# How each engine is told to run on two slots of its own.
ENGINES = {
    "flink": ["--runner=FlinkRunner", "--flink_master=[local]", "--parallelism=2"],
    "spark": ["--runner=SparkRunner", "--spark_master_url=local[2,4]"],
}


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A small simulated log with broken rows of every kind."""
    folder = tmp_path_factory.mktemp("log")
    simulate(
        SimulationOptions(seed=3, requests=120, test_requests=30, history_scale=0.1, malformed=2),
        str(folder),
        overwrite=True,
    )
    return folder


@pytest.fixture(scope="module")
def whole(log, tmp_path_factory):
    """Output without an engine, one task after another."""
    out = tmp_path_factory.mktemp("whole") / "out"
    command.run(
        Options(input_dir=str(log), output_dir=str(out), max_rejected=0.5, min_count=3),
        execute=file_steps.run_in_process,
    )
    return contents(out)


def contents(out):
    """Digest of every file of an output, by its path. Reports hold times."""
    paths = [path for path in sorted(out.rglob("*")) if path.is_file() and path.parent.name != names.REPORT_DIR]
    made = {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    return {path: digest for path, digest in made.items() if not path.startswith("_")}


def start(engine, jar, log, out, *flags):
    own = [f"--{engine}_job_server_jar={jar}", *ENGINES[engine]]
    flags = [f"--input_dir={log}", f"--output_dir={out}", "--max_rejected=0.5", "--min_count=3", *own, *flags]
    root = pathlib.Path(command.__file__).parent.parent
    return subprocess.Popen(
        [sys.executable, "-m", "preprocess", *flags],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_an_engines_shuffle_gives_the_local_runners_bytes(engine, job_server, log, whole, tmp_path):
    process = start(
        engine, job_server(engine), log, tmp_path / "out", "--block_size=100000", "--environment_type=LOOPBACK"
    )
    text, _ = process.communicate()
    assert process.returncode == 0, text
    assert f"{len(steps.STEPS)}/{len(steps.STEPS)}" in text
    assert contents(tmp_path / "out") == whole


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_a_killed_worker_leaves_the_whole_output_or_none(engine, job_server, pool, log, whole, tmp_path):
    address, process_id = pool
    out = tmp_path / "out"
    flags = ("--block_size=100000", "--environment_type=EXTERNAL", f"--environment_config={address}")
    process = start(engine, job_server(engine), log, out, *flags)
    killed = kill_a_worker(process, process_id, out)
    text, _ = process.communicate()
    assert killed, text
    assert "Traceback" not in text
    if process.returncode:
        # An engine may give the job up; then it says so, and nothing is taken for an output.
        assert f"preprocess: {engine.title()}Runner at" in text
        assert not (out / names.SUCCESS_FILE).exists()
    else:
        assert contents(out) == whole


def kill_a_worker(process, pool_process, out):
    """Kills a worker once the blocks are parsed. Returns whether there was one."""
    parsed = steps.done_at(steps.PARSE)
    while process.poll() is None and not list((out / publish.TEMPORARY).glob(f"*/{parsed}")):
        time.sleep(0.05)
    for worker in worker_processes.of(pool_process)[:1]:
        os.kill(worker, signal.SIGKILL)
        return True
    return False


def test_an_option_that_nobody_knows_is_refused_by_the_engine(job_server, log, tmp_path):
    process = start("flink", job_server("flink"), log, tmp_path / "out", "--min_cout=3", "--environment_type=LOOPBACK")
    text, _ = process.communicate()
    assert process.returncode == 1
    assert "--min_cout=3: no flag of this job" in text and "Traceback" not in text
    assert not (tmp_path / "out" / names.SUCCESS_FILE).exists()
