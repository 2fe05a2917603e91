"""Every command on a real store, one after the other, as one would run them: all that is read and written is remote."""

import itertools
import random

import pytest
from forked_commands import run_forked

import storage
from features import names
from storage import files, lock, publish

# Two fields: most of a short training is the making of a graph, which grows with them.
SCHEMA = """
name: two_fields
columns: {request: visit, sample_id: row, click: click, conversion: bought}
fields:
  - {name: user, group: user, side: context, kind: one, type: id}
  - {name: item, group: item, side: impression, kind: one, type: id}
"""
MODEL = ("--embedding_size=4", "--deep_layers=8", "--batch_size=512", "--num_epochs=1")


def run(module, *flags, status=0):
    ended, text = run_forked(module, *flags)
    assert ended == status, text
    assert "Traceback" not in text
    return text


def trainer(task, store, *flags, model="model"):
    return run("trainer", f"--task_type={task}", f"--data_dir={store}/out", f"--model_dir={store}/{model}", *flags)


def write_log(folder):
    dice, row = random.Random(1), itertools.count()
    folder.mkdir()
    (folder / "schema.yaml").write_text(SCHEMA)
    for split, visits in ((names.TRAIN, 200), (names.TEST, 60)):
        lines = ["visit,row,user,item,click,bought"]
        for visit in range(visits):
            for _ in range(5):
                click = dice.random() < 0.4
                bought = click and dice.random() < 0.4
                lines.append(f"{split}{visit},{next(row)},{visit % 70},{dice.randrange(300)},{click:d},{bought:d}")
        (folder / f"{split}.csv").write_text("\n".join([*lines, ""]))


def log_of(place):
    """The job's flags for a log and the schema beside it."""
    return f"--input_dir={place}/raw", "--input_format=csv", f"--schema={place}/raw/schema.yaml", "--min_count=2"


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The same log and its output on this machine."""
    folder = tmp_path_factory.mktemp("local")
    write_log(folder / "raw")
    run("preprocess", *log_of(folder), f"--output_dir={folder}/out")
    return folder


@pytest.fixture(scope="module")
def out(store, local):
    """Output of the job on the store."""
    for path in (local / "raw").iterdir():
        storage.write(f"{store}/raw/{path.name}", [path.read_bytes()])
    run("preprocess", *log_of(store), f"--output_dir={store}/out")
    return f"{store}/out"


@pytest.fixture(scope="module")
def model(store, out):
    trainer("train", store, *MODEL)
    return f"{store}/model"


def records(folder):
    """Contents of the records and the vocabulary, by path."""
    kept = (f"{names.TRAIN}/", f"{names.TEST}/", f"{names.VOCABULARY_DIR}/")
    paths = {path[len(str(folder)) + 1 :]: path for path, _ in storage.walk(str(folder))}
    return {name: storage.read(path) for name, path in paths.items() if name.startswith(kept)}


def test_single_files(store):
    path = f"{store}/files/once"
    assert files.create_exclusively(path, b"first") and not files.create_exclusively(path, b"second")
    assert storage.read(path) == b"first" and storage.read(path, 1, 3) == b"ir"
    storage.write(path, [b"new ", b"text"])
    storage.write(f"{store}/files/empty", [])
    assert storage.walk(f"{store}/files") == [(f"{store}/files/empty", 0), (path, 8)]
    assert storage.list_files(f"{store}/files/o*") == [(path, 8)]
    version = storage.version(path)
    storage.write(path, [b"new text, more"])
    assert storage.version(path) != version
    with pytest.raises(ZeroDivisionError), storage.writing(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert storage.read(path) == b"new text, more"
    storage.remove(f"{store}/files")
    assert not storage.exists(path) and storage.names_in(f"{store}/files") == []


def test_a_lock(store):
    with (
        lock.held(f"{store}/locked", "python -m preprocess", "output_dir"),
        pytest.raises(lock.LockedError, match="in use by python -m preprocess, process"),
        lock.held(f"{store}/locked", "python -m trainer", "output_dir"),
    ):
        pass


def test_the_job_writes_the_same_as_on_this_machine(store, out, local):
    assert records(out) == records(local / "out")
    assert storage.names_in(out).count(names.SUCCESS_FILE) == 1
    assert publish.TEMPORARY not in storage.names_in(out)


def test_overwriting_and_refusals(store, out):
    flags = (*log_of(store), f"--output_dir={store}/again")
    run("preprocess", *flags)
    assert "--overwrite" in run("preprocess", *flags, status=1)
    run("preprocess", *flags, "--overwrite", "--min_count=3")
    assert records(f"{store}/again").keys() == records(out).keys() and records(f"{store}/again") != records(out)
    assert "is the same place as" in run("preprocess", *log_of(store), f"--output_dir={store}/raw/", status=1)
    assert "holds --input_dir" in run("preprocess", *log_of(store), f"--output_dir={store}", status=1)
    storage.write(f"{store}/foreign/notes.txt", [b"mine"])
    assert "holds files that no run" in run("preprocess", *log_of(store), f"--output_dir={store}/foreign", status=1)


def test_vocabulary_and_schema_may_be_remote(store, out):
    given = (f"--vocabulary={out}/vocabulary", f"--schema={out}/vocabulary/schema.yaml")
    log = (*log_of(store)[:2], f"--output_dir={store}/day", f"--splits={names.TEST}")
    run("preprocess", *log, *given)
    wanted = {name: data for name, data in records(out).items() if name.startswith(names.TEST)}
    found = {name: data for name, data in records(f"{store}/day").items() if name.startswith(names.TEST)}
    assert found == wanted


def test_a_model_is_evaluated_and_scores_what_a_local_one_does(store, model, local):
    assert f"wrote {model}/eval.json" in trainer("eval", store)
    assert storage.exists(f"{model}/eval.json")
    printed = trainer("infer", store, f"--predictions={store}/scores/p.csv", "--ordered")
    assert f"to {store}/scores/p.csv" in printed
    copied = local / "model"
    storage.files.copy_many(
        [path for path, _ in storage.walk(model)],
        [str(copied) + path[len(model) :] for path, _ in storage.walk(model)],
    )
    flags = (f"--model_dir={copied}", f"--predictions={local}/p.csv", "--ordered")
    run("trainer", "--task_type=infer", f"--data_dir={local}/out", *flags)
    assert storage.read(f"{store}/scores/p.csv") == (local / "p.csv").read_bytes()


def test_training_goes_on_and_starts_warm(store, model):
    flags = [flag for flag in MODEL if "epochs" not in flag]
    assert "trained" in trainer("train", store, *flags, "--num_epochs=2")
    trainer("train", store, *MODEL, f"--warm_start_from={model}", model="warm")
    assert storage.exists(f"{store}/warm/checkpoint")


def test_exports_are_versions_on_the_store(store, model):
    assert f"exported {store}/export/" in trainer("export", store, f"--export_dir={store}/export")
    trainer("export", store, f"--export_dir={store}/export")
    versions = [name for name in storage.names_in(f"{store}/export") if name.isdigit()]
    assert len(versions) == 2
    first, second = (
        {path.split(version)[1] for path, _ in storage.walk(f"{store}/export/{version}")} for version in versions
    )
    assert first == second and "/saved_model.pb" in first


def test_a_store_that_is_not_there_is_one_line(store, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("WEBHDFS_PORT", "1")
    for line in (
        run("preprocess", *log_of(store), f"--output_dir={store}/unreached", status=1),
        run("trainer", f"--data_dir={store}/out", f"--model_dir={store}/model", status=1),
    ):
        assert store in line and len(line.strip().splitlines()) == 1
