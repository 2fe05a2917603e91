"""Every way of the rows between the steps gives the same bytes: files of one level or two, and the engine's shuffle."""

import hashlib

import apache_beam as beam
import pytest
from apache_beam.runners.worker import data_plane

from features import names, schema_file
from preprocess import command, file_steps, partition, pipeline, runner
from preprocess.exchange import files
from preprocess.job import Job
from preprocess.options import Options
from preprocess.read import inputs
from simulate.options import Options as SimulationOptions
from simulate.simulation import simulate


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A small simulated log with broken rows of every kind, duplicate sample ids among them."""
    folder = tmp_path_factory.mktemp("log")
    simulate(
        SimulationOptions(seed=3, requests=60, test_requests=20, history_scale=0.1, malformed=2),
        str(folder),
        overwrite=True,
    )
    return folder


def run(log, out, execute, **more):
    more = {"max_rejected": 0.5, "min_count": 2, **more}
    command.run(Options(input_dir=str(log), output_dir=str(out), **more), execute=execute)
    return contents(out)


def contents(out):
    """Digest of every file of an output, by its path. Reports hold times."""
    paths = [path for path in sorted(out.rglob("*")) if path.is_file() and path.parent.name != names.REPORT_DIR]
    made = {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    return {path: digest for path, digest in made.items() if not path.startswith("_")}


@pytest.fixture(scope="module")
def whole(log, tmp_path_factory):
    """Output through files of one level, one task after another."""
    return run(log, tmp_path_factory.mktemp("whole") / "out", file_steps.run_in_process)


def test_regrouped_files_give_the_same_bytes(log, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "FAN_OUT", 3)
    monkeypatch.setattr(files, "_BYTES_PER_REGROUP", 20_000)
    assert run(log, tmp_path / "out", file_steps.run_in_process, block_size=50_000) == whole


def test_the_engines_shuffle_gives_the_same_bytes_and_flushes_no_stream_by_time(log, whole, tmp_path, monkeypatch):
    """Beam's own timer flushes beside the thread that writes, and what is written meanwhile is lost."""
    limits, create = set(), data_plane.ClosableOutputStream.create

    def noted(close, flush, limit):
        limits.add(limit)
        return create(close, flush, limit)

    monkeypatch.setattr(data_plane.ClosableOutputStream, "create", noted)
    options = runner.beam_options(["--direct_num_workers=2"])
    found = run(log, tmp_path / "out", lambda job: runner.run(job, options, through_engine=True), block_size=50_000)
    assert found == whole and limits == {0}


@pytest.mark.parametrize("through_engine", [False, True])
def test_all_that_flows_together_is_encoded_in_one_way(log, tmp_path, through_engine):
    options, schema = Options(input_dir=str(log), output_dir=str(tmp_path)), schema_file.load(names.ALICCP)
    found, _ = inputs.find(options, schema)
    job = Job(options, schema, tuple(found), partition.plan(found, options), str(tmp_path))
    root = beam.Pipeline(options=runner.beam_options([]))
    pipeline.build(root, job, through_engine)
    made = root.to_runner_api().components
    flattened = [part for part in made.transforms.values() if part.spec.urn == "beam:transform:flatten:v1"]
    assert flattened
    for part in flattened:
        collections = [*part.inputs.values(), *part.outputs.values()]
        assert len({made.pcollections[name].coder_id for name in collections}) == 1, part.unique_name
