"""The command against the local server with an exported model: a raw log in, the scores of training's way out."""

import csv
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse

import numpy as np
import pytest
from local_server_examples import running_server
from served_model_examples import Reference, make_trained, make_vocabulary, mixed_schema, random_raw_requests

from features import names, raw_requests, schema_file
from serving import saved_model_files

SCHEMA = mixed_schema()
REQUESTS = random_raw_requests(SCHEMA, 40, seed=3)
LARGEST_DIFFERENCE = 1e-6


def cell(field, values, weights):
    if field.weighted:
        values = [f"{value}:{weight!r}" for value, weight in zip(values, weights, strict=True)]
    return field.value_separator.join(map(str, values))


def write_log(folder, requests):
    """The requests as a CSV log, the context repeated in each row."""
    with open(os.path.join(folder, "test.csv"), "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["request", "sample_id", "click", "conversion", *(field.column for field in SCHEMA.fields)])
        for number, request in enumerate(requests):
            for place, sample_id in enumerate(request.sample_ids):
                row = [number, sample_id, 0, 0]
                for field in SCHEMA.fields:
                    side = request.context if field.is_context else request.impressions
                    values, weights = side[field.name], side.get(field.weight_key, [])
                    if not field.is_context:
                        values, weights = values[place], weights[place] if weights else []
                    row.append(cell(field, values, weights))
                writer.writerow(row)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    write_log(folder, REQUESTS)
    (folder / "schema.yaml").write_text(schema_file.dump(SCHEMA), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return make_trained(str(tmp_path_factory.mktemp("trained")), make_vocabulary(SCHEMA))


@pytest.fixture(scope="module")
def server(trained, tmp_path_factory):
    base = tmp_path_factory.mktemp("export")
    trained.export(str(base))
    config = base / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "mixed" base_path: "{base}" model_platform: "tensorflow" '
        "model_version_policy { all {} } } }"
    )
    flags = ("--max_request_bytes=200000", "--file_system_poll_wait_seconds=0.1")
    with running_server(f"--model_config_file={config}", *flags) as running:
        running.add_version = lambda: add_version(base, running)
        yield running


def add_version(base, server):
    """The newest version once more, under the next number."""
    newest = max(map(int, server.versions("mixed")))
    shutil.copytree(base / str(newest), base / "copy")
    (base / "copy").rename(base / str(newest + 1))
    while server.versions("mixed").get(str(newest + 1)) != "AVAILABLE":
        time.sleep(0.05)


def command(url, log, path, *flags):
    return [
        *(sys.executable, "-m", "serving.predict", f"--server={url}", f"--input_dir={log}", f"--predictions={path}"),
        *(f"--schema={log}/schema.yaml", "--input_format=csv", "--model_name=mixed", *flags),
    ]


def predict(*arguments):
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False)


def read_predictions(path):
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["sample_id", "pctr", "pcvr", "pctcvr"]
    return [int(row[0]) for row in rows], np.array([[float(value) for value in row[1:]] for row in rows])


def test_log_reads_as_it_was_written(log):
    assert list(raw_requests.read(str(log), "test", SCHEMA, names.CSV)) == REQUESTS


@pytest.mark.parametrize("signature", saved_model_files.SIGNATURES)
def test_scores_are_those_of_training_in_input_order(server, log, trained, tmp_path, signature):
    path = tmp_path / "scores.csv"
    done = predict(server.url, log, path, f"--signature={signature}", "--max_candidates=3", "--concurrency=3")
    assert done.returncode == 0, done.stderr
    sample_ids, scores = read_predictions(path)
    assert sample_ids == [sample_id for request in REQUESTS for sample_id in request.sample_ids]
    expected = Reference(trained).scores(REQUESTS)
    for column, name in enumerate(names.SCORES):
        assert np.abs(scores[:, column] - expected[name]).max() <= LARGEST_DIFFERENCE
    assert f"scores of {len(sample_ids)} impressions" in done.stdout
    assert os.listdir(tmp_path) == ["scores.csv"]


def test_refused_call_names_the_row_and_leaves_no_file(server, log, tmp_path):
    done = predict(server.url, log, tmp_path / "scores.csv", "--model_version=99")
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "sample_id " in done.stderr and "Specific(mixed, 99)" in done.stderr
    assert os.listdir(tmp_path) == []


