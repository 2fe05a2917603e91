"""Input and output on a store (here in memory; tests/stores has real ones): the same files as on disk."""

import pathlib
import uuid

import pytest
from random_logs import LogWriter, aliccp_schema, table_schema

import storage
from features import names, schema_file
from preprocess import command, file_steps
from preprocess.options import Options
from storage import ownership, publish


@pytest.fixture
def store():
    """A folder of its own in fsspec's store in memory."""
    return f"memory://{uuid.uuid4().hex}"


def run(folder, input_dir, output_dir, input_format, **more):
    options = Options(
        input_dir=str(input_dir),
        keep_useless=True,
        output_dir=str(output_dir),
        input_format=input_format,
        schema=str(folder / "schema.yaml"),
        max_rejected=1.0,
        min_count=2,
        **more,
    )
    command.run(options, execute=file_steps.run_in_process)


@pytest.mark.parametrize("input_format", [names.ALICCP, names.CSV, names.PARQUET])
def test_remote_output_equals_local_output(tmp_path, store, input_format):
    schema = aliccp_schema(False) if input_format == names.ALICCP else table_schema(True, True)
    (tmp_path / "schema.yaml").write_text(schema_file.dump(schema))
    (tmp_path / "raw").mkdir()
    writer = LogWriter(7, schema, broken=input_format != names.PARQUET)
    for split in (names.TRAIN, names.TEST):
        {names.ALICCP: writer.aliccp, names.CSV: writer.csv, names.PARQUET: writer.parquet}[input_format](
            tmp_path / "raw", split
        )
    run(tmp_path, tmp_path / "raw", tmp_path / "out", input_format)
    for path in (tmp_path / "raw").iterdir():
        storage.write(f"{store}/raw/{path.name}", [path.read_bytes()])
    run(tmp_path, f"{store}/raw", f"{store}/out", input_format, block_size=400)
    remote = {path.removeprefix(f"{store}/out/"): storage.read(path) for path, _ in storage.walk(f"{store}/out")}
    local = {str(path.relative_to(tmp_path / "out")): path.read_bytes() for path in files(tmp_path / "out")}
    assert remote.keys() == local.keys()
    but = (
        ownership.MARK_FILE,
        names.REPORT_DIR,
        names.REJECTED_DIR,
        f"{names.VOCABULARY_DIR}/{names.SAMPLE_REQUESTS_FILE}",
    )
    assert {p: d for p, d in remote.items() if not p.startswith(but)} == {
        p: d for p, d in local.items() if not p.startswith(but)
    }
    rows = f"{names.REJECTED_DIR}/"
    assert {p: d for p, d in remote.items() if p.startswith(rows) and p.endswith(".raw")} == {
        p: d for p, d in local.items() if p.startswith(rows) and p.endswith(".raw")
    }
    with pytest.raises(publish.OutputError, match="--overwrite"):
        run(tmp_path, f"{store}/raw", f"{store}/out", input_format)


def files(folder: pathlib.Path):
    return [path for path in folder.rglob("*") if path.is_file()]
