"""A split whose conversions are known without a click, and one of rows that wait for scores: from files to figures."""

import csv
import json

import numpy as np
import pytest

from features import names
from model_fn.hyperparameters import Hyperparameters
from preprocess import command, file_steps
from preprocess.options import Options as JobOptions
from simulate.judge import exact_auc
from trainer import reporting, scoring, training
from trainer.options import Options

pytestmark = pytest.mark.commands
SETTINGS = Hyperparameters(deep_layers=(8,), embedding_size=4, learning_rate=0.02)
SCHEMA = """
name: random_items
columns: {click: click, conversion: buy, user: user, weight: weight}
conversion_without_click: keep
fields:
  - {name: user, group: user, side: context, kind: one, type: id}
  - {name: item, group: item, side: impression, kind: one, type: id}
"""


def write(path, count, known=False, with_labels=True):
    rng = np.random.default_rng(count)
    user, item = rng.integers(0, 30, count), rng.integers(0, 10, count)
    click = rng.random(count) < 0.05 + 0.05 * item
    buy = (rng.random(count) < 0.05 + 0.06 * item) & (click | known)
    columns = {"user": user, "item": item}
    if with_labels:
        columns |= {"click": click.astype(int), "buy": buy.astype(int), "weight": np.ones(count, int)}
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("random_items")
    (folder / "log").mkdir()
    (folder / "schema.yaml").write_text(SCHEMA)
    for split, count, known in (("train", 6000, False), ("test", 900, False), ("random", 1000, True)):
        write(folder / "log" / f"{split}.csv", count, known)
    write(folder / "log" / "score.csv", 700, with_labels=False)
    out = preprocessed(folder, "data", splits=("train", "test", "random"))
    options = {"data_dir": out, "model_dir": str(folder / "model"), "batch_size": 200}
    training.train(Options(**options, num_epochs=2), SETTINGS, {})
    return folder, options


def preprocessed(folder, name, **settings):
    out = str(folder / name)
    job = JobOptions(str(folder / "log"), out, names.CSV, str(folder / "schema.yaml"), min_count=1, **settings)
    command.run(job, execute=file_steps.run_in_process)
    return out


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def read_json(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def test_cvr_is_judged_over_all_impressions_of_the_split(model):
    folder, options = model
    paths = scoring.evaluate(Options(**options, task_type="eval", split="random,test"), {})
    known, usual = map(read_json, paths)
    predictions = str(folder / "random.csv")
    kept = {"keep_columns": "click,conversion", "split": "random"}
    scoring.infer(Options(**options, task_type="infer", predictions=predictions, **kept), {})
    rows = read(predictions)
    assert (rows["conversion"] > rows["click"]).sum() > 50
    assert known["cvr_auc_known"] == pytest.approx(exact_auc(rows["conversion"], rows["pcvr"]), abs=1e-3)
    assert known["cvr_calibration_known"] == pytest.approx(rows["pcvr"].sum() / rows["conversion"].sum(), rel=1e-4)
    clicked = rows["click"] > 0
    assert known["cvr_auc"] == pytest.approx(exact_auc(rows["conversion"][clicked], rows["pcvr"][clicked]), abs=1e-3)
    assert {"ctr_ndcg10", "cvr_ndcg10_known", "cvr_gauc_known", "cvr_auc_known_weighted"} <= known.keys()
    assert "ctr_ndcg10" in usual and not [name for name in usual if "_known" in name]
    split = read_json(f"{folder}/data/report/report.json")["splits"]["random"]
    assert split["conversions"] == int((rows["conversion"] * rows["click"]).sum())
    page = reporting.make(Options(task_type="report", model_dir=options["model_dir"], split="random"))
    with open(page, encoding="utf-8") as file:
        assert "CVR without selection" in file.read()


def test_rows_without_labels_get_scores(model):
    folder, options = model
    out = preprocessed(folder, "waiting", splits=(names.SCORE,), vocabulary=f"{options['data_dir']}/vocabulary")
    predictions = str(folder / "scores.csv")
    scored = options | {"data_dir": out, "split": names.SCORE}
    scoring.infer(Options(**scored, task_type="infer", predictions=predictions, keep_columns="item"), {})
    found = read(predictions)
    assert len(found["pctr"]) == 700 and (np.diff(np.sort(found["sample_id"])) > 0).all()
    by_item = [found["pctr"][found["item"] == item].mean() for item in np.unique(found["item"])]
    assert len(by_item) == 10 and max(by_item) > 2 * min(by_item)


def test_other_splits_need_their_labels(model, tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / "schema.yaml").write_text(SCHEMA)
    write(tmp_path / "log" / "test.csv", 50, with_labels=False)
    with pytest.raises(ValueError, match=r"test\.csv: no column click, buy, weight, which the schema names"):
        preprocessed(tmp_path, "out", splits=("test",), vocabulary=f"{model[1]['data_dir']}/vocabulary")
