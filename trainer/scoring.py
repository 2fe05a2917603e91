"""--task_type=eval and --task_type=infer."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import storage
from features import names
from features.schema import Schema
from input_fn import dataset, errors, files
from model_fn import estimator as tf_estimator
from model_fn.hyperparameters import Hyperparameters
from model_fn.representation import requests_of
from trainer import (
    calibration_file,
    checkpoints,
    data_dir,
    evaluation_report,
    model_dir,
    predictions,
    run_config,
    running,
    slicing,
    training_graph,
)
from trainer.data_dir import DataDir
from trainer.options import Options
from trainer.terminal import say


class Model(NamedTuple):
    """A trained model that is to be used on some data."""

    estimator: tf_estimator.Estimator
    checkpoint: str
    data: DataDir
    settings: Hyperparameters


def evaluate(options: Options, given: Mapping[str, Any]) -> list[str]:
    """Evaluates the model of model_dir on all impressions of some splits.

    Args:
        options: of the run.
        given: the settings that the command names; they must be the model's.

    Returns:
        Path of the JSON file with the metrics of each split.

    Raises:
        ValueError: settings, data or records cannot be used; the message names them.
    """
    model = load(options, given)
    found = {split: files.find(model.data.records(split)) for split in options.splits}
    made = []
    for split, paths in found.items():
        read = options.scoring_input(ordered=True)
        make = functools.partial(dataset.make_dataset, paths, model.data.schema, model.data.vocabulary.size, read)
        # Under another name than the evaluations of training, whose curve is the training's.
        with errors.naming_files(paths), checkpoints.naming(options.model_dir, model.checkpoint):
            result = model.estimator.evaluate(make, checkpoint_path=model.checkpoint, name=f"{split}_by_hand")
        model.data.refuse_replaced()
        found_slices = slicing.describe(result, model.data)
        made.append(evaluation_report.write(options.model_dir, split, result, found_slices))
        say(evaluation_report.summary(result) + (f"  ({split})" if len(found) > 1 else ""))
        say(f"wrote {made[-1]}")
    return made


def infer(options: Options, given: Mapping[str, Any]) -> int:
    """Writes the scores of every impression of a split: whole or not at all.

    Args:
        options: of the run.
        given: the settings that the command names; they must be the model's.

    Returns:
        Number of impressions.

    Raises:
        ValueError: settings, data or records cannot be used; the message names them.
    """
    storage.refuse_overlap({"predictions": options.predictions}, {"data_dir": options.data_dir})
    predictions.refuse_foreign(options.predictions, options.format)
    model = load(options, given, options.calibrated)
    kept = options.kept_columns
    _refuse_unknown(kept, model.data.schema)
    paths = files.find(model.data.records(options.split))
    read = options.scoring_input(options.ordered)

    def make() -> tf.data.Dataset:
        made = dataset.make_dataset(paths, model.data.schema, model.data.vocabulary.size, read)
        return made.map(functools.partial(with_kept, schema=model.data.schema, kept=kept)) if kept else made

    with errors.naming_files(paths), checkpoints.naming(options.model_dir, model.checkpoint):
        scores = model.estimator.predict(make, checkpoint_path=model.checkpoint, yield_single_examples=False)
        plain = ({key.removeprefix(training_graph.KEPT): value for key, value in batch.items()} for batch in scores)
        raw = ({**batch, **_raw_ids(batch, kept, model.data)} for batch in plain)
        count = predictions.write(options.predictions, _of_one_run(raw, model.data), options.format, kept)
    say(f"wrote {count:,} predictions to {options.predictions}")
    return count


def _of_one_run(batches: Iterable[dict[str, np.ndarray]], data: DataDir) -> Iterator[dict[str, np.ndarray]]:
    """The batches; raises at their end where another run of the job has replaced what they were read from."""
    yield from batches
    data.refuse_replaced()


def load(options: Options, given: Mapping[str, Any], calibrated: bool = False) -> Model:
    """The model of model_dir.

    Args:
        options: of the run.
        given: the settings that the command names; they must be the model's.
        calibrated: whether predictions go through its calibration, where it has one.

    Raises:
        ValueError: there is none, or it is not one of these data or settings.
    """
    data = data_dir.load(options.data_dir)
    slicing.refuse_unknown(options.sliced_fields, data.schema)
    settings = model_dir.trained_hyperparameters(options.model_dir, given, data)
    checkpoint = model_dir.checkpoint(options.model_dir, options.checkpoint)
    config = run_config.make(options)
    maps = calibration_file.maps_of(options.model_dir, checkpoint) if calibrated else None
    return Model(running.make_estimator(options, settings, data, config, maps), checkpoint, data, settings)


def _refuse_unknown(kept: tuple[str, ...], schema: Schema) -> None:
    able = [names.CLICK, names.CONVERSION] + [field.name for field in schema.fields if not field.is_many]
    if unknown := [name for name in kept if name not in able]:
        raise ValueError(f"--keep_columns: {', '.join(unknown)}: allowed are {', '.join(able)}")


@tf.autograph.experimental.do_not_convert
def with_kept(
    features: dict[str, Any], labels: dict[str, tf.RaggedTensor], schema: Schema, kept: Sequence[str]
) -> tuple[dict[str, Any], dict[str, tf.RaggedTensor]]:
    """The features with columns that predictions carry along, one value an impression."""
    found = {}
    for name in kept:
        column = labels[name] if name in labels else features[name]
        is_context = name not in labels and schema.by_name[name].is_context
        values = requests_of(features, schema).to_impressions(column) if is_context else column.values
        found[training_graph.KEPT + name] = tf.reshape(values, [-1])
    return features | found, labels


def _raw_ids(batch: Mapping[str, np.ndarray], kept: tuple[str, ...], data: DataDir) -> dict[str, np.ndarray]:
    """The log's own ids in place of the records', where the vocabulary knows them; -1 for one that it does not have."""
    if not data.schema.unique_ids:
        return {}
    fields = [name for name in kept if name in data.schema.by_name]
    keys, ids = data.vocabulary.keys, data.vocabulary.ids
    raw = np.full(data.vocabulary.size, -1, np.int64)
    raw[ids] = keys
    return {name: raw[batch[name]] for name in fields}


def logits_of(probability: np.ndarray) -> np.ndarray:
    """Logits of scores: float64 [n]."""
    # What float32 rounds to 0 or 1 has no logit.
    p = np.clip(probability.astype(np.float64), 1e-30, 1.0 - 2.0**-24)
    return np.log(p) - np.log1p(-p)
