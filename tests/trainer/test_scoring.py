import csv
import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
from pyarrow import parquet
from record_examples import small_schema, write_data_dir

import storage
from features import names
from model_fn.hyperparameters import Hyperparameters
from model_fn.slices import MOST_VALUES
from storage import ownership, process
from trainer import data_dir, exporters, model_dir, predictions, reporting, saving, scoring, slicing, training
from trainer.options import Options

SCHEMA = small_schema()
SMALL = Hyperparameters(deep_layers=(8,), embedding_size=4)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scoring")
    requests = write_data_dir(str(folder / "data"), SCHEMA, train=60, test=40)
    settings = {"data_dir": str(folder / "data"), "model_dir": str(folder / "model"), "batch_size": 32}
    training.train(Options(**settings, max_steps=5, exporters="best,final", slice_by="item"), SMALL, {})
    shutil.copy(folder / "model" / "eval.json", folder / "after_training.json")
    return settings, requests


def infer(settings, path, **changes):
    count = scoring.infer(Options(**settings, task_type="infer", predictions=str(path), **changes), {})
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["sample_id", "pctr", "pcvr", "pctcvr"] and len(rows) == count + 1
    return {int(row[0]): [float(x) for x in row[1:]] for row in rows[1:]}, [int(row[0]) for row in rows[1:]]


def test_every_impression_of_the_test_split_is_scored_once_in_order(model, tmp_path):
    settings, requests = model
    scores, order = infer(settings, tmp_path / "new" / "p.csv", ordered=True)
    assert order == [i for request in requests[names.TEST] for i in request.sample_id]
    pctr, pcvr, pctcvr = np.array(list(scores.values())).T
    assert ((pctr > 0) & (pctr < 1)).all() and len(np.unique(pctr)) > len(pctr) / 2
    np.testing.assert_allclose(pctcvr, pctr * pcvr, rtol=1e-5)
    assert os.listdir(tmp_path / "new") == ["p.csv"]


def test_order_and_batch_size_change_no_score(model, tmp_path):
    settings, requests = model
    ordered, order = infer(settings, tmp_path / "a.csv", ordered=True, split=names.TRAIN)
    expected = [i for shard in range(2) for request in requests[names.TRAIN][shard::2] for i in request.sample_id]
    assert order == expected
    other, _ = infer(settings | {"batch_size": 7}, tmp_path / "b.csv", split=names.TRAIN)
    assert ordered.keys() == other.keys()
    for sample_id, scores in ordered.items():
        np.testing.assert_allclose(other[sample_id], scores, rtol=1e-5)


def test_a_failed_run_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("old")

    def batches():
        yield {name: np.zeros(2) for name in (names.SAMPLE_ID, *names.SCORES)}
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError):
        predictions.write(str(path), batches(), "csv")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["p.csv"]


def test_scores_survive_the_way_through_text(tmp_path):
    scores = np.random.default_rng(1).random(200).astype(np.float32) ** 9
    batch = {names.SAMPLE_ID: np.arange(200) + (1 << 60)} | dict.fromkeys(names.SCORES, scores)
    assert predictions.write(str(tmp_path / "p.csv"), [batch], "csv") == 200
    with open(tmp_path / "p.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    assert [int(row[0]) for row in rows] == batch[names.SAMPLE_ID].tolist()
    assert (np.array([row[1] for row in rows], np.float32) == scores).all()


def test_another_split_has_reports_of_its_own(model):
    settings, _ = model
    paths = scoring.evaluate(Options(**settings, task_type="eval", split="train,test"), {})
    assert paths == [os.path.join(settings["model_dir"], name) for name in ("eval_train.json", "eval.json")]
    assert os.path.exists(os.path.join(settings["model_dir"], "calibration_cvr_train.svg"))
    assert os.path.exists(os.path.join(settings["model_dir"], "eval.json"))


def test_what_is_better():
    assert exporters.is_better("ctr_auc", 0.6, 0.5) and not exporters.is_better("ctr_auc", 0.5, 0.5)
    assert exporters.is_better("ctr_logloss", 0.1, 0.2) and not exporters.is_better("ctr_logloss", 0.3, 0.2)
    assert exporters.is_better("ctr_auc", 0.1, float("nan"))
    assert not exporters.is_better("ctr_auc", float("nan"), 0.1)


def test_an_exporter_keeps_one_version_and_removes_none_of_another_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "refuse_broken", lambda checkpoint: None)
    versions = iter("1234")

    def make(base, checkpoint):
        made = os.path.join(base, next(versions))
        os.makedirs(made)
        return made

    base = str(tmp_path / "model" / "best")
    # A new object each time: what was exported is known from disk, also after a resume.
    for step in (1, 2, 2):
        exporters.VersionExporter(base, make, keeps_one=True).export("checkpoint", {"global_step": step})
    assert sorted(os.listdir(base)) == ["2", "best.json"]
    copy = str(tmp_path / "copy" / "best")
    shutil.copytree(base, copy)
    exporters.VersionExporter(copy, make, keeps_one=True).export("checkpoint", {"global_step": 3})
    assert sorted(os.listdir(base)) == ["2", "best.json"] and sorted(os.listdir(copy)) == ["3", "best.json"]


