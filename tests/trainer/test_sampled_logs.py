"""A log that kept a tenth of its impressions without click: by weight or by rate, training and export undo it."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from features import names
from model_fn.hyperparameters import Hyperparameters
from preprocess import command, file_steps
from preprocess.options import Options as JobOptions
from serving import export
from serving.export_options import ExportOptions
from trainer import data_dir, scoring, training
from trainer.options import Options

pytestmark = pytest.mark.commands
RATE = 0.1
SETTINGS = Hyperparameters(deep_layers=(8,), embedding_size=4, learning_rate=0.02)
SCHEMA = """
name: sampled
columns: {click: click, conversion: buy%s}
fields:
  - {name: user, group: user, side: context, kind: one, type: id}
  - {name: item, group: item, side: impression, kind: one, type: id}
"""


def click_rate(item):
    return 0.02 + 0.04 * item


def rows(rng, count):
    """Impressions of four items, those without click sampled; a weight makes up for it."""
    item = rng.integers(0, 4, count)
    click = rng.random(count) < click_rate(item)
    buy = click & (rng.random(count) < 0.3)
    kept = click | (rng.random(count) < RATE)
    columns = (item % 2, item, click.astype(int), buy.astype(int), np.where(click, 1.0, 1 / RATE))
    return np.stack(columns, 1)[kept]


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sampled")
    rng = np.random.default_rng(1)
    (folder / "log").mkdir()
    for split, count in (("train", 40_000), ("test", 10_000)):
        with open(folder / "log" / f"{split}.csv", "w", newline="", encoding="utf-8") as file:
            made = rows(rng, count)
            writer = csv.writer(file)
            writer.writerow(["user", "item", "click", "buy", "weight"])
            writer.writerows([*map(int, row[:4]), row[4]] for row in made)
    return folder


def trained(log, way):
    """data_dir and model_dir of a model that makes up for the sampling by its `way`."""
    by_weight = way == "weight"
    (log / f"{way}.yaml").write_text(SCHEMA % (", weight: weight" if by_weight else ""))
    data, model = str(log / f"data_{way}"), str(log / f"model_{way}")
    job = JobOptions(str(log / "log"), data, names.CSV, str(log / f"{way}.yaml"), min_count=1)
    command.run(job, execute=file_steps.run_in_process)
    settings = SETTINGS if by_weight else dataclasses.replace(SETTINGS, negative_sampling_rate=RATE)
    options = {"data_dir": data, "model_dir": model, "batch_size": 200, "num_epochs": 3}
    training.train(Options(**options), settings, {})
    return options, settings


def scores_by_item(log, options):
    """Mean pCTR of each item, as --task_type=infer writes it."""
    path = f"{options['model_dir']}.csv"
    scoring.infer(Options(**options, task_type="infer", predictions=path, keep_columns="item"), {})
    with open(path, encoding="utf-8", newline="") as file:
        found = [(row["item"], float(row["pctr"])) for row in csv.DictReader(file)]
    return {item: np.mean([p for other, p in found if other == item]) for item, _ in found}


def served_scores(options, settings):
    """pCTR of items 0 to 3 by the exported model."""
    checkpoint = tf.train.latest_checkpoint(options["model_dir"])
    folder = export.export_saved_model(
        f"{options['model_dir']}_export",
        checkpoint,
        names.vocabulary_dir(options["data_dir"]),
        settings,
        ExportOptions(checked=False),
    )
    function = tf.saved_model.load(folder).signatures["serving_default"]
    return [
        float(function(user=tf.constant([item % 2], tf.int64), item=tf.constant([[item]], tf.int64))["pctr"][0])
        for item in range(4)
    ]


@pytest.mark.parametrize("way", ["weight", "rate"])
def test_scores_are_those_of_the_whole_log(way, log):
    options, settings = trained(log, way)
    true = click_rate(np.arange(4))
    served = served_scores(options, settings)
    np.testing.assert_allclose(served, true, rtol=0.25)
    np.testing.assert_allclose(sorted(scores_by_item(log, options).values()), sorted(served), rtol=1e-4)


def test_both_ways_at_once_are_told(log, capsys):
    both = dataclasses.replace(SETTINGS, negative_sampling_rate=RATE)
    training.train(Options(data_dir=str(log / "data_weight"), model_dir=str(log / "both"), max_steps=1), both, {})
    assert "--negative_sampling_rate=0.1, and the log has weights (column weight)" in capsys.readouterr().out


def test_metrics_are_by_weight_and_beside_it_plain_and_so_is_the_report(log):
    with open(log / "model_weight" / "eval.json", encoding="utf-8") as file:
        found = json.load(file)
    assert found["ctr_calibration_weighted"] == pytest.approx(1, abs=0.15)
    assert found["ctr_calibration"] < 0.4, "of the rows at hand ten times as many are clicks"
    assert abs(found["ctr_auc"] - found["ctr_auc_weighted"]) < 0.05
    with open(log / "data_weight" / names.REPORT_DIR / names.REPORT_JSON, encoding="utf-8") as file:
        split = json.load(file)["splits"][names.TRAIN]
    weighted = split["weighted"]
    assert weighted["clicks"] == split["clicks"]
    assert weighted["impressions"] == pytest.approx(40_000, rel=0.05)
    assert weighted["clicks"] / weighted["impressions"] == pytest.approx(click_rate(np.arange(4)).mean(), rel=0.05)


def test_a_metric_of_columns_that_the_log_lacks_is_refused(log):
    data = str(log / "data_rate")
    wanted = {"ctr_auc_weighted": "weight", "ctr_gauc": "user", "ctr_gauc_weighted": "weight and user"}
    for metric, column in wanted.items():
        with pytest.raises(ValueError, match=f"names no column of {column}"):
            training.train(Options(data_dir=data, model_dir=str(log / "none"), metric=metric), SETTINGS, {})
    assert not (log / "none").exists()
    assert data_dir.load(data).faults() == []
