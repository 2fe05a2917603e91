import os
import shutil
import time

import numpy as np
import pytest
import tensorflow as tf
from record_examples import small_schema
from served_model_examples import (
    Reference,
    Served,
    make_trained,
    make_vocabulary,
    mixed_schema,
    random_raw_requests,
)

from features import names, schema_file, vocabulary
from model_fn.hyperparameters import Hyperparameters
from serving import export, saved_model_files, warm_up

SCHEMA = mixed_schema()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return make_trained(str(tmp_path_factory.mktemp("trained")), make_vocabulary(SCHEMA))


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    return trained.export(str(tmp_path_factory.mktemp("export")))


def signature_defs(path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        return tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], path).signature_def


def test_the_exported_folder_alone_answers(tmp_path):
    trained = make_trained(str(tmp_path / "trained"), make_vocabulary(SCHEMA))
    requests = random_raw_requests(SCHEMA, 5)
    expected = Reference(trained).scores(requests)
    path = trained.export(str(tmp_path / "export"))
    elsewhere = str(tmp_path / "elsewhere" / "7")
    os.makedirs(os.path.dirname(elsewhere))
    shutil.move(path, elsewhere)
    shutil.rmtree(tmp_path / "trained")
    shutil.rmtree(tmp_path / "export")
    served = Served(elsewhere, SCHEMA)
    for signature in saved_model_files.SIGNATURES:
        found = [served.scores(raw)[signature] for raw in requests]
        for name in names.SCORES:
            np.testing.assert_allclose(np.concatenate([scores[name] for scores in found]), expected[name], atol=1e-6)


def test_signatures_are_what_callers_are_told(exported):
    found = signature_defs(exported)
    assert set(saved_model_files.SIGNATURES) <= found.keys()
    shared = found[saved_model_files.SHARED_CONTEXT]
    ranks = {key: len(info.tensor_shape.dim) for key, info in shared.inputs.items()}
    types = {key: tf.as_dtype(info.dtype) for key, info in shared.inputs.items()}
    for field in SCHEMA.fields:
        assert ranks.pop(field.name) == (1 if field.is_context else 2)
        assert types[field.name] == {"id": tf.int64, "string": tf.string, "number": tf.float32}[field.type]
        if field.weighted:
            assert ranks.pop(field.weight_key) == (1 if field.is_context else 2)
            assert types[field.weight_key] == tf.float32
    assert not ranks
    assert set(shared.outputs) == set(names.SCORES)
    assert set(found[saved_model_files.EXAMPLES].inputs) == {"examples"}
    assert set(found[saved_model_files.EXAMPLES].outputs) == set(names.SCORES)
    classification = found[saved_model_files.CLASSIFICATION]
    assert classification.method_name == "tensorflow/serving/classify"
    assert set(classification.inputs) == {"inputs"}
    assert set(classification.outputs) == {"classes", "scores"}


def test_classes_are_named(exported):
    found = Served(exported, SCHEMA).classification([b"", b""])
    assert found["classes"].tolist() == [[b"ctr", b"cvr", b"ctcvr"]] * 2


def test_one_set_of_variables_and_no_optimizer_slots(trained, exported):
    in_checkpoint = {name for name, _ in tf.train.list_variables(trained.checkpoint)}
    in_export = {name for name, _ in tf.train.list_variables(os.path.join(exported, "variables", "variables"))}
    assert {name for name in in_checkpoint if name.endswith("/Slot")}
    assert in_export == {name for name in in_checkpoint if not name.endswith("/Slot")} - {"global_step"}


def test_files_beside_the_model(trained, exported):
    schema = schema_file.load(saved_model_files.extra_file(exported, names.SCHEMA_FILE))
    assert schema == SCHEMA
    with open(saved_model_files.extra_file(exported, saved_model_files.HYPERPARAMETERS_FILE), encoding="utf-8") as file:
        assert Hyperparameters.from_json(file.read()) == trained.settings
    assert os.path.exists(saved_model_files.extra_file(exported, names.VOCABULARY_FILE))
    assert os.path.exists(saved_model_files.extra_file(exported, saved_model_files.WARM_UP_FILE))


def test_versions_ascend_also_within_a_second(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_write_saved_model", lambda directory, *_: os.makedirs(directory))
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.9)
    base = str(tmp_path)
    made = [os.path.basename(trained.export(base)) for _ in range(3)]
    assert made == ["1700000000", "1700000001", "1700000002"]
    os.mkdir(tmp_path / "1800000000")
    assert os.path.basename(trained.export(base)) == "1800000001"


def test_a_version_that_another_export_takes_meanwhile(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_write_saved_model", lambda directory, *_: os.makedirs(directory))
    listings = iter([[], [5]])
    monkeypatch.setattr(saved_model_files, "versions", lambda base: next(listings))
    monkeypatch.setattr(time, "time", lambda: 5.0)
    (tmp_path / "5").mkdir()
    (tmp_path / "5" / "saved_model.pb").touch()
    assert os.path.basename(trained.export(str(tmp_path))) == "6"


def test_a_polling_server_sees_no_version_before_it_is_whole(trained, tmp_path, monkeypatch):
    seen = []
    write = warm_up.write

    def spy(*arguments):
        write(*arguments)
        seen.extend(os.listdir(tmp_path))

    monkeypatch.setattr(warm_up, "write", spy)
    path = trained.export(str(tmp_path))
    assert len(seen) == 1
    assert not seen[0].isdigit()
    assert os.listdir(tmp_path) == [os.path.basename(path)]
    assert saved_model_files.versions(str(tmp_path)) == [int(os.path.basename(path))]


def test_a_failed_export_leaves_nothing(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(warm_up, "write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trained.export(str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_a_checkpoint_of_another_model_is_refused(trained, tmp_path):
    wider = Hyperparameters(embedding_size=4, deep_layers=(8, 4, 2))
    with pytest.raises(export.ExportError, match=r"layer.*there: none.*hyperparameters and the vocabulary"):
        export.export_saved_model(str(tmp_path), trained.checkpoint, trained.vocabulary_dir, wider)
    grown = vocabulary.Vocabulary(small_schema(), np.array([1, 2]), np.array([16, 17], np.int32))
    grown.save(str(tmp_path / "vocabulary"))
    with pytest.raises(export.ExportError, match=r"embedding_table \[18, 4\] \(there: \["):
        other = str(tmp_path / "vocabulary")
        export.export_saved_model(str(tmp_path / "E"), trained.checkpoint, other, trained.settings)
    assert os.listdir(tmp_path / "E") == []


def test_no_checkpoint(trained, tmp_path):
    with pytest.raises(export.ExportError, match=r"nowhere/model\.ckpt-1: no readable checkpoint"):
        export.export_saved_model(
            str(tmp_path), str(tmp_path / "nowhere/model.ckpt-1"), trained.vocabulary_dir, trained.settings
        )


def test_numeric_folders_alone_are_versions(tmp_path):
    for name in ("12", "3", "temp-9", "9x", "1.5", "-4"):
        (tmp_path / name).mkdir()
    assert saved_model_files.versions(str(tmp_path)) == [3, 12]
    assert saved_model_files.versions(str(tmp_path / "absent")) == []
