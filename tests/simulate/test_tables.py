"""Simulated logs as CSV and Parquet: their broken rows are what the job and the client reject, and nothing else is."""

import json

import pytest

from features import names, raw_requests, reject_reasons, schema_file
from preprocess import command, file_steps
from preprocess.options import Options as JobOptions
from simulate import table_defects, tables
from simulate.options import Options
from simulate.simulation import MALFORMED_FILE, simulate

EACH = 5


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables") / "log"
    simulate(Options(requests=12, test_requests=6, seed=2, history_scale=0.05), str(folder))
    return folder


def rejected(out):
    lines = [line for path in (out / "rejected").rglob("*.jsonl") for line in path.read_text().splitlines()]
    found = [json.loads(line) for line in lines]
    return sorted((row["file"].split("/")[-1], row["offset"], row["reason"], row["column"]) for row in found)


@pytest.mark.parametrize("form", [names.CSV, names.PARQUET])
def test_every_broken_row_and_no_other_is_rejected_as_listed(log, form, tmp_path):
    made = tmp_path / "tables"
    listed = tables.write(str(log), str(made), form, EACH)
    assert json.loads((made / MALFORMED_FILE).read_text()) == listed
    of_form = table_defects.of_form(form)
    assert {row["reason"] for row in listed} == of_form.keys()
    assert len(listed) == 2 * EACH * len(of_form)
    wanted = sorted((row["file"], row["offset"], row["reason"], row["column"]) for row in listed)
    options = JobOptions(str(made), str(tmp_path / "out"), form, str(made / names.SCHEMA_FILE), min_count=1)
    options = JobOptions(**vars(options) | {"max_rejected": 1.0, "keep_useless": True, "block_size": 200_000})
    report = command.run(options, execute=file_steps.run_in_process)
    assert rejected(tmp_path / "out") == wanted
    aliccp = json.loads((log / "simulation.json").read_text())["splits"]
    assert {split: found["impressions"] for split, found in report.splits.items()} == {
        split: found["impressions"] for split, found in aliccp.items()
    }
    schema, errors = schema_file.load(str(made / names.SCHEMA_FILE)), []
    list(raw_requests.read(str(made), names.TEST, schema, form, errors.append))
    # The client sees neither labels nor what stands elsewhere in the log.
    of_job = {*(name for name in reject_reasons.REASONS if "click" in name or "conversion" in name)}
    of_job |= {reject_reasons.DUPLICATE_SAMPLE_ID, reject_reasons.BAD_TIME}
    told = [row for row in wanted if row[0].startswith(names.TEST) and row[2] not in of_job and row[3] != "weight"]
    assert sorted((error.offset, error.reason, error.column) for error in errors) == [row[1:] for row in told]


def test_all_reasons_of_tables_are_among_the_defects():
    every = {defect.reason for defect in table_defects.DEFECTS}
    of_aliccp_alone = {
        reject_reasons.WRONG_FEATURE_COUNT,
        reject_reasons.SEVERAL_VALUES,
        reject_reasons.DUPLICATE_CONTEXT,
    }
    assert every == set(reject_reasons.REASONS) - of_aliccp_alone


def test_a_folder_with_something_in_it_is_left_alone(log, tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(FileExistsError, match="is not empty"):
        tables.write(str(log), str(tmp_path), names.CSV)
    assert (tmp_path / "mine").read_text() == "x"
