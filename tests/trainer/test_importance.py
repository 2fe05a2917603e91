"""--task_type=importance on a log whose clicks the item decides and whose conversions the user decides."""

import dataclasses
import glob
import os

import numpy as np
import pytest
import tensorflow as tf
from record_examples import small_schema, write_data_dir, write_records

from features import names
from input_fn import dataset
from input_fn.options import InputOptions
from model_fn.evaluation import CTR, CVR
from model_fn.hyperparameters import Hyperparameters
from trainer import importance, importance_file, reporting, scoring, training, training_graph
from trainer.importance import Shuffle
from trainer.importance_file import OVER_ALL, WITHIN_REQUESTS
from trainer.options import Options

pytestmark = pytest.mark.commands
SCHEMA = small_schema()
SETTINGS = Hyperparameters(
    deep_layers=(8,), embedding_size=4, embedding_range=0.1, learning_rate=0.02, embedding_learning_rate=0.1
)


def labelled(request):
    """The request with the labels of this log."""
    click = [int(row[0] % 2 == 0) for row in request.impressions["item"]]
    converts = request.context["user"][0] % 2
    return dataclasses.replace(request, click=click, conversion=[one * converts for one in click])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("importance"))
    made = write_data_dir(f"{folder}/data", SCHEMA, vocabulary_size=40, train=400, test=100)
    for split, requests in made.items():
        for path in glob.glob(f"{folder}/data/{split}/part-*"):
            os.remove(path)
        write_records(f"{folder}/data/{split}/part-00000-of-00001.tfrecord", SCHEMA, list(map(labelled, requests)))
    settings = {"data_dir": f"{folder}/data", "model_dir": f"{folder}/model", "batch_size": 128}
    training.train(Options(**settings, num_epochs=4, seed=3), SETTINGS, {})
    importance.measure(Options(**settings, task_type="importance"), {})
    return settings


def test_what_decides_is_found_and_nothing_else(model):
    found = importance_file.read(model["model_dir"])
    losses = {field.name: field.losses for field in found.fields}
    assert set(losses) == {field.name for field in SCHEMA.fields}
    assert losses["item"][OVER_ALL][CTR].auc > 0.35 and losses["item"][WITHIN_REQUESTS][CTR].auc > 0.2
    assert losses["user"][OVER_ALL][CVR].auc > 0.3 and losses["item"][OVER_ALL][CTR].log_loss > 0.1
    for name in losses.keys() - {"item"}:
        assert abs(losses[name][OVER_ALL][CTR].auc) < 0.1, name
    assert WITHIN_REQUESTS not in losses["user"] and WITHIN_REQUESTS in losses["matches"]
    assert {field.name for field in found.ranked()[:2]} == {"item", "user"}


def test_what_is_lost_is_the_difference_to_the_shuffled_scores(model):
    found = importance_file.read(model["model_dir"])
    loaded = scoring.load(Options(**model, task_type="eval"), {})
    options = Options(**model, task_type="importance")
    (shuffled,) = importance.scored(options, loaded, [Shuffle("item", OVER_ALL)]).values()
    item = next(field for field in found.fields if field.name == "item")
    # Almost nothing is left of what the item decided alone.
    assert shuffled[CTR].auc() == pytest.approx(0.5, abs=0.08)
    assert item.losses[OVER_ALL][CTR].auc == pytest.approx(1.0 - shuffled[CTR].auc(), abs=0.1)


def test_a_shuffle_moves_the_columns_of_one_field_only_and_loses_no_value(model):
    read = InputOptions(shuffle=False, batch_size=100)
    batches = dataset.make_dataset(names.records_pattern(model["data_dir"], names.TEST), SCHEMA, 40, read)
    shuffles = [None] + [Shuffle(field.name, OVER_ALL) for field in SCHEMA.fields]
    shuffles += [Shuffle(field.name, WITHIN_REQUESTS) for field in SCHEMA.impression_fields]
    features, labels = next(iter(batches))
    features = dict(features)
    keys = [key for field in SCHEMA.fields for key in (field.name, field.weight_key) if key in features]
    made = importance.variants(features, labels, SCHEMA, shuffles, 1)
    for (changed, same), shuffle in zip(made, shuffles, strict=True):
        assert set(changed[training_graph.KEPT + "variant"].numpy()) == {shuffles.index(shuffle)}
        assert same[names.CLICK].to_list() == labels[names.CLICK].to_list()
        for key in keys:
            before, after = (np.array(rows_of(one[key]), dtype=object).tolist() for one in (features, changed))
            field = key.removesuffix("/weight")
            if shuffle is None or shuffle.field != field:
                assert before == after
                continue
            assert before != after
            if SCHEMA.by_name[field].is_context:
                assert sorted(map(str, before)) == sorted(map(str, after))
            else:
                flat = [[str(row) for request in one for row in request] for one in (before, after)]
                assert sorted(flat[0]) == sorted(flat[1])
                rows = ([sorted(map(str, request)) for request in one] for one in (before, after))
                assert all(old == new for old, new in zip(*rows, strict=True)) == (shuffle.scope == WITHIN_REQUESTS)


def rows_of(column):
    return column.to_list() if isinstance(column, tf.RaggedTensor) else column.numpy().tolist()


def test_the_report_draws_it(model):
    path = reporting.make(Options(task_type="report", model_dir=model["model_dir"]))
    with open(path, encoding="utf-8") as file:
        page = file.read()
    assert "<h2>What each field is worth</h2>" in page
    for scope in (OVER_ALL, WITHIN_REQUESTS):
        assert f'aria-label="importance {scope}"' in page
