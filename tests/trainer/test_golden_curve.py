"""The losses of the first 30 steps of every model, as they were: whatever changes one of them is meant to.

make golden writes tests/trainer/golden_curve.json anew. Say in the commit why the curve is another one.
"""

import json
import os

import pytest
import tensorflow as tf
from record_examples import small_schema, write_data_dir

from features import names
from input_fn import dataset
from input_fn.options import InputOptions
from model_fn import estimator as tf_estimator
from model_fn import lookup
from model_fn.estimator_model import model_fn
from model_fn.hyperparameters import SUM, Hyperparameters
from model_fn.models import MODELS

pytestmark = pytest.mark.commands

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden_curve.json")
SCHEMA, VOCABULARY_SIZE, STEPS = small_schema(), 200, 30
v1 = tf.compat.v1


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("data"))
    write_data_dir(folder, SCHEMA, VOCABULARY_SIZE, train=100, test=1)
    return names.records_pattern(folder, names.TRAIN)


@pytest.fixture(scope="module")
def golden():
    """The file's curves by model; written anew behind the tests with WRITE_GOLDEN=1."""
    with open(GOLDEN, encoding="utf-8") as file:
        found = json.load(file)
    yield found
    if os.environ.get("WRITE_GOLDEN"):
        lines = ",\n".join(f'"{name}": {json.dumps(found[name])}' for name in MODELS)
        with open(GOLDEN, "w", encoding="utf-8") as file:
            file.write(f"{{\n{lines}\n}}\n")


@pytest.fixture(scope="module")
def curves(records):
    """Losses of steps on one thread, input, table and towers as the trainer has them, of all models at once."""
    options = InputOptions(batch_size=32, seed=1, num_epochs=3, num_threads=1)

    def prepare(features):
        return lookup.in_place_of_fields(features, SCHEMA, SUM)

    with tf.Graph().as_default():
        v1.set_random_seed(1)
        data = v1.data.make_initializable_iterator(
            dataset.make_dataset(records, SCHEMA, VOCABULARY_SIZE, options, prepare)
        )
        features, labels = data.get_next()
        steps = {model: step(model, features, labels) for model in MODELS}
        config = v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        # As the graph stands: its rewriting takes longer than the steps, and other releases do it otherwise.
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        with v1.Session(config=config) as session:
            session.run([v1.global_variables_initializer(), data.initializer])
            losses = [session.run(steps) for _ in range(STEPS)]
    return {model: [round(float(found[model][0]), 7) for found in losses] for model in MODELS}


def step(model, features, labels):
    """Loss and training op of a model, whose variables begin with its name."""
    settings = Hyperparameters(model=model, deep_layers=(8,), embedding_size=4, learning_rate=0.01)
    params = {"schema": SCHEMA, "vocabulary_size": VOCABULARY_SIZE, "hyperparameters": settings}
    with v1.variable_scope(model):
        spec = model_fn(features, labels, tf_estimator.ModeKeys.TRAIN, params)
    return spec.loss, spec.train_op


@pytest.mark.parametrize("model", MODELS)
def test_a_model_trains_as_it_did(model, curves, golden):
    if os.environ.get("WRITE_GOLDEN"):
        golden[model] = curves[model]
    assert curves[model] == pytest.approx(golden[model], abs=1e-5)
