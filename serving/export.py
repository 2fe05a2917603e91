"""Writes a trained model as a SavedModel that takes raw values; vocabulary, schema and warm-up travel inside."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo

from features import names, vocabulary
from features.raw_requests import RawRequest
from features.schema import Schema
from features.vocabulary import Vocabulary
from model_fn import network
from model_fn.calibration import Calibration
from model_fn.embedding import TABLE
from model_fn.hyperparameters import Hyperparameters
from serving import check, sample_request, saved_model_files, warm_up
from serving.answers import Scores
from serving.export_options import DEFAULTS, FLOAT32, ExportOptions
from serving.graph import receivers, remap
from serving.graph.graph_vocabulary import GraphVocabulary
from serving.graph.raw_columns import RawCall
from serving.sample_request import Sample

v1 = tf.compat.v1

# Classes of the classification signature, in the order of names.SCORES.
CLASSES = ("ctr", "cvr", "ctcvr")

# Folder of a version that is being written: no number, so no server takes it for one.
_TEMPORARY = re.compile("temp-[0-9a-f]{32}")


class ExportError(ValueError):
    """A checkpoint that does not hold the model that is to be exported."""


def export_saved_model(
    export_dir_base: str,
    checkpoint_path: str,
    vocabulary_dir: str,
    hyperparameters: Hyperparameters,
    options: ExportOptions = DEFAULTS,
    calibration: Calibration | None = None,
) -> str:
    """Writes a new version of a served model.

    It is written under a name that is no version number, and renamed when it is complete and a fresh process has found
    it right (`serving.check`): a server that polls the folder never sees a part of it, nor one that answers wrongly.

    Args:
        export_dir_base: the model's base folder, in which every version is a folder.
        checkpoint_path: prefix of the checkpoint's files, as `tf.train.latest_checkpoint` gives it.
        vocabulary_dir: as the preprocess job wrote it.
        hyperparameters: of the trained model.
        options: what travels with the model.
        calibration: of the towers' logits; None: scores as they are.

    Returns:
        Path of the version folder. Its name is the time in seconds, or more where that is not above all others.

    Raises:
        ExportError: the checkpoint lacks a variable of the model, or has it in another shape.
        check.CheckError: the version does not answer as the checkpoint does.
        features.vocabulary.VocabularyError: the vocabulary is damaged.
    """
    known = vocabulary.load(vocabulary_dir, _read_remote if "://" in vocabulary_dir else None, checked=True)
    temporary = os.path.join(export_dir_base, f"temp-{uuid.uuid4().hex}")
    tf.io.gfile.makedirs(export_dir_base)
    try:
        request = sample_request.choose(vocabulary_dir, known.schema, options.sample_request)
        model = functools.partial(
            _Model, hyperparameters=hyperparameters, table=tf.as_dtype(options.table_precision), calibration=calibration
        )
        scores = _write_saved_model(temporary, checkpoint_path, known, vocabulary_dir, model, request)
        _write_extra_files(temporary, vocabulary_dir, hyperparameters)
        sample_request.write(temporary, Sample(request, scores))
        warm_up.write(temporary, request, known.schema, options.warm_up)
        if options.checked:
            check.in_fresh_process(temporary)
        return _publish(temporary, export_dir_base)
    except BaseException:
        if tf.io.gfile.exists(temporary):
            tf.io.gfile.rmtree(temporary)
        raise


def remove_unfinished(export_dir_base: str) -> None:
    """Removes what killed exports have left in a folder; call it where no other export can be under way there."""
    if tf.io.gfile.isdir(export_dir_base):
        for name in tf.io.gfile.listdir(export_dir_base):
            if _TEMPORARY.fullmatch(name.rstrip("/")):
                tf.io.gfile.rmtree(os.path.join(export_dir_base, name))


def _read_remote(path: str) -> bytes:
    with tf.io.gfile.GFile(path, "rb") as file:
        return file.read()


def _write_saved_model(
    directory: str,
    checkpoint_path: str,
    known: Vocabulary,
    vocabulary_dir: str,
    make_model: Callable[[Schema, GraphVocabulary, int], _Model],
    request: RawRequest,
) -> Scores:
    """Writes graph and weights; returns the scores that they give a request."""
    # An exporter runs beside training: it must not take the memory of the GPU.
    config = v1.ConfigProto(device_count={"GPU": 0})
    with tf.Graph().as_default() as graph, v1.Session(graph=graph, config=config) as session:
        model = make_model(known.schema, GraphVocabulary(known, vocabulary_dir), known.size)
        signatures = {
            saved_model_files.SHARED_CONTEXT: _shared_context_signature(model),
            **_examples_signatures(model),
        }
        _restore(session, checkpoint_path)
        builder = v1.saved_model.Builder(directory)
        builder.add_meta_graph_and_variables(
            session,
            [tf.saved_model.SERVING],
            signature_def_map=signatures,
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
            main_op=v1.tables_initializer(),
            strip_default_attrs=True,
        )
        builder.save()
        session.run(v1.tables_initializer())
        return _scores(session, signatures[saved_model_files.SHARED_CONTEXT], request, known.schema)


def _scores(session: tf.compat.v1.Session, signature: SignatureDef, request: RawRequest, schema: Schema) -> Scores:
    tensors = warm_up.shared_context_tensors(request, schema)
    feeds = {signature.inputs[key].name: tf.make_ndarray(tensor) for key, tensor in tensors.items()}
    found = session.run({name: signature.outputs[name].name for name in names.SCORES}, feeds)
    return {name: np.asarray(values).tolist() for name, values in found.items()}


@dataclasses.dataclass(frozen=True)
class _Model:
    """Scores calls; all calls use one set of variables."""

    schema: Schema
    vocabulary: GraphVocabulary
    vocabulary_size: int
    hyperparameters: Hyperparameters
    table: tf.DType
    calibration: Calibration | None

    def scores(self, call: RawCall) -> dict[str, tf.Tensor]:
        """Scores of a call's impressions: float32 [impressions] each."""
        features = remap.features_of(call, self.vocabulary)
        with v1.variable_scope(v1.get_variable_scope(), reuse=v1.AUTO_REUSE, custom_getter=self._get_variable):
            found = network.logits(features, self.schema, self.vocabulary_size, self.hyperparameters, False)
            return network.scores(found, self.hyperparameters.negative_sampling_rate, self.calibration)

    def _get_variable(self, getter: Callable[..., tf.Variable], name: str, **settings: Any) -> tf.Variable:
        own = {"dtype": self.table, "initializer": v1.zeros_initializer()} if _is_table(name) else {}
        return getter(name, **settings | own)


