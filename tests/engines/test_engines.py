"""The job on Flink and on Spark gives the local runner's bytes; a worker that is killed costs no file and no byte."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time

import clusters
import pytest

from features import names
from preprocess import command, file_steps, steps
from preprocess.options import Options
from simulate.options import Options as SimulationOptions
from simulate.simulation import simulate
from storage import publish

SETTINGS = {"max_rejected": 0.5, "min_count": 3, "shards": 3}
# Two slots: threads of the job server.
INSIDE = {
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
    command.run(Options(input_dir=str(log), output_dir=str(out), **SETTINGS), execute=file_steps.run_in_process)
    return contents(out)


def contents(out):
    """Digest of every file of an output, by its path. Reports hold times."""
    paths = [path for path in sorted(out.rglob("*")) if path.is_file() and path.parent.name != names.REPORT_DIR]
    made = {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    return {path: digest for path, digest in made.items() if not path.startswith("_")}


def start(engine, jar, log, out, *flags, **environment):
    flags = [f"--input_dir={log}", f"--output_dir={out}", f"--{engine}_job_server_jar={jar}", *flags]
    flags += [f"--{name}={value}" for name, value in SETTINGS.items()]
    return subprocess.Popen(
        [sys.executable, "-m", "preprocess", "--block_size=400000", *flags],
        cwd=clusters.REPOSITORY,
        env=os.environ | clusters.QUICK_JAVA | {"FLINK_CONF_DIR": str(clusters.FLINK_CONF)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextlib.contextmanager
def cluster(engine, folder, cache):
    """Two processes of the engine; gives the flags and the environment of a job that runs there."""
    if engine == "flink":
        with clusters.flink(folder, cache) as address:
            yield ["--runner=FlinkRunner", f"--flink_master={address}", "--parallelism=2"], {}
    else:
        flags = ["--runner=SparkRunner", *clusters.spark_flags()]
        yield flags, clusters.spark_environment(folder, cache)


@pytest.mark.parametrize("engine", sorted(INSIDE))
def test_an_engines_shuffle_gives_the_local_runners_bytes(engine, job_server, log, whole, tmp_path):
    out = tmp_path / "out"
    process = start(engine, job_server(engine), log, out, *INSIDE[engine], "--environment_type=LOOPBACK")
    text, _ = process.communicate()
    assert process.returncode == 0, text
    assert f"{len(steps.STEPS)}/{len(steps.STEPS)}" in text
    assert contents(out) == whole


@pytest.mark.parametrize("engine", sorted(INSIDE))
def test_a_killed_worker_costs_no_byte(engine, job_server, cache, log, whole, tmp_path):
    out, jar = tmp_path / "out", job_server(engine)
    with cluster(engine, tmp_path, cache) as (flags, environment):
        process = start(engine, jar, log, out, *flags, *clusters.worker_flags(tmp_path), **environment)
        killed = kill_a_worker(process, tmp_path, out)
        text, _ = process.communicate()
    assert killed, text
    assert process.returncode == 0, text
    assert contents(out) == whole


def kill_a_worker(process, folder, out):
    """Kills a worker that has begun, once the blocks are parsed. Returns whether there was one."""
    parsed = steps.done_at(steps.PARSE)
    while process.poll() is None:
        if list((out / publish.TEMPORARY).glob(f"*/{parsed}")):
            for worker in clusters.workers(folder):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
                    return True
        time.sleep(0.05)
    return False


def test_an_option_that_nobody_knows_is_refused_by_the_engine(job_server, log, tmp_path):
    flags = (*INSIDE["flink"], "--min_cout=3", "--environment_type=LOOPBACK")
    process = start("flink", job_server("flink"), log, tmp_path / "out", *flags)
    text, _ = process.communicate()
    assert process.returncode == 1
    assert "--min_cout=3: no flag of this job" in text and "Traceback" not in text
    assert not (tmp_path / "out" / names.SUCCESS_FILE).exists()
