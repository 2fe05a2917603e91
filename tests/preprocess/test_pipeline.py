"""The job as a command: workers, block sizes and runners change nothing; a kill leaves nothing that looks complete."""

import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
import tensorflow as tf
from forked_commands import run_forked
from random_logs import LogWriter, aliccp_schema

from features import names, parse_spec, reject_reasons, schema_file
from preprocess import command, file_steps, runner
from preprocess.options import Options
from simulate.options import Options as SimulationOptions
from simulate.simulation import simulate
from storage import ownership, publish


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


def options(log, out, **more):
    return Options(input_dir=str(log), output_dir=str(out), **{"max_rejected": 0.5, "min_count": 3, **more})


def run_alone(log, out, **more):
    return command.run(options(log, out, **more), execute=file_steps.run_in_process)


def start(log, out, *flags):
    """The command in a process group of its own."""
    flags = [f"--input_dir={log}", f"--output_dir={out}", "--max_rejected=0.5", "--min_count=3", *flags]
    arguments = [sys.executable, "-m", "preprocess", *flags]
    root = pathlib.Path(command.__file__).parent.parent
    return subprocess.Popen(arguments, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def contents(out):
    """Digest of every file of an output, by its path. Reports and the mark hold times."""
    found = [path for path in sorted(out.rglob("*")) if path.is_file()]
    paths = [path for path in found if path.parent.name != names.REPORT_DIR and path.name != ownership.MARK_FILE]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture(scope="module")
def whole(log, tmp_path_factory):
    """Output of a run without Beam, one task after another."""
    out = tmp_path_factory.mktemp("whole") / "out"
    run_alone(log, out)
    return out


def test_rejects_exactly_the_broken_rows(log, whole):
    listed = json.loads((log / "malformed.json").read_text())
    wanted = {(row["file"], row["offset"], row["reason"]) for row in listed}
    found, raw = set(), {}
    for path in (whole / names.REJECTED_DIR).rglob("*.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert path.with_suffix(".raw").read_bytes() == b"".join(row["row"].encode("latin-1") for row in rows)
        found |= {(os.path.basename(row["file"]), row["offset"], row["reason"]) for row in rows}
        raw |= {(row["file"], row["offset"]): row["row"].encode("latin-1") for row in rows}
    assert found == wanted
    assert {reason for _, _, reason in found} >= set(reject_reasons.REASONS) - reject_reasons.OF_TABLES
    for (path, offset), row in raw.items():
        data = pathlib.Path(path).read_bytes()
        assert data[offset : offset + len(row)] == row and row.count(b"\n") <= 1


def test_tensorflow_reads_the_records(whole):
    schema = schema_file.load(names.ALICCP)
    spec = parse_spec.record_spec(schema) | parse_spec.label_spec() | parse_spec.sample_id_spec()
    files = tf.io.gfile.glob(names.records_pattern(str(whole), names.TRAIN))
    batches = tf.data.TFRecordDataset(files, "GZIP").batch(64).map(lambda batch: tf.io.parse_example(batch, spec))
    size = json.loads((whole / names.VOCABULARY_DIR / names.VOCABULARY_FILE).read_text())["size"]
    impressions = 0
    for batch in batches:
        impressions += len(batch[names.CLICK].flat_values)
        for field in schema.fields:
            column = batch[field.name]
            flat = column.flat_values if isinstance(column, tf.RaggedTensor) else column
            assert int(tf.reduce_min(flat)) >= 0 and int(tf.reduce_max(flat)) < size
            if field.weighted:
                assert batch[field.weight_key].flat_values.shape == flat.shape
    report = json.loads((whole / names.REPORT_DIR / names.REPORT_JSON).read_text())
    assert impressions == report["splits"][names.TRAIN]["impressions"]


@pytest.mark.parametrize("flags", [["--direct_num_workers=1"], ["--direct_running_mode=multi_processing"]])
def test_runners_and_workers_write_equal_bytes(log, whole, tmp_path, flags):
    process = start(log, tmp_path / "out", "--block_size=30000", "--direct_num_workers=2", *flags)
    text, _ = process.communicate()
    assert process.returncode == 0, text
    assert contents(tmp_path / "out") == contents(whole)


def test_pieces_of_any_size_write_equal_bytes(log, whole, tmp_path):
    run_alone(log, tmp_path / "out", block_size=7000, piece_size=5000)
    assert contents(tmp_path / "out") == contents(whole)


@pytest.mark.commands
@pytest.mark.chains
def test_a_dask_cluster_of_two_processes_writes_equal_bytes(log, whole, tmp_path):
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
    )
    with cluster:
        flags = [
            "--runner=DaskRunner",
            f"--dask_client_address={cluster.scheduler_address}",
        ]
        process = start(log, tmp_path / "out", *flags)
        text, _ = process.communicate()
    assert process.returncode == 0, text
    assert contents(tmp_path / "out") == contents(whole)


@pytest.mark.parametrize("moment", ["exchange/impressions", "exchange/pieces", "records/train"])
def test_a_killed_run_is_never_complete_and_a_rerun_succeeds(log, whole, tmp_path, moment):
    out = tmp_path / "out"
    process = start(log, out, "--block_size=30000", "--direct_num_workers=1")
    temporary = out / publish.TEMPORARY
    while process.poll() is None and not list(temporary.glob(f"*/{moment}/*")):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (out / names.SUCCESS_FILE).exists()
    run_alone(log, out)
    assert contents(out) == contents(whole)


def test_a_complete_output_is_refused_and_replaced_on_demand(log, whole, tmp_path):
    out = tmp_path / "out"
    run_alone(log, out)
    before = contents(out)
    with pytest.raises(publish.OutputError, match="--overwrite"):
        run_alone(log, out)
    assert contents(out) == before
    run_alone(log, out, overwrite=True, min_count=10**6)
    assert (out / names.SUCCESS_FILE).exists() and contents(out) != before


def test_a_folder_of_other_files_is_refused(log, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(publish.OutputError, match="no run of this command made"):
        run_alone(log, tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").exists()


def test_too_many_rejected_rows_fail_the_job_with_counts_and_a_sample(log, tmp_path):
    with pytest.raises(command.TooManyRejectsError, match=r"(?s)--max_rejected=0.001.*blank_line.*common_features"):
        run_alone(log, tmp_path / "out", max_rejected=0.001)
    assert not (tmp_path / "out" / names.SUCCESS_FILE).exists()
    assert list((tmp_path / "out" / publish.FAILED / names.REJECTED_DIR).rglob("*.jsonl"))
    run_alone(log, tmp_path / "out")
    assert (tmp_path / "out" / names.SUCCESS_FILE).exists()


def flipped(data):
    return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("keys.int64", flipped, "vocabulary.json: checksum"),
        ("ids.int32", flipped, "vocabulary.json: checksum"),
        ("sample_requests.json", lambda data: data[:-9], "sample_requests.json: damaged"),
        ("sample_requests.json", lambda data: b"{}", "sample_requests.json: damaged (no list"),
        ("history/counts.float32", lambda data: data[:-1], "history/counts.float32: damaged"),
        ("history/counts.float32", None, "history/counts.float32: no such file"),
        ("history/counts.float32", flipped, "history/counts.float32: other bytes than were written"),
        ("history/checksums.json", lambda data: b"{}", "history/checksums.json: damaged"),
        ("history/pending_keys.int64", lambda data: data[:-8], "entries, expected are"),
    ],
)
def test_no_run_begins_with_a_damaged_vocabulary(log, whole, tmp_path, name, change, message):
    given = pathlib.Path(shutil.copytree(whole / names.VOCABULARY_DIR, tmp_path / "given"))
    before = (given / name).read_bytes()
    (given / name).unlink()
    if change:
        (given / name).write_bytes(change(before))
    flag = f"--previous_vocabulary={given}" if name.startswith("history") else f"--vocabulary={given}"
    status, text = run_forked("preprocess", f"--input_dir={log}", f"--output_dir={tmp_path}/out", flag)
    assert status == 1 and message in text and str(given) in text and text.count("\n") == 1, text
    assert not (tmp_path / "out").exists()


def test_an_existing_vocabulary_gives_equal_records(log, whole, tmp_path):
    given = str(whole / names.VOCABULARY_DIR)
    run_alone(log, tmp_path / "out", vocabulary=given, splits=(names.TEST,))
    wanted = {
        path: digest for path, digest in contents(whole).items() if path.startswith((names.TEST, names.VOCABULARY_DIR))
    }
    found = contents(tmp_path / "out")
    assert {path: found[path] for path in wanted} == wanted


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--min_cout=3"], "--min_cout=3: no flag of this job"),
        (["--min_count=0"], "--min_count=0: allowed is 1 or more"),
        (["--min_count=abc"], "flag --min_count=abc: invalid literal"),
        (["--piece_size=0"], "--piece_size=0: allowed is 1 or more"),
        (["--flagfile=nowhere.flags"], "nowhere.flags"),
        (["--splits=train,dev"], "common_features_dev.csv"),
        (["--splits=test"], "--vocabulary"),
        (["--schema=nowhere.yaml"], "nowhere.yaml"),
        (["--vocabulary=nowhere"], "--vocabulary=nowhere: no vocabulary (nowhere/vocabulary.json: No such file"),
        (["--previous_vocabulary=README.md"], "--previous_vocabulary=README.md: no vocabulary (README.md/vocabulary"),
        (["--direct_num_workers=abc"], "--direct_num_workers: invalid int value: 'abc'"),
        (["--direct_num_workers=-1"], "--direct_num_workers=-1: allowed is 0 (all cores) or more"),
        (["--direct_running_mode=fast"], "--direct_running_mode: invalid choice: 'fast'"),
        (["--runner=DaskRunner", "--min_cout=3"], "--min_cout=3: no flag of this job"),
        (["--runner=Nope"], "--runner=Nope: Unexpected pipeline runner"),
        (["--runner=no.such.Runner"], "--runner=no.such.Runner: No module named 'no'"),
        (["--runner=FlinkRunner", "--parallelism=many"], "--parallelism: invalid int value: 'many'"),
        (["--output_dir=/dev/null/out"], "/dev/null/out: Not a directory"),
        (["--output_dir=" + "x" * 300], "/_made_by.json: File name too long"),
    ],
)
def test_mistakes_are_one_line_and_a_status(log, tmp_path, flags, message):
    status, text = run_forked("preprocess", f"--input_dir={log}", f"--output_dir={tmp_path}/out", *flags)
    assert status == 1
    assert message in text and text.startswith("preprocess: ") and text.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_job_server_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(runner, "_ANSWER_SECONDS", 0.2)
    options = runner.beam_options(["--runner=PortableRunner", "--job_endpoint=127.0.0.1:1"])
    with pytest.raises(runner.EngineError, match=r"PortableRunner at 127\.0\.0\.1:1: no job server has answered"):
        runner.run(None, options)