def _is_table(name: str) -> bool:
    return name.rpartition("/")[2] == TABLE


def _shared_context_signature(model: _Model) -> SignatureDef:
    inputs, call = receivers.shared_context(model.schema)
    return _signature(inputs, model.scores(call), tf.saved_model.PREDICT_METHOD_NAME)


def _examples_signatures(model: _Model) -> dict[str, SignatureDef]:
    """Two names for one part of the graph: scores by name, and scores side by side as those of classes."""
    serialized, call = receivers.examples(model.schema)
    scores = model.scores(call)
    stacked = tf.stack([scores[name] for name in names.SCORES], axis=1)
    outputs = {
        tf.saved_model.CLASSIFY_OUTPUT_CLASSES: tf.tile(tf.constant([CLASSES]), [tf.shape(stacked)[0], 1]),
        tf.saved_model.CLASSIFY_OUTPUT_SCORES: stacked,
    }
    by_name, by_class = {receivers.EXAMPLES_INPUT: serialized}, {tf.saved_model.CLASSIFY_INPUTS: serialized}
    return {
        saved_model_files.EXAMPLES: _signature(by_name, scores, tf.saved_model.PREDICT_METHOD_NAME),
        saved_model_files.CLASSIFICATION: _signature(by_class, outputs, tf.saved_model.CLASSIFY_METHOD_NAME),
    }