def test_broken_row_is_named_or_left_out(server, log, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    write_log(broken, REQUESTS)
    with open(broken / "test.csv", "a") as file:
        file.write("99,no number\n")
    (broken / "schema.yaml").write_text(schema_file.dump(SCHEMA), encoding="utf-8")
    lines = sum(len(request.sample_ids) for request in REQUESTS) + 2
    done = predict(server.url, broken, tmp_path / "scores.csv")
    assert done.returncode != 0 and f"test.csv, line {lines}: " in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "scores.csv").exists()
    again = ("--resume",) if (tmp_path / "scores.csv.part").exists() else ()
    done = predict(server.url, broken, tmp_path / "scores.csv", "--max_broken_rows=1", *again)
    assert done.returncode == 0 and "1 unreadable rows left out" in done.stdout


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A log that takes seconds."""
    folder = tmp_path_factory.mktemp("many")
    write_log(folder, REQUESTS * 200)
    (folder / "schema.yaml").write_text(schema_file.dump(SCHEMA), encoding="utf-8")
    return folder


def begun(url, log, path, *flags):
    """A run that has kept scores already."""
    process = subprocess.Popen(command(url, log, path, *flags), stderr=subprocess.PIPE, text=True)
    part = f"{path}.part"
    while not os.path.exists(part) or os.path.getsize(part) < 2000:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    return process


def test_killed_run_leaves_no_predictions(server, many, tmp_path):
    process = begun(server.url, many, tmp_path / "scores.csv")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert os.listdir(tmp_path) == ["scores.csv.part"]


def stopped_by_ctrl_c(process):
    """Standard error of a run that Ctrl-C ended, and the seconds that it took."""
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    errors = process.communicate()[1]
    assert process.returncode == 130 and "Traceback" not in errors
    return errors, time.monotonic() - start


def test_ctrl_c_keeps_the_scores_and_resume_goes_on_behind_them(server, many, tmp_path):
    """Also where the model changed in between, which is said."""
    path = tmp_path / "scores.csv"
    flags = ("--max_requests=1000", "--with_model_version")
    errors, _ = stopped_by_ctrl_c(begun(server.url, many, path, *flags))
    assert f"the scores so far are in {path}.part: --resume" in errors
    kept = (tmp_path / "scores.csv.part").read_text()
    done = predict(server.url, many, path, *flags)
    assert done.returncode == 1 and "--resume goes on behind them" in done.stderr
    server.add_version()
    done = predict(server.url, many, path, *flags, "--resume")
    assert done.returncode == 0, done.stderr
    assert "MIXED, by versions" in done.stdout and "the model changed during the run" in done.stdout
    lines = path.read_text().splitlines(keepends=True)
    assert "".join(lines).startswith("".join(kept.splitlines(keepends=True)[1:-20]))
    assert {line.rsplit(",", 1)[1] for line in lines[1:]} == {f"{version}\n" for version in server.versions("mixed")}
    whole = [sample_id for request in (REQUESTS * 25)[:1000] for sample_id in request.sample_ids]
    assert [int(line.split(",")[0]) for line in lines[1:]] == whole


def test_ctrl_c_does_not_wait_for_a_server_that_says_nothing(log, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(command(url, log, tmp_path / "scores.csv"), stderr=subprocess.PIPE, text=True)
        silent.accept()
        _, seconds = stopped_by_ctrl_c(process)
    assert seconds < 25  # an attempt alone may take 30
    assert os.listdir(tmp_path) == []


class Outage:
    """A way to a server on which there is nothing for some time."""

    def __init__(self, url, seconds):
        self.target = urllib.parse.urlsplit(url)
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._open, args=(seconds,), daemon=True).start()

    def _open(self, seconds):
        time.sleep(seconds)
        self.socket.listen()
        while True:
            near = self.socket.accept()[0]
            far = socket.create_connection((self.target.hostname, self.target.port))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    def _copy(self, source, target):
        while part := source.recv(1 << 16):
            target.sendall(part)
        target.shutdown(socket.SHUT_WR)


def test_an_outage_is_waited_for(server, log, tmp_path):
    path = tmp_path / "scores.csv"
    done = predict(Outage(server.url, 8.0).url, log, path)
    assert done.returncode == 0, done.stderr
    assert len(read_predictions(path)[0]) == sum(len(request.sample_ids) for request in REQUESTS)


def test_max_requests_counts_requests_of_the_log(server, log, tmp_path):
    """However many calls each is sent in."""
    path = tmp_path / "scores.csv"
    assert predict(server.url, log, path, "--max_requests=3", "--max_candidates=1").returncode == 0
    assert read_predictions(path)[0] == [i for request in REQUESTS[:3] for i in request.sample_ids]


def test_scores_to_the_terminal_come_alone(server, log):
    done = predict(server.url, log, "/dev/stdout", "--max_requests=2")
    assert done.returncode == 0, done.stderr
    header, *rows = done.stdout.splitlines()
    assert header == "sample_id,pctr,pcvr,pctcvr" and len(rows) == sum(len(r.sample_ids) for r in REQUESTS[:2])
    assert "impressions" in done.stderr
