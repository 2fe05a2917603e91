"""A log that was cut before all conversions came: its open clicks are weighed, and pCVR is that of closed windows."""

import csv
import dataclasses

import numpy as np
import pytest

from features import names
from model_fn.hyperparameters import Hyperparameters
from preprocess import command, file_steps
from preprocess.options import Options as JobOptions
from trainer import scoring, training
from trainer.options import Options

pytestmark = pytest.mark.commands
DAY = 86400
CUT = 1_767_225_600  # 2026-01-01
RATES = np.array([0.1, 0.2, 0.3, 0.4])
SCHEMA = """
name: late
columns: {click: click, conversion: buy, time: at, click_time: at, conversion_time: bought_at}
fields:
  - {name: user, group: user, side: context, kind: one, type: id}
  - {name: item, group: item, side: impression, kind: one, type: id}
"""


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Half of the impressions are clicked; conversions come a day later on average, and the log is 4 days long.

    Its folder, and the share of each item's clicks that convert within 3 days, most of which nobody can have seen.
    """
    folder = tmp_path_factory.mktemp("late")
    (folder / "log").mkdir()
    clicks, conversions = np.zeros(4), np.zeros(4)
    rng = np.random.default_rng(1)
    with open(folder / "log" / "train.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", "click", "buy", "at", "bought_at"])
        for at in rng.integers(CUT - 4 * DAY, CUT, 12_000).tolist():
            item, click = int(rng.integers(4)), int(rng.random() < 0.5)
            bought_at = at + int(rng.exponential(DAY))
            converts = click and rng.random() < RATES[item]
            buy = int(converts and bought_at < CUT)
            clicks[item] += click
            conversions[item] += converts and bought_at <= at + 3 * DAY
            writer.writerow([item % 2, item, click, buy, at, bought_at if buy else ""])
    (folder / "schema.yaml").write_text(SCHEMA)
    return folder, conversions / clicks


def rates(log, **weigh):
    """What the job tells, and mean pCVR of each item, ascending, by a model that is trained on its records."""
    name = "weighed" if weigh else "plain"
    options = {"data_dir": str(log / f"data_{name}"), "model_dir": str(log / f"model_{name}")}
    window = {"conversion_window": "3d", "log_cut": "2026-01-01", **weigh}
    splits = {"splits": (names.TRAIN,), "test_fraction": 0.0}
    schema = str(log / "schema.yaml")
    job = JobOptions(str(log / "log"), options["data_dir"], names.CSV, schema, min_count=1, **splits, **window)
    made = command.run(job, execute=file_steps.run_in_process)
    settings = Hyperparameters(deep_layers=(32,), embedding_size=4, learning_rate=0.01)
    given = Options(**options, batch_size=200, num_epochs=8, eval_splits="")
    training.train(given, settings, {})
    path = str(log / f"{name}.csv")
    infer = {"task_type": "infer", "split": names.TRAIN, "predictions": path, "keep_columns": "item"}
    scoring.infer(dataclasses.replace(given, **infer), {})
    with open(path, encoding="utf-8", newline="") as file:
        found = [(int(row["item"]), float(row["pcvr"])) for row in csv.DictReader(file)]
    ids = {item for item, _ in found}
    return made, np.sort([np.mean([p for other, p in found if other == item]) for item in ids])


def test_weighed_clicks_teach_the_rates_of_closed_windows(log):
    folder, within_window = log
    _, plain = rates(folder)
    assert plain.mean() < 0.88 * within_window.mean()
    made, weighed = rates(folder, weigh_open_clicks=True)
    assert made.splits["train"]["open_clicks"] == pytest.approx(4500, rel=0.1)
    assert weighed.mean() == pytest.approx(within_window.mean(), rel=0.05)
    np.testing.assert_allclose(weighed, within_window, rtol=0.15)
