"""Nothing wrong goes live: an export is tried in a fresh process, and so is any version by the command."""

import json
import os
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import tensorflow as tf
from local_server_examples import running_server
from served_model_examples import make_trained, make_vocabulary, mixed_schema, random_raw_requests

from features import names, raw_requests
from serving import check, export, saved_model_files, trial
from serving.export_options import ExportOptions
from serving.saved_model_files import CheckError

SCHEMA = mixed_schema()
v1 = tf.compat.v1


def save_sample_requests(trained):
    with open(f"{trained.vocabulary_dir}/{names.SAMPLE_REQUESTS_FILE}", "w", encoding="utf-8") as file:
        file.write(raw_requests.to_json(random_raw_requests(SCHEMA, 8)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    made = make_trained(str(tmp_path_factory.mktemp("trained")), make_vocabulary(SCHEMA))
    save_sample_requests(made)
    return made


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    return trained.export(str(tmp_path_factory.mktemp("export")), checked=True)


@pytest.fixture
def version(exported, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(exported, tmp_path / "E" / "7")


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "serving.check", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def with_weights_changed(trained, folder, change):
    """The checkpoint with one tower's first kernel changed."""
    with tf.Graph().as_default(), v1.Session() as session:
        reader = tf.train.load_checkpoint(trained.checkpoint)
        for name in reader.get_variable_to_shape_map():
            value = reader.get_tensor(name)
            v1.get_variable(name, initializer=change(value) if name.endswith("towers/layer_0/kernel") else value)
        assert any(v.op.name.endswith("towers/layer_0/kernel") for v in v1.global_variables()), v1.global_variables()
        session.run(v1.global_variables_initializer())
        return v1.train.Saver().save(session, str(folder / "model.ckpt"))


def test_the_command_tells_what_was_tried(exported):
    done = command(exported)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert "9 scores" not in done.stdout and "of 3 signatures" in done.stdout and "3 warm-up calls" in done.stdout


@pytest.mark.commands
def test_nan_in_a_tower_never_becomes_a_version(trained, tmp_path):
    def spoilt(kernel):
        return np.where(np.arange(kernel.size).reshape(kernel.shape) == 3, np.nan, kernel).astype(kernel.dtype)

    checkpoint = with_weights_changed(trained, tmp_path, spoilt)
    base = tmp_path / "E"
    with pytest.raises(CheckError, match=r"kernel: 1 of \d+ are not finite"):
        export.export_saved_model(str(base), checkpoint, trained.vocabulary_dir, trained.settings)
    assert os.listdir(base) == []


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -0.1, 1.1])
def test_what_is_no_score_does_not_pass_though_the_checkpoint_gave_it(odd):
    assert "no score" in trial.difference(np.array([0.5, odd]), [0.5, odd])[1]
    assert "no score" in trial.difference(np.array([0.5, odd]), [0.5, 0.5])[1]
    assert "away from" in trial.difference(np.array([0.5, 0.5]), [0.5, float("nan")])[1]
    assert "2 scores" in trial.difference(np.array([0.5, 0.5]), [0.5])[1]


def test_weights_that_are_not_the_checkpoints(version):
    path = version / "variables" / "variables.data-00000-of-00001"
    contents = path.read_bytes()
    path.write_bytes(contents[:-400] + bytes(400))
    with pytest.raises(CheckError):
        trial.run(str(version))


@pytest.mark.parametrize("name", [names.VOCABULARY_KEYS_FILE, names.VOCABULARY_IDS_FILE])
@pytest.mark.parametrize("change", [lambda b: b[:-8], lambda b: b + bytes(8), lambda b: bytes([b[0] ^ 1]) + b[1:]])
def test_another_vocabulary_is_refused_by_the_graph_itself(version, name, change):
    path = version / "assets" / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(CheckError, match=f"vocabulary file {name} is not the one"):
        trial.run(str(version))


def test_no_server_loads_a_version_beside_another_vocabulary(version):
    path = version / "assets" / names.VOCABULARY_IDS_FILE
    path.write_bytes(path.read_bytes()[::-1])
    with running_server(f"--model_base_path={version.parent}", "--model_name=m") as server:
        status, answer = server.json("GET", "/v1/models/m")
    assert status == 200 and answer["model_version_status"][0]["state"] == "END"
    assert "vocabulary file ids.int32" in answer["model_version_status"][0]["status"]["error_message"]


def test_scores_that_are_not_the_checkpoints_are_named(version):
    path = version / saved_model_files.EXTRA_DIR / saved_model_files.SAMPLE_FILE
    sample = json.loads(path.read_text())
    sample["scores"][names.PCVR][0] += 2e-6
    path.write_text(json.dumps(sample))
    with pytest.raises(CheckError) as raised:
        trial.run(str(version))
    lines = str(raised.value).splitlines()
    assert len(lines) == 3 and all("pcvr: 2e-06 away from the checkpoint's" in line for line in lines)


def test_every_fault_of_a_folder_is_one_line(version, tmp_path):
    (tmp_path / "empty").mkdir()
    (version / "assets.extra" / "sample.json").unlink()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "saved_model.pb").write_bytes(b"no SavedModel")
    done = command(version, version.parent, tmp_path / "empty", tmp_path / "absent", tmp_path / "damaged")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 5
    words = ("sample.json", f"such as {version} is one", "no exported version", "no exported version", "cannot be load")
    for line, word in zip(lines, words, strict=True):
        assert word in line


