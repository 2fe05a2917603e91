"""The library without flags: trains a model on what the preprocess job made, evaluates, scores and exports it.

python examples/in_python.py DATA_DIR MODEL_DIR EXPORT_DIR
"""

import functools
import sys

from features import names, vocabulary
from input_fn.dataset import make_dataset
from input_fn.options import InputOptions
from model_fn import estimator, estimator_model, lookup
from model_fn.hyperparameters import Hyperparameters
from serving.export import export_saved_model


def run(data_dir: str, model_dir: str, export_dir: str, settings: Hyperparameters) -> dict[str, float]:
    """Metrics of the model on the test split."""
    vocabulary_dir = names.vocabulary_dir(data_dir)
    known = vocabulary.load(vocabulary_dir)
    params = {"schema": known.schema, "vocabulary_size": known.size, "hyperparameters": settings}
    model = estimator.Estimator(estimator_model.model_fn, model_dir, params=params)

    # Training reads pieces of requests in random order, each batch with its lookup made on the input's threads.
    prepare = functools.partial(lookup.in_place_of_fields, schema=known.schema, combiner=settings.combiner)
    train = (names.records_pattern(data_dir, names.TRAIN), known.schema, known.size, InputOptions(seed=1), prepare)
    model.train(lambda: make_dataset(*train))

    # Evaluation and scores take whole requests, each impression once.
    test = (names.records_pattern(data_dir, names.TEST), known.schema, known.size, InputOptions(shuffle=False))
    metrics = model.evaluate(lambda: make_dataset(*test))
    first = next(model.predict(lambda: make_dataset(*test), yield_single_examples=False))
    print("first scores:", *zip(first[names.SAMPLE_ID][:3], first[names.PCTR][:3], first[names.PCVR][:3], strict=True))
    print("exported", export_saved_model(export_dir, model.latest_checkpoint(), vocabulary_dir, settings))
    return metrics


if __name__ == "__main__":
    found = run(*sys.argv[1:4], Hyperparameters(model="escm2_dr", embedding_optimizer="Adagrad", deep_layers=(64, 32)))
    print({name: round(float(found[name]), 4) for name in ("ctr_auc", "cvr_auc", "ctcvr_auc")})