def test_scores_as_parquet_with_columns_beside_them(model, tmp_path):
    settings, requests = model
    kept = "click,user,item"
    for form in ("csv", "parquet"):
        options = {"task_type": "infer", "predictions": str(tmp_path / form), "format": form, "keep_columns": kept}
        scoring.infer(Options(**settings, **options, ordered=True), {})
    table = parquet.read_table(tmp_path / "parquet")
    assert table.column_names == ["sample_id", *names.SCORES, "click", "user", "item"]
    flat = [(request, i) for request in requests[names.TEST] for i in range(len(request.sample_id))]
    assert table["sample_id"].to_pylist() == [request.sample_id[i] for request, i in flat]
    assert table["click"].to_pylist() == [request.click[i] for request, i in flat]
    vocabulary = data_dir.load(settings["data_dir"]).vocabulary
    raw = dict(zip(vocabulary.ids.tolist(), vocabulary.keys.tolist(), strict=True))
    assert table["user"].to_pylist() == [raw.get(request.context["user"][0], -1) for request, _ in flat]
    with open(tmp_path / "csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["item"]) for row in rows] == table["item"].to_pylist()
    assert [float(row["pctr"]) for row in rows] == pytest.approx(table["pctr"].to_pylist(), rel=1e-6)
    with pytest.raises(ValueError, match="--keep_columns: history: allowed are click, conversion, user, item"):
        scoring.infer(Options(**settings, **options | {"keep_columns": "history"}), {})


def test_a_checkpoint_is_chosen_by_step_or_as_the_best(model):
    settings, _ = model
    folder = settings["model_dir"]
    assert model_dir.checkpoint(folder, "5") == model_dir.checkpoint(folder, "") == os.path.join(folder, "model.ckpt-5")
    assert model_dir.checkpoint(folder, "best") == os.path.join(folder, "best", "model.ckpt-5")
    with pytest.raises(ValueError, match=r"--checkpoint=7: .* has 0, 5, best; give one of these, or a path"):
        model_dir.checkpoint(folder, "7")


@pytest.mark.parametrize("damage", ["cut", "bits", "empty"])
def test_a_damaged_checkpoint_is_named_by_every_task_that_reads_it(model, tmp_path, damage):
    settings, _ = model
    folder = str(tmp_path / "model")
    shutil.copytree(settings["model_dir"], folder)
    path = os.path.join(folder, "model.ckpt-5.data-00000-of-00001")
    with open(path, "rb") as file:
        whole = file.read()
    flipped = bytes(byte ^ (place % 64 == 0) for place, byte in enumerate(whole))
    with open(path, "wb") as file:
        file.write({"cut": whole[: len(whole) // 2], "bits": flipped, "empty": b""}[damage])
    options, named = settings | {"model_dir": folder}, r"model\.ckpt-5: damaged or not all there"
    with pytest.raises(ValueError, match=named):
        scoring.evaluate(Options(**options, task_type="eval"), {})
    with pytest.raises(ValueError, match=named):
        scoring.infer(Options(**options, task_type="infer", predictions=str(tmp_path / "p.csv")), {})
    with pytest.raises(ValueError, match=named):
        training.train(Options(**options, num_epochs=3), SMALL, {})
    assert not os.path.exists(tmp_path / "p.csv")


@pytest.mark.parametrize("lost", ["gone", "cut", "bytes", "index"])
def test_what_says_which_checkpoint_is_the_latest_is_not_lost_without_a_word(model, tmp_path, lost):
    settings, _ = model
    folder = tmp_path / "model"
    shutil.copytree(settings["model_dir"], folder)
    told, indices = folder / "checkpoint", list(folder.glob("model.ckpt-*.index"))
    if lost == "index":
        for path in indices:
            path.unlink()
    elif lost == "gone":
        told.unlink()
    else:
        told.write_bytes(b"\xff\xfe" if lost == "bytes" else told.read_bytes()[:9])
    before = sorted(path.name for path in folder.iterdir())
    options, named = settings | {"model_dir": str(folder)}, r"model/checkpoint: gone, damaged, or"
    with pytest.raises(ValueError, match=named):
        training.train(Options(**options, num_epochs=3), SMALL, {})
    assert {*before} <= {path.name for path in folder.iterdir()}
    with pytest.raises(ValueError, match=named):
        scoring.evaluate(Options(**options, task_type="eval"), {})


def test_a_checkpoint_of_another_model_is_refused(model, tmp_path):
    settings, _ = model
    other = str(tmp_path / "other")
    wide = dataclasses.replace(SMALL, embedding_size=8)
    training.train(Options(**settings | {"model_dir": other}, max_steps=1, exporters=""), wide, {})
    chosen = Options(**settings, task_type="eval", checkpoint=os.path.join(other, "model.ckpt-1"))
    named = r"ckpt-1 is of another model: .*embedding_table \[200, 4\] \(there: \[200, 8\]\)"
    with pytest.raises(ValueError, match=named):
        scoring.evaluate(chosen, {})


def test_a_split_of_which_a_file_is_gone_is_refused_and_one_put_aside_is_not(model, tmp_path):
    settings, _ = model
    folder = str(tmp_path / "data")
    shutil.copytree(settings["data_dir"], folder)
    made = [os.path.relpath(path, folder) for path, _ in storage.walk(folder)]
    ownership.mark(folder, process.this("python -m preprocess"), tuple(made))
    shutil.rmtree(os.path.join(folder, names.TEST))
    assert not data_dir.load(folder).has(names.TEST)
    gone = min(name for name in made if name.startswith(names.TRAIN))
    os.remove(os.path.join(folder, gone))
    with pytest.raises(ValueError, match=f"1 of 2 record files of the split train are not there, such as {gone}"):
        data_dir.load(folder)


def test_a_report_that_is_damaged_is_refused_and_one_that_is_gone_is_told(model, tmp_path, capsys):
    settings, _ = model
    folder = str(tmp_path / "data")
    shutil.copytree(settings["data_dir"], folder)
    report = os.path.join(folder, names.REPORT_DIR, names.REPORT_JSON)
    storage.write(report, [b"{}"])
    made = [os.path.relpath(path, folder) for path, _ in storage.walk(folder)]
    ownership.mark(folder, process.this("python -m preprocess"), tuple(made))
    with pytest.raises(ValueError, match=r"report\.json: damaged \(it has no 'splits'\); run the preprocess job again"):
        data_dir.load(folder)
    os.remove(report)
    data_dir.load(folder)
    assert "report/report.json is not there any more" in capsys.readouterr().out


def test_best_and_final_exports_of_a_training_run_are_saved_models(model):
    settings, _ = model
    for name in ("best", "final"):
        folder = os.path.join(settings["model_dir"], "export", name)
        (version,) = (entry for entry in os.listdir(folder) if entry.isdigit())
        assert os.path.exists(os.path.join(folder, version, "saved_model.pb"))


@pytest.fixture(scope="module")
def evaluated(model, tmp_path_factory):
    """A copy of the model and its eval.json, by batches of 64 and of 4,096."""
    settings, _ = model
    found = []
    for size in (64, 4096):
        folder = str(tmp_path_factory.mktemp("copy") / "model")
        shutil.copytree(settings["model_dir"], folder)
        changed = settings | {"model_dir": folder, "batch_size": size}
        path = scoring.evaluate(Options(**changed, task_type="eval", slice_by="user,item", num_threads=1), {})[0]
        with open(path, encoding="utf-8") as file:
            found.append((folder, json.load(file)))
    return found


def test_batches_change_no_metric_no_loss_and_no_slice(evaluated):
    (_, small), (_, large) = evaluated
    assert small["loss"] > 0 and small.keys() >= {"ctcvr_auc", "propensity_ess", "calibration", "slices"}
    assert_equal(small, large)


def assert_equal(one, other):
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list):
        for pair in zip(one, other, strict=True):
            assert_equal(*pair)
    else:
        # Matrix products of another shape may round the last digit of a logit otherwise.
        assert one == other or one == pytest.approx(other, rel=1e-5)


def test_slices_go_by_the_ids_of_the_log_and_hold_each_impression_once(model, evaluated):
    settings, requests = model
    known = data_dir.load(settings["data_dir"]).vocabulary
    raw = dict(zip(known.ids.tolist(), known.keys.tolist(), strict=True))
    clicks = [label for request in requests[names.TEST] for label in request.click]
    for field in ("user", "item"):
        found, values = evaluated[0][1]["slices"][field], ids_of(requests[names.TEST], field)
        assert sum(row["impressions"] for row in found) == len(values)
        assert sum(row["clicks"] for row in found) == sum(clicks)
        assert len(found) == MOST_VALUES + 1 and found[-1]["value"] == "all others"
        missing = SCHEMA.missing_id(SCHEMA.by_name[field])
        wanted = {
            "missing" if one == missing else str(raw[one]): (
                values.count(one),
                sum(click for value, click in zip(values, clicks, strict=True) if value == one),
            )
            for one in sorted(set(values))[:MOST_VALUES]
        }
        assert {row["value"]: (row["impressions"], row["clicks"]) for row in found[:-1]} == wanted


def ids_of(requests, field):
    """The id of each impression in a field of kind one."""
    return [
        (request.context[field] if field in request.context else request.impressions[field][place])[0]
        for request in requests
        for place in range(len(request.sample_id))
    ]


def test_training_evaluates_by_slice_and_the_report_shows_table_and_picture(model, evaluated):
    with open(f"{model[0]['model_dir']}/../after_training.json", encoding="utf-8") as file:
        assert list(json.load(file)["slices"]) == ["item"]
    path = reporting.make(Options(task_type="report", model_dir=",".join(folder for folder, _ in evaluated)))
    with open(path, encoding="utf-8") as file:
        page = file.read()
    for field in ("item", "user"):
        assert f"<h2>By {field}</h2>" in page and f'aria-label="by {field}"' in page
    assert page.count("all others") >= 2


@pytest.mark.parametrize("field", ["history", "nowhere"])
def test_what_has_no_single_id_is_no_slice_and_refused_before_anything_begins(model, field, tmp_path):
    settings, _ = model
    message = rf"--slice_by={field}: allowed are fields of ids of kind one: user, item, match, place"
    with pytest.raises(ValueError, match=message):
        training.train(Options(**settings | {"model_dir": str(tmp_path / "m")}, slice_by=field), SMALL, {})
    with pytest.raises(ValueError, match=message):
        scoring.evaluate(Options(**settings, task_type="eval", slice_by=field), {})
    assert not (tmp_path / "m").exists()


def test_buckets_are_told_by_their_bounds():
    assert [slicing.range_text((1.0, 2.5), bucket) for bucket in range(3)] == [
        "below 1",
        "from 1 below 2.5",
        "from 2.5",
    ]