def _signature(inputs: receivers.Inputs, outputs: dict[str, tf.Tensor], method: str) -> SignatureDef:
    def info(tensor: tf.Tensor, shape: tf.TensorShape) -> TensorInfo:
        return TensorInfo(name=tensor.name, dtype=tensor.dtype.as_datatype_enum, tensor_shape=shape.as_proto())

    return v1.saved_model.build_signature_def(
        {name: info(given.placeholder, tf.TensorShape(given.shape)) for name, given in inputs.items()},
        {name: info(tensor, tensor.shape) for name, tensor in outputs.items()},
        method,
    )


def _restore(session: tf.compat.v1.Session, checkpoint_path: str) -> None:
    """Reads the graph's variables, and nothing else: a checkpoint also has the optimizer's slots, twice the size."""
    variables = v1.global_variables()
    try:
        found = tf.train.load_checkpoint(checkpoint_path).get_variable_to_shape_map()
    except (tf.errors.OpError, ValueError) as error:
        raise ExportError(f"{checkpoint_path}: no readable checkpoint ({error})") from error
    wrong = [
        f"{variable.op.name} {variable.shape.as_list()} (there: {found.get(variable.op.name, 'none')})"
        for variable in variables
        if found.get(variable.op.name) != variable.shape.as_list()
    ]
    if wrong:
        raise ExportError(
            f"{checkpoint_path} is not of this model: it should have {'; '.join(wrong)}. "
            "Export with the hyperparameters and the vocabulary that it was trained with."
        )
    same = [variable for variable in variables if variable.dtype.base_dtype == tf.float32]
    v1.train.Saver(same).restore(session, checkpoint_path)
    for variable in variables:
        if variable.dtype.base_dtype != tf.float32:
            _load_rounded(session, variable, tf.train.load_variable(checkpoint_path, variable.op.name), checkpoint_path)


def _load_rounded(session: tf.compat.v1.Session, variable: tf.Variable, values: np.ndarray, path: str) -> None:
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is told below
        rounded = values.astype(variable.dtype.base_dtype.as_numpy_dtype)
    too_large = np.argwhere(~np.isfinite(rounded))
    if len(too_large):
        place = tuple(too_large[0])
        raise ExportError(
            f"{path}: {variable.op.name} holds {values[place]:g} in row {place[0]}, and {len(too_large)} values in all "
            f"that are more than --table_precision={variable.dtype.base_dtype.name} can tell; export it as {FLOAT32}"
        )
    # Through the initializer, which is there: an op of its own would travel in every export.
    session.run(variable.initializer, {variable.initializer.inputs[1]: rounded})


def _write_extra_files(directory: str, vocabulary_dir: str, hyperparameters: Hyperparameters) -> None:
    tf.io.gfile.makedirs(os.path.join(directory, saved_model_files.EXTRA_DIR))
    for name in (names.SCHEMA_FILE, names.VOCABULARY_FILE):
        tf.io.gfile.copy(os.path.join(vocabulary_dir, name), saved_model_files.extra_file(directory, name))
    with tf.io.gfile.GFile(
        saved_model_files.extra_file(directory, saved_model_files.HYPERPARAMETERS_FILE), "w"
    ) as file:
        file.write(hyperparameters.to_json())


def _publish(temporary: str, base: str) -> str:
    """Renames a complete folder to the next version."""
    while True:
        version = max([int(time.time()), *(version + 1 for version in saved_model_files.versions(base))])
        path = os.path.join(base, str(version))
        try:
            tf.io.gfile.rename(temporary, path)
        except (tf.errors.AlreadyExistsError, tf.errors.FailedPreconditionError):
            # Another export took the number meanwhile.
            if not tf.io.gfile.exists(path):
                raise
        else:
            logging.info("exported %s", path)
            return path
