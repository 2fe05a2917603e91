"""--task_type=calibrate on a log that kept a tenth of its impressions without click, and scores behind its maps."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
from record_examples import small_schema, write_data_dir
from served_model_examples import Served, random_raw_requests

from features import names
from features.vocabulary import load
from model_fn.evaluation import CTR, CVR, TASKS
from model_fn.hyperparameters import Hyperparameters
from trainer import calibrating, calibration_file, exporting, scoring, training
from trainer.options import Options

pytestmark = pytest.mark.commands
RATE = 0.1
SMALL = Hyperparameters(deep_layers=(8,), embedding_size=4, negative_sampling_rate=RATE)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrating")
    write_data_dir(str(folder / "data"), small_schema(), train=60, test=120)
    settings = {"data_dir": str(folder / "data"), "model_dir": str(folder / "model"), "batch_size": 64}
    # Few steps, from the log's own rates: far from calibrated.
    training.train(Options(**settings, max_steps=3), SMALL, {})
    return settings


def infer(settings, path, **changes):
    scoring.infer(Options(**settings, task_type="infer", predictions=str(path), ordered=True, **changes), {})
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in names.SCORES}


@pytest.fixture(scope="module")
def calibrated(model):
    calibrating.calibrate(Options(**model, task_type="calibrate"), {})
    return model


def test_scores_are_brought_to_the_rates_of_the_whole_log_and_keep_their_order(calibrated, tmp_path):
    raw = infer(calibrated, tmp_path / "raw.csv", calibrated=False)
    found = infer(calibrated, tmp_path / "calibrated.csv", keep_columns="click,conversion")
    with open(tmp_path / "calibrated.csv", encoding="utf-8", newline="") as file:
        click, conversion = np.array([[int(row[n]) for n in ("click", "conversion")] for row in csv.DictReader(file)]).T
    of_log = np.where(click, 1.0, 1 / RATE)
    assert np.average(found[names.PCTR], weights=of_log) == pytest.approx(np.average(click, weights=of_log), rel=1e-3)
    assert found[names.PCVR][click > 0].mean() == pytest.approx(conversion[click > 0].mean(), rel=1e-3)
    for name in (names.PCTR, names.PCVR):
        assert not np.allclose(raw[name], found[name], rtol=1e-2)
        # Two runs may round the last digit of a logit otherwise, and a sigmoid of float32 its own.
        assert np.diff(found[name][np.argsort(raw[name], kind="stable")]).min() > -1e-7, name
    np.testing.assert_allclose(found[names.PCTCVR], found[names.PCTR] * found[names.PCVR], rtol=1e-5)


def test_the_report_is_of_the_other_half(calibrated):
    kept = calibration_file.read(calibrated["model_dir"])
    assert kept.before.keys() == kept.after.keys() == set(TASKS)
    for task in (CTR, CVR):
        assert abs(np.log(kept.after[task]["calibration"])) < abs(np.log(kept.before[task]["calibration"]))
    # Half of the split knows nothing of the other half: of what it was fitted on it would be 1 to many digits.
    assert abs(kept.after[CTR]["calibration"] - 1) > 1e-6


def test_served_scores_are_those_of_infer_behind_the_same_maps(calibrated, tmp_path):
    settings = calibrated
    vocabulary = load(names.vocabulary_dir(settings["data_dir"]))
    calibrated_path, plain_path = (
        exporting.export(Options(**settings, task_type="export", export_dir=str(tmp_path / name), calibrated=on), {})
        for name, on in (("served", True), ("plain", False))
    )
    maps = calibration_file.read(settings["model_dir"]).maps
    served, plain = (Served(path, vocabulary.schema) for path in (calibrated_path, plain_path))
    for raw in random_raw_requests(vocabulary.schema, 10, seed=3, with_strange=False):
        before = next(iter(plain.scores(raw).values()))
        for signature, scores in served.scores(raw).items():
            for name, curve in ((names.PCTR, maps.ctr), (names.PCVR, maps.cvr)):
                logit = np.log(before[name]) - np.log1p(-before[name].astype(np.float64))
                wanted = 1 / (1 + np.exp(-curve.of(logit)))
                np.testing.assert_allclose(scores[name], wanted, atol=1e-6, err_msg=f"{signature} {name}")
            np.testing.assert_allclose(scores[names.PCTCVR], scores[names.PCTR] * scores[names.PCVR], rtol=1e-5)


def test_maps_of_another_step_are_not_used_and_a_damaged_file_is_a_line(calibrated, tmp_path, capsys):
    settings = calibrated | {"model_dir": str(tmp_path / "model")}
    shutil.copytree(calibrated["model_dir"], settings["model_dir"])
    raw = infer(settings, tmp_path / "raw.csv", calibrated=False)
    path = os.path.join(settings["model_dir"], calibration_file.CALIBRATION_FILE)
    with open(path, encoding="utf-8") as file:
        kept = json.load(file)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(kept | {"global_step": 2}, file)
    capsys.readouterr()
    np.testing.assert_array_equal(infer(settings, tmp_path / "p.csv")[names.PCTR], raw[names.PCTR])
    assert "not calibrated: calibration.json is of step 2 and this checkpoint of step 3" in capsys.readouterr().out
    with open(path, "w", encoding="utf-8") as file:
        file.write("{}")
    with pytest.raises(ValueError, match=r"calibration\.json: damaged \(.*\); run --task_type=calibrate again"):
        infer(settings, tmp_path / "q.csv")


def test_the_split_of_training_is_refused(model):
    with pytest.raises(ValueError, match="--split=train: the model knows the labels"):
        calibrating.calibrate(Options(**model, task_type="calibrate", split="train"), {})