def test_an_input_that_breaks_off_is_named(tmp_path):
    writer = LogWriter(1, aliccp_schema(True), False)
    raw = tmp_path / "raw"
    raw.mkdir()
    writer.aliccp(raw, names.TRAIN)
    broken = raw / "sample_skeleton_train-9.csv.gz"
    broken.write_bytes(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03 not deflate")
    process = start(raw, tmp_path / "out", "--splits=train")
    text, _ = process.communicate()
    assert process.returncode == 1
    assert str(broken) in text and "Traceback" not in text
    assert not (tmp_path / "out" / names.SUCCESS_FILE).exists()


def test_a_file_that_cannot_be_written_is_named(log, tmp_path):
    # What a full disk does, without filling one: no file may grow beyond 20,000 bytes.
    flags = [f"--input_dir={log}", f"--output_dir={tmp_path / 'out'}", "--direct_num_workers=1"]
    limited = f"ulimit -f 20; exec {sys.executable} -m preprocess {' '.join(flags)}"
    root = pathlib.Path(command.__file__).parent.parent
    found = subprocess.run(["bash", "-c", limited], cwd=root, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert f"writing {tmp_path / 'out'}" in found.stderr and "Traceback" not in found.stderr
    assert not (tmp_path / "out" / names.SUCCESS_FILE).exists()
