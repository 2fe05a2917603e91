"""The command against the local server with an exported model: a raw log in, the scores of training's way out."""

import csv
import os
import signal
import subprocess
import sys
import time

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
    with running_server(f"--model_base_path={base}", "--model_name=mixed", "--max_request_bytes=200000") as running:
        yield running


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


def test_killed_run_leaves_no_predictions(server, log, tmp_path):
    many = tmp_path / "many"
    many.mkdir()
    write_log(many, REQUESTS * 200)
    (many / "schema.yaml").write_text(schema_file.dump(SCHEMA), encoding="utf-8")
    process = subprocess.Popen(command(server.url, many, tmp_path / "scores.csv"), stderr=subprocess.DEVNULL)
    while not [name for name in os.listdir(tmp_path) if name == "scores.csv.part"]:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "scores.csv").exists()