def test_a_broken_warm_up_file_is_a_fault(version):
    path = version / saved_model_files.EXTRA_DIR / saved_model_files.WARM_UP_FILE
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CheckError, match=saved_model_files.WARM_UP_FILE):
        trial.run(str(version))


def test_the_library_function_raises_what_the_command_prints(version):
    assert "right" in check.in_fresh_process(str(version))
    shutil.rmtree(version / "variables")
    with pytest.raises(CheckError, match="cannot be loaded"):
        check.in_fresh_process(str(version))


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_the_command_without_a_version_says_how(arguments):
    done = command(*arguments)
    assert done.returncode and "python -m serving.check" in done.stderr


def test_a_table_of_float16_is_half_as_large_and_scores_nearly_the_same(trained, exported, tmp_path):
    half = trained.export(str(tmp_path / "E"), table_precision="float16")
    assert "right:" in str(trial.run(half))
    sizes = [tf.train.load_checkpoint(f"{path}/variables/variables") for path in (exported, half)]
    dtypes = [{name: kind.name for name, kind in one.get_variable_to_dtype_map().items()} for one in sizes]
    assert dtypes[1] == dtypes[0] | {"model/embedding_table": "float16"}
    (request,) = random_raw_requests(SCHEMA, 1)
    with trial.LoadedVersion(exported) as whole, trial.LoadedVersion(half) as rounded:
        assert (whole.allowed_difference, rounded.allowed_difference) == (1e-6, 2e-3)
        found = [np.concatenate(list(scores.values())) for scores in whole.scores_by_signature(request)]
        other = [np.concatenate(list(scores.values())) for scores in rounded.scores_by_signature(request)]
    assert 0 < np.abs(np.stack(found) - np.stack(other)).max() < 2e-3


def test_a_weight_that_float16_cannot_hold_is_refused(trained, tmp_path):
    with tf.Graph().as_default(), v1.Session() as session:
        reader = tf.train.load_checkpoint(trained.checkpoint)
        for name in reader.get_variable_to_shape_map():
            v1.get_variable(name, initializer=reader.get_tensor(name) * (1e7 if name.endswith("table") else 1))
        session.run(v1.global_variables_initializer())
        checkpoint = v1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    told = (
        r"embedding_table holds \S+ in row \d+, .* more than --table_precision=float16 can tell; export it as float32"
    )
    half = ExportOptions(table_precision="float16")
    with warnings.catch_warnings(), pytest.raises(export.ExportError, match=told):
        warnings.simplefilter("error", RuntimeWarning)  # one line, and none of NumPy's beside it
        export.export_saved_model(str(tmp_path / "E"), checkpoint, trained.vocabulary_dir, trained.settings, half)
    assert os.listdir(tmp_path / "E") == []
